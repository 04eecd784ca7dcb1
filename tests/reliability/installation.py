"""The platform as an operator has it: `shopstream stack up --ui` in a folder of its own, and what runs of it.

Processes are found in the machine's table, not asked for: what nobody knows of any more is found too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import urllib.error
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import psutil
from dagster_process import Dagster, Overdue, wait_for

from shopstream_assets.embedded import aws, postgres, process, state, warehouse
from shopstream_assets.embedded.process import free_ports

REPOSITORY = Path(__file__).parents[2]
# The command `shopstream` of this checkout, whichever is installed.
SHOPSTREAM = (sys.executable, "-c", "from shopstream_assets.cli import main; main()")
START_SECONDS = 240
ANSWERS = "Dagster is at http://"
# Variables of the shell that started this would lead the command elsewhere.
FOREIGN = ("SHOPSTREAM_", "STREAMVISION_", "AWS_", "SNOWFLAKE_", "DAGSTER_", "PG")

COMMAND, DAEMON, WEBSERVER, DOOR, CODE = "the command", "the daemon", "the webserver", "a code server", "its code"
FORK_SERVER, RUN, DASHBOARDS = "the fork server", "a run", "the dashboards"
POSTGRES, BACKEND, S3, WAREHOUSE = "Postgres", "a backend of Postgres", "S3", "the warehouse"
KILLED = (COMMAND, DAEMON, WEBSERVER, DASHBOARDS, DOOR, CODE, FORK_SERVER, RUN, POSTGRES, BACKEND, S3, WAREHOUSE)
"""Roles of processes that are killed."""
SERVICES = {postgres.NAME: POSTGRES, aws.NAME: S3, warehouse.NAME: WAREHOUSE}
# What Python starts beside a fork server, and Postgres beside its postmaster.
ATTENDANT = "an attendant"
OTHER = "no part of it"


class DidNotStart(Exception):
    """The command ended while it was started, or its page did not come."""


class Installation:
    """A stack in `folder` with Dagster's processes around it. `settings` are what the operator has in the shell."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder.resolve()
        self.home = state.home(self.folder)
        self.logs = self.folder / "console"
        self.scratch = self.folder / "scratch"
        for made in (self.logs, self.scratch):
            made.mkdir(parents=True, exist_ok=True)
        ours = {
            "SHOPSTREAM_HOME": str(self.folder),
            "TMPDIR": str(self.scratch),
            "PYTHONPATH": str(REPOSITORY),
            "COLUMNS": "300",
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self.shell = {**inherited, **settings, **ours}
        self._command: subprocess.Popen[bytes] | None = None
        self._answered_before = 0
        (self._port,) = free_ports(1)
        self.page = Dagster({}, self.logs, {"webserver": self._port})

    def type(self, *words: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        """What an operator types, as `shopstream …`, with the variables of the stack where there are any."""
        return subprocess.run(
            [*SHOPSTREAM, *words],
            env={**self.shell, **self.page.variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def type_dagster(self, *words: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        """The same for `dagster …`."""
        return subprocess.run(
            [sys.executable, "-m", "dagster", *words],
            env={**self.shell, **self.page.variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def logs_of_everything(self) -> list[Path]:
        """The folders that hold what all processes have logged."""
        return [self.logs, self.home.logs]

    def start_services(self) -> Mapping[str, str]:
        """Start the services alone; returns the variables of the stack."""
        done = self.type("stack", "up")
        assert done.returncode == 0, done.stderr
        return self.variables()

    def variables(self) -> Mapping[str, str]:
        """The variables that lead to the stack."""
        memory = state.recall(self.home)
        assert memory is not None
        self.page.variables = state.environment(self.home, memory)
        return self.page.variables

    def start(self) -> None:
        """Start the command, as its operator does, and wait until its page has loaded both businesses.

        Raises DidNotStart.
        """
        self._answered_before = self.said().count(ANSWERS)
        with self._log() as log:
            self._command = subprocess.Popen(
                [*SHOPSTREAM, "stack", "up", "--ui", "--port", str(self._port)],
                env=self.shell,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_for(self._is_loaded, f"the page (log: {self.logs})", START_SECONDS)
        except Overdue as error:
            raise DidNotStart(str(error)) from None

    def _log(self) -> TextIO:
        return (self.logs / "make-up.log").open("a")

    def said(self) -> str:
        """All that the command has printed, over all of its starts."""
        with contextlib.suppress(FileNotFoundError):
            return (self.logs / "make-up.log").read_text(errors="replace")
        return ""

    def runs(self) -> bool:
        """Whether the command runs."""
        return self._command is not None and self._command.poll() is None

    def _is_loaded(self) -> bool:
        if not self.runs():
            raise DidNotStart(f"`stack up --ui` ended by itself: {self.said()[-1500:]}")
        if self.said().count(ANSWERS) == self._answered_before:
            # Who answers is the page of a command that was killed.
            return False
        try:
            return self.page._is_loaded()
        except (urllib.error.URLError, OSError, RuntimeError):
            # Also while it loads the definitions, and where a code server is being started again.
            return False

    def stop(self) -> None:
        """Ctrl-C, then `stack down`; whatever is left after that is killed."""
        if self._command is not None and self.runs():
            self._command.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._command.wait(90)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.type("stack", "down", seconds=120)
        for processes in self.processes().values():
            for each in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        if self._command is not None:
            self._command.wait(30)

    def kill(self, victim: psutil.Process) -> None:
        """Kill -9."""
        os.kill(victim.pid, signal.SIGKILL)
        if self._command is not None and victim.pid == self._command.pid:
            self._command.wait()

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Role -> the living processes of this installation, by the folder that they work in or for."""
        recorded = {role: process.find(self.home, name) for name, role in SERVICES.items()}
        services = {running.pid: role for role, running in recorded.items() if running}
        workers = set(self.page.run_workers()) if self.page.variables else set()
        found: dict[str, list[psutil.Process]] = defaultdict(list)
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess):
                if each.status() != psutil.STATUS_ZOMBIE and (role := self._role(each, services, workers)):
                    found[role].append(each)
        return found

    def _role(self, each: psutil.Process, services: Mapping[int, str], workers: set[int]) -> str | None:
        if each.pid in services:
            return services[each.pid]
        if not self._is_ours(each):
            return None
        words = each.cmdline()
        told = " ".join(words)
        if words and words[0].startswith("postgres: "):
            return BACKEND if words[0].startswith("postgres: shopstream ") else ATTENDANT
        if "multiprocessing.forkserver" in told:
            parent = each.parent()
            is_fork = parent is not None and "multiprocessing.forkserver" in " ".join(parent.cmdline())
            return RUN if each.pid in workers or is_fork else FORK_SERVER
        if "multiprocessing.resource_tracker" in told:
            return ATTENDANT
        for mark, role in (
            ("stack up --ui", COMMAND),
            ("dagster._daemon", DAEMON),
            ("dagster_webserver", WEBSERVER),
            ("shopstream_assets.dashboards", DASHBOARDS),
            ("code-server start", DOOR),
            ("api grpc", CODE),
        ):
            if mark in told:
                return role
        return OTHER

    def _is_ours(self, each: psutil.Process) -> bool:
        if each.pid == os.getpid() or os.getpid() in [parent.pid for parent in each.parents()[:1]]:
            # What an operator types at this moment, and the command itself.
            return self._command is not None and each.pid == self._command.pid
        with contextlib.suppress(psutil.AccessDenied):
            named = (each.environ().get(name, "") for name in ("SHOPSTREAM_HOME", "TMPDIR"))
            return any(path.startswith(str(self.folder)) for path in (*named, each.cwd()))
        return False

    def left_over(self) -> Iterator[str]:
        """What there would not be had nothing been killed: processes, and temporary files."""
        found = self.processes()
        once = (COMMAND, DAEMON, WEBSERVER, DASHBOARDS, POSTGRES, S3, WAREHOUSE)
        doors = len(found[DOOR])
        allowed = {**dict.fromkeys(once, 1), FORK_SERVER: 1, DOOR: doors, CODE: doors, RUN: 0, OTHER: 0}
        for role, most in allowed.items():
            if len(found[role]) > most:
                told = "; ".join(f"{each.pid} {' '.join(each.cmdline())[:120]}" for each in found[role])
                yield f"{len(found[role])} processes are {role}, {most} at most belong to the stack: {told}"
        if doors > 2:
            yield f"{doors} code servers for two businesses: {[each.pid for each in found[DOOR]]}"
        yield from (f"{role} does not run" for role in (*once, DOOR, CODE) if not found[role])
        left = [path for path in self.scratch.iterdir() if path.name.startswith("dbt-")]
        left += (self.home.folder / "dagster" / "run_scratch").glob("*")
        yield from (f"the temporary {path} is left" for path in left)
        yield from (f"{path} is left" for path in self.home.folder.rglob("*.part") if "postgres" not in path.parts)
