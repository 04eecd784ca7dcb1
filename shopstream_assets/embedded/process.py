"""Processes of the stack: start one that outlives this command, find it again, prove that it is the one, stop it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shopstream_assets.embedded.errors import StackError
from shopstream_assets.embedded.launch import LOCKED, birth
from shopstream_assets.embedded.state import Home

# What a service may see of the user's environment. A stray AWS_PROFILE, PGPORT or SERVICES would change what it does.
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")
LOG_LIMIT_BYTES = 20 * 1024 * 1024
POLL_SECONDS = 0.02
# Outgoing connections get their local ports from 32768 on, under some systems from 49152: a service that died would
# find one of them at its port when it is started again.
SERVICE_PORTS = range(20000, 32768)


@dataclass(frozen=True)
class Running:
    """A living process that the stack started; `port` is the one it was started for."""

    pid: int
    birth: str
    port: int

    def lives(self) -> bool:
        """Whether the same process still runs; a later one with the same id does not count."""
        return birth(self.pid) == self.birth

    def listens(self) -> bool:
        """Whether this very process owns the listening socket of its port.

        The proof that whoever answers there is not a stranger: an answer alone proves nothing.
        """
        import psutil

        try:
            sockets = psutil.Process(self.pid).net_connections("tcp")
        except psutil.Error:
            return False
        return any(s.status == psutil.CONN_LISTEN and s.laddr and s.laddr.port == self.port for s in sockets)


def record_file(home: Home, name: str) -> Path:
    """The file a service holds locked while it lives."""
    return home.folder / "run" / f"{name}.pid"


def log_file(home: Home, name: str) -> Path:
    """Where a service writes."""
    return home.logs / f"{name}.log"


def find(home: Home, name: str) -> Running | None:
    """The service as recorded, if that process still lives. A stale record is as good as none."""
    try:
        found = json.loads(record_file(home, name).read_text())
        process = Running(int(found["pid"]), str(found["birth"]), int(found["port"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return process if process.lives() else None


def recorded_pid(home: Home, name: str) -> int | None:
    """The process id in the record, whether it lives or not."""
    try:
        return int(json.loads(record_file(home, name).read_text())["pid"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def start(
    home: Home,
    name: str,
    port: int,
    command: Sequence[str],
    env: Mapping[str, str],
    user: tuple[int, int] | None = None,
    patience: float = 10,
) -> Running:
    """Start a service in a session of its own; it goes on when this process ends. Passwords travel in `env` only.

    Where an earlier process of the service still lives, its end is awaited `patience` seconds.
    """
    log = log_file(home, name)
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py"))]
    options = ["--record", str(record_file(home, name)), "--port", str(port)]
    options += ["--patience", str(patience)]
    if user:
        options += ["--as", f"{user[0]}:{user[1]}"]
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as output:
        output.write(f"-- start on port {port}\n")
        output.flush()
        result = subprocess.run(
            [*launcher, *options, "--", *command],
            env={**{n: os.environ[n] for n in INHERITED if n in os.environ}, "TMPDIR": str(home.folder / "tmp"), **env},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=patience + 30,
        )
    if result.returncode == LOCKED:
        raise StackError(
            f"Starting {name}: an earlier process of it still holds {record_file(home, name)}. See it with "
            f"`fuser {record_file(home, name)}`, end it, and run `shopstream stack up` again."
        )
    found = find(home, name)
    if result.returncode != 0 or found is None:
        raise StackError(died(home, name))
    return found


def wait_until(ready: Callable[[], bool], process: Running, home: Home, name: str, patience: float) -> None:
    """Poll until `ready`; raise at once if the process dies, and when `patience` seconds have passed."""
    deadline = time.monotonic() + patience
    while not ready():
        if not process.lives():
            raise StackError(died(home, name))
        if time.monotonic() > deadline:
            raise StackError(
                f"Waiting for {name}: its process {process.pid} runs but does not answer on 127.0.0.1:{process.port} "
                f"after {patience:.0f} s. Run `shopstream stack down`, then `shopstream stack up`. "
                f"The end of {log_file(home, name)}:\n{log_tail(home, name)}"
            )
        time.sleep(POLL_SECONDS)


def stop(home: Home, name: str, gentle: signal.Signals, say: Callable[[str], None], patience: float = 15) -> bool:
    """Ask the service to end, insist after `patience` seconds. False where it did not run."""
    process = find(home, name)
    if process is None:
        _forget(home, name)
        return False
    _signal(process, gentle)
    if not _gone(process, patience):
        say(f"{name} (process {process.pid}) did not end within {patience:.0f} s of {gentle.name}: killing it.")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if not _gone(process, 5):
            raise StackError(
                f"Stopping {name}: process {process.pid} survives SIGKILL, so the kernel holds it (a hung disk?). "
                "Look at it with `ps -o pid,stat,wchan,cmd`, and run `shopstream stack down` again."
            )
    _forget(home, name)
    return True


def _forget(home: Home, name: str) -> None:
    # Emptied, not removed: a child that outlives its service for a moment still guards the data by its lock on it.
    with contextlib.suppress(FileNotFoundError):
        os.truncate(record_file(home, name), 0)


def _signal(process: Running, which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, which)
        # A stopped process (SIGSTOP, Ctrl-Z) would never read the signal.
        os.kill(process.pid, signal.SIGCONT)


def _gone(process: Running, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while process.lives():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def log_tail(home: Home, name: str, lines: int = 15) -> str:
    """What the service wrote since its last start, at most the last `lines`."""
    try:
        with log_file(home, name).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.rpartition("-- start on port ")[2].splitlines()[1:][-lines:])


def died(home: Home, name: str) -> str:
    """The message for a service that ended while it was waited for."""
    tail = log_tail(home, name)
    advice = "Run `shopstream stack up` again; if it repeats, the lines above say why."
    if "No space left on device" in tail:
        advice = "The disk is full: free some space and run `shopstream stack up` again."
    return f"Starting {name}: it ended at once. The end of {log_file(home, name)}:\n{tail}\n{advice}"


def port_is_free(port: int) -> bool:
    """Whether 127.0.0.1:port can be listened on; connections in TIME_WAIT do not matter."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def port_becomes_free(port: int, patience: float = 1.0) -> bool:
    """The same, granting a service that was just killed the moment in which its last thread still holds the socket."""
    deadline = time.monotonic() + patience
    while not port_is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def free_ports(count: int) -> list[int]:
    """Different free ports of 127.0.0.1, which no outgoing connection of this machine will take.

    Raises StackError where there are not as many.
    """
    with contextlib.ExitStack() as taken:
        found: list[int] = []
        for port in random.SystemRandom().sample(SERVICE_PORTS, len(SERVICE_PORTS)):
            if len(found) == count:
                return found
            probe = taken.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
    raise StackError(
        f"Choosing ports: of {SERVICE_PORTS.start} to {SERVICE_PORTS.stop - 1} on 127.0.0.1, {count} are wanted and "
        f"{len(found)} are free. End what holds them, then run this again."
    )
