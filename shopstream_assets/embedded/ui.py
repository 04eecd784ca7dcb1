"""Dagster's webserver and daemon in the foreground, against the local stack, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from shopstream_assets.embedded.errors import StackError
from shopstream_assets.embedded.interrupts import interrupts
from shopstream_assets.embedded.process import free_ports, port_is_free

PREFERRED_PORT = 3000
START_SECONDS = 180


def choose_port(wanted: int | None) -> int:
    """The port asked for, which must be free; else 3000; else any."""
    if wanted is None:
        return PREFERRED_PORT if port_is_free(PREFERRED_PORT) else free_ports(1)[0]
    if not port_is_free(wanted):
        raise StackError(
            f"Starting Dagster's webserver: port {wanted} is taken by another program. Give another one with --port, "
            "or leave it out to have a free one chosen."
        )
    return wanted


def command(repository: Path, port: int) -> list[str]:
    """Dagster's webserver and daemon around one code server, for the workspace of the repository."""
    workspace = ["--workspace", str(repository / "workspace.yaml")]
    return [sys.executable, "-m", "dagster", "dev", "--host", "127.0.0.1", "--port", str(port), *workspace]


def serve(variables: Mapping[str, str], port: int, say: Callable[[str], None]) -> None:
    """Run webserver, daemon and code server until SIGINT, SIGTERM or SIGHUP; raises StackError if they end alone."""
    # Not in the repository: Dagster lets an `.env` of the current folder override the environment, so a user's own
    # (or that of another stack) would send this page, and its daemon, to other services than it was started for.
    folder = Path(variables["SHOPSTREAM_DAGSTER_DIR"])
    # A session of its own: Ctrl-C must reach it through us, once, or its parts die in any order.
    # Under our handlers: a script's `make up &` ignores SIGINT, and so would whatever it starts.
    with interrupts():
        dagster = subprocess.Popen(
            command(Path(variables["DAGSTER_HOME"]), port),
            env={**os.environ, **variables},
            cwd=folder,
            start_new_session=True,
        )
    try:
        with interrupts():
            if _page_answers(dagster, port):
                say(f"Dagster is at http://127.0.0.1:{port} - Ctrl-C stops it.")
            dagster.wait()
        raise StackError(
            f"Running Dagster: it ended by itself with code {dagster.returncode}. Its last lines above say why; "
            "`shopstream doctor` checks what it needs."
        )
    except KeyboardInterrupt:
        say("Stopping Dagster.")
    finally:
        _stop(dagster)


def _page_answers(dagster: subprocess.Popen[bytes], port: int) -> bool:
    """Wait for the page; False when Dagster ends before it answers."""
    # Without proxies: a company's proxy variable must not come between us and this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while dagster.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError):
            opener.open(f"http://127.0.0.1:{port}/server_info", timeout=2).close()
            return True
        if time.monotonic() > deadline:
            raise StackError(
                f"Starting Dagster: no answer on 127.0.0.1:{port} after {START_SECONDS} s. Its lines above say how "
                "far it came; run it again, on a slow machine it is quicker the second time."
            )
        time.sleep(0.2)
    return False


def _stop(dagster: subprocess.Popen[bytes]) -> None:
    """Ask once, insist twice; a second Ctrl-C meanwhile insists at once."""
    for which, patience in ((signal.SIGINT, 30), (signal.SIGTERM, 10)):
        if dagster.poll() is None:
            dagster.send_signal(which)
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                dagster.wait(patience)
    # The group, not the process: a code server left behind would keep its port and its memory.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(dagster.pid, signal.SIGKILL)
    dagster.wait()
