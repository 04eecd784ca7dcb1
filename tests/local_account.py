"""The local Snowflake and its S3 as processes of a test run, on free ports of 127.0.0.1."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from shopstream_assets.embedded.process import free_ports

AWS = {
    "AWS_ACCESS_KEY_ID": "contract",
    "AWS_SECRET_ACCESS_KEY": "contract",
    "AWS_DEFAULT_REGION": "us-east-1",
}
PASSWORD = "only-for-these-tests"
_TOKEN = "contract-tests"
_START_WITHIN = 30.0


def wait_until(condition: Callable[[], bool], what: str, within: float = 15.0) -> None:
    """Poll until it holds, or fail saying what did not."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} within {within:g} s")
        time.sleep(0.02)


class ObjectStorage:
    """An S3 server."""

    def __init__(self, directory: Path) -> None:
        self.port = free_ports(1)[0]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._log = (directory / "s3.log").open("wb")
        environment = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(directory / "s3"),
            "PERSIST_STATE": "1",
            "STATE_DIR": str(directory / "s3-state"),
        }
        self._process = subprocess.Popen(
            [str(Path(sys.executable).with_name("ministack"))],
            env=os.environ | environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=directory,
        )
        wait_until(self._answers, "the S3 server answers", _START_WITHIN)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the S3 server stopped while starting"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False


class LocalSnowflake:
    """A server process that can be killed and started again on the same state and port."""

    def __init__(self, directory: Path, endpoint: str, *options: str) -> None:
        self.port = free_ports(1)[0]
        self.directory = directory
        self._endpoint = endpoint
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def command(self, port: int | None = None) -> list[str]:
        module = [sys.executable, "-m", "shopstream_assets.embedded.snowflake"]
        where = ["--port", str(port or self.port), "--state-dir", str(self.directory / "state")]
        return [*module, *where, "--s3-endpoint", self._endpoint, *self.options]

    def environment(self) -> dict[str, str]:
        return os.environ | AWS | {"SNOWFLAKE_PASSWORD": PASSWORD, "SHOPSTREAM_STACK_TOKEN": _TOKEN}

    def start(self) -> None:
        with (self.directory / "snowflake.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), env=self.environment(), stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(self._is_ours, "the local Snowflake answers", _START_WITHIN)

    def kill(self, with_signal: signal.Signals = signal.SIGKILL) -> int:
        """End the process; returns its exit code."""
        assert self._process
        self._process.send_signal(with_signal)
        return self._process.wait(timeout=20)

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self.kill()

    def log(self) -> str:
        return (self.directory / "snowflake.log").read_text()

    def identity(self) -> dict[str, object] | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/shopstream/identity", timeout=2) as answer:
                found: dict[str, object] = json.load(answer)
                return found
        except (urllib.error.URLError, ConnectionError):
            return None

    def _is_ours(self) -> bool:
        assert self._process
        if self._process.poll() is not None:
            raise RuntimeError(f"the local Snowflake stopped while starting:\n{self.log()}")
        expected = hashlib.sha256(_TOKEN.encode()).hexdigest()
        found = self.identity()
        return found is not None and (found["pid"], found["token_sha256"]) == (self._process.pid, expected)
