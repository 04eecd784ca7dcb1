"""Dagster's webserver, daemon and code servers, and the dashboards, in the foreground, against the local stack.

Each is a process of its own, and so are the services: what dies is started again, and the rest goes on. Runs go on when
the daemon dies (platform/run_launcher.py); the next daemon knows them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from shopstream_assets.embedded.errors import StackError
from shopstream_assets.embedded.interrupts import interrupts
from shopstream_assets.embedded.process import free_ports, port_becomes_free
from shopstream_assets.embedded.state import PROCESSES
from shopstream_assets.embedded.supervision import Deaths, Processes
from shopstream_assets.platform.declare.registry import domains_that_load

PREFERRED_PORT, PREFERRED_DASHBOARDS_PORT = 3000, 8501
START_SECONDS = 180
LOOK_SECONDS = 1.0
DAEMON, WEBSERVER, DASHBOARDS = "the daemon", "the webserver", "the server of the dashboards"
# What they print is for whoever looks for a cause; code that does not load says so on the console.
LOGS = {DAEMON: "daemon.log", WEBSERVER: "webserver.log", DASHBOARDS: "dashboards.log"}


def choose_port(wanted: int | None, preferred: int = PREFERRED_PORT, server: str = "Dagster's webserver") -> int:
    """The port asked for, which must be free; else the preferred one; else any."""
    # A page that was just killed has its port for a moment longer.
    if wanted is None:
        return preferred if port_becomes_free(preferred) else free_ports(1)[0]
    if not port_becomes_free(wanted):
        raise StackError(
            f"Starting {server}: port {wanted} is taken by another program. Give another one with --port, or leave it "
            "out to have a free one chosen."
        )
    return wanted


def code_servers(repository: Path) -> dict[str, tuple[str, ...]]:
    """Location -> how its code server is told what to load: each entry of the repository's workspace.yaml.

    And each domain that a package beside it brings, by its name.
    """
    import yaml  # type: ignore[import-untyped]

    path = repository / "workspace.yaml"
    try:
        modules = [entry["python_module"] for entry in yaml.safe_load(path.read_text())["load_from"]]
        named = {module["location_name"]: module["module_name"] for module in modules}
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise StackError(
            f"Reading {path}: expected entries python_module with module_name and location_name, found "
            f"{type(error).__name__}: {error}. Correct the file and run this again."
        ) from None
    # One that cannot be loaded was told of when the services started.
    for domain in domains_that_load(lambda name, problem: None):
        named.setdefault(domain.name, domain.module)
    return {location: ("--module-name", module, "--location-name", location) for location, module in named.items()}


def commands(repository: Path, folder: Path, port: int) -> dict[str, Sequence[str]]:
    """Name -> command of each process, the code servers first; writes the workspace file by which they are found.

    The dashboards are among them where their packages are installed.
    """
    locations = code_servers(repository)
    ports = dict(zip(locations, free_ports(len(locations)), strict=True))
    workspace = folder / "workspace.yaml"
    entries = [f"{{grpc_server: {{host: 127.0.0.1, port: {ports[name]}, location_name: {name}}}}}" for name in ports]
    workspace.write_text(f"load_from: [{', '.join(entries)}]\n")
    python, host = [sys.executable, "-m"], ["--host", "127.0.0.1", "--port"]
    quiet = ["--log-level", "warning"]
    return {
        **{
            f"the code server of {name}": [
                *python,
                "dagster",
                "code-server",
                "start",
                *quiet,
                *host,
                str(ports[name]),
                *module,
            ]
            for name, module in locations.items()
        },
        DAEMON: [*python, "dagster._daemon", "run", "--workspace", str(workspace)],
        WEBSERVER: [*python, "dagster_webserver", *host, str(port), "--workspace", str(workspace)],
        **_dashboards(),
    }


def _dashboards() -> dict[str, Sequence[str]]:
    if find_spec("streamlit") is None:
        return {}
    port = choose_port(None, PREFERRED_DASHBOARDS_PORT)
    return {DASHBOARDS: [sys.executable, "-m", "shopstream_assets.dashboards", "--port", str(port)]}


def serve(
    variables: Mapping[str, str],
    port: int,
    say: Callable[[str], None],
    revive: Callable[[Deaths], None] = lambda deaths: None,
) -> None:
    """Run Dagster until SIGINT, SIGTERM or SIGHUP; what dies is started again. `revive` does so for the services.

    Raises StackError where a process ends before the page answers, or dies again and again.
    """
    # Not in the repository: Dagster lets an `.env` of the current folder override the environment, so a user's own
    # (or that of another stack) would send this page, and its daemon, to other services than it was started for.
    folder = Path(variables["SHOPSTREAM_DAGSTER_DIR"])
    started = commands(Path(variables["DAGSTER_HOME"]), folder, port)
    processes = Processes(
        started,
        # As under `dagster dev`: code that does not load says so on the console.
        {**os.environ, **variables, "DAGSTER_IS_DEV_CLI": "1"},
        folder,
        folder / PROCESSES,
        # Runs are its children.
        kept=frozenset({DAEMON}),
        logs={name: folder.parent / "logs" / LOGS[name] for name in started.keys() & LOGS.keys()},
        # A code server is a door, and behind it the process that holds the code: Dagster does not start that one again.
        hollow=dict.fromkeys(started.keys() - {DAEMON, WEBSERVER, DASHBOARDS}, "grpc"),
    )
    deaths = Deaths(say)
    try:
        # Under our handlers: a script's `make up &` ignores SIGINT, and so would whatever it starts.
        with interrupts():
            # Sessions of their own: Ctrl-C must reach them through us, once, or they die in any order.
            for name in processes.commands:
                # They are of use once there is a page to materialize on, and must not delay it.
                if name == DASHBOARDS:
                    continue
                processes.start(name)
                if name not in (DAEMON, WEBSERVER):
                    _wait_for(_listens(processes.commands[name]), name, processes, deaths)
            _wait_for(lambda: _page_answers(port), WEBSERVER, processes, deaths)
            say(f"Dagster is at http://127.0.0.1:{port} - Ctrl-C stops it.")
            if awaited := processes.commands.get(DASHBOARDS):
                processes.start(DASHBOARDS)
            while True:
                revive(deaths)
                processes.shorten_logs()
                if awaited and _listens(awaited)():
                    say(f"The dashboards are at http://127.0.0.1:{awaited[-1]}")
                    awaited = None
                for name, how in (processes.ended() | processes.emptied()).items():
                    deaths.count(name, how, _advice(processes, name))
                    processes.start(name)
                time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        say("Stopping Dagster.")
    finally:
        processes.stop()


def _advice(processes: Processes, name: str) -> str:
    return f"{processes.where_it_says_why(name)} `shopstream doctor` checks what it needs."


def _wait_for(ready: Callable[[], bool], name: str, processes: Processes, deaths: Deaths) -> None:
    """Wait until a process serves; raises StackError when any ends first, or none of it comes in time.

    A code server whose code has ended is started again: it is as likely to have been killed as to be wrong.
    """
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        for ended, how in processes.ended().items():
            raise StackError(f"Starting {ended} of Dagster: it ended by itself {how}. {_advice(processes, ended)}")
        for emptied, how in processes.emptied().items():
            deaths.count(emptied, how, _advice(processes, emptied))
            processes.start(emptied)
        if time.monotonic() > deadline:
            raise StackError(
                f"Starting {name} of Dagster: no answer after {START_SECONDS} s. {_advice(processes, name)} Run it "
                "again: on a slow machine it is quicker the second time."
            )
        time.sleep(0.1)


def _listens(command: Sequence[str]) -> Callable[[], bool]:
    """Whether the server of a command listens, as it does once it has loaded its code."""
    port = int(command[command.index("--port") + 1])

    def listens() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
        return False

    return listens


def _page_answers(port: int) -> bool:
    # Without proxies: a company's proxy variable must not come between us and this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(urllib.error.URLError, OSError):
        opener.open(f"http://127.0.0.1:{port}/server_info", timeout=2).close()
        return True
    return False
