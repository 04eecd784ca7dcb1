"""Processes in the foreground that are started again when they die, at most so often; what else runs is left alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from shopstream_assets.embedded.errors import StackError
from shopstream_assets.embedded.launch import birth

if TYPE_CHECKING:
    import psutil

RESTARTS = 5
WITHIN_SECONDS = 600
STOP_SECONDS = 30
# Of a log; what it keeps of its end when it has grown beyond that.
LOG_BYTES, KEPT_BYTES = 50_000_000, 1_000_000

Say = Callable[[str], None]


@dataclass
class Deaths:
    """How often what has died lately, and whether that is still worth another start."""

    say: Say
    lately: defaultdict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    def count(self, name: str, how: str, advice: str) -> None:
        """Take note of a death and say that a restart follows.

        Raises StackError, with `advice`, where there were RESTARTS restarts within WITHIN_SECONDS already.
        """
        now = time.monotonic()
        deaths = self.lately[name]
        deaths.append(now)
        while now - deaths[0] > WITHIN_SECONDS:
            deaths.popleft()
        if len(deaths) > RESTARTS:
            raise StackError(
                f"Running {name}: it ended {len(deaths)} times within {WITHIN_SECONDS // 60} minutes, the last time "
                f"{how}. What was stored is intact. {advice}"
            )
        self.say(
            f"{name} ended {how}: starting it again (restart {len(deaths)} of at most {RESTARTS} within "
            f"{WITHIN_SECONDS // 60} minutes); everything else goes on."
        )


@dataclass
class Processes:
    """Named processes, each in a session of its own.

    `kept` names those whose children go on when they die alone, `hollow` those that are worth nothing without a child,
    each with a word of that child's command line. What those in `logs` print goes to a file, begun anew with the
    command, whatever they start included; the others' is the console's. `record` is a file by which a later command
    finds them should this one be killed.
    """

    commands: Mapping[str, Sequence[str]]
    environment: Mapping[str, str]
    folder: Path
    record: Path
    kept: frozenset[str] = frozenset()
    hollow: Mapping[str, str] = field(default_factory=dict)
    logs: Mapping[str, Path] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    orphans: list[psutil.Process] = field(default_factory=list)
    children: dict[str, list[psutil.Process]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Whatever `end_left_over` let go on is ended with these."""
        self.orphans += _recorded(self.record)[1]
        for log in self.logs.values():
            log.unlink(missing_ok=True)

    def start(self, name: str) -> None:
        """Start one, or start it again: then what it had started is killed, unless that is kept until the end."""
        if name in self.running:
            if name in self.kept:
                self.orphans += _members(self.running[name].pid)
            else:
                _kill_group(self.running[name].pid)
                self.running[name].wait()
        self.children.pop(name, None)
        with contextlib.ExitStack() as opened:
            # A file, not a pipe: what this starts goes on when this is killed.
            log = opened.enter_context(_appended(self.logs[name])) if name in self.logs else None
            self.running[name] = subprocess.Popen(
                list(self.commands[name]),
                env=dict(self.environment),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._remember()

    def where_it_says_why(self, name: str) -> str:
        """Where to look for what one printed before it ended."""
        return f"Its log says why: {self.logs[name]};" if name in self.logs else "Its last lines above say why;"

    def shorten_logs(self) -> None:
        """Drop all but the end of a log that has grown large. What is appended at that very moment may be lost."""
        for log in self.logs.values():
            # Somebody deleted it, or the disk is full: no reason to end what is watched here.
            with contextlib.suppress(OSError):
                if log.stat().st_size > LOG_BYTES:
                    with log.open("rb+") as file:
                        file.seek(-KEPT_BYTES, os.SEEK_END)
                        end = file.read()
                        file.truncate(0)
                    with log.open("ab") as file:
                        file.write(end[end.find(b"\n") + 1 :])

    def _remember(self) -> None:
        groups = {name: (process.pid, name in self.kept) for name, process in self.running.items()}
        _write(self.record, groups, self.orphans)

    def ended(self) -> dict[str, str]:
        """Those that have ended, and how."""
        codes = {name: process.poll() for name, process in self.running.items()}
        return {name: told(code) for name, code in codes.items() if code is not None}

    def emptied(self) -> dict[str, str]:
        """The hollow ones that run, and whose child has ended."""
        return {
            name: "as good as (the process that it had started is gone)"
            for name in self.hollow
            if name in self.running and self.running[name].poll() is None and self._lost_its_children(name)
        }

    def _lost_its_children(self, name: str) -> bool:
        """Whether one that had children has none any more. They are looked for, which costs, when those known die.

        Not any child: what asks the machine something lives for a moment.
        """
        import psutil

        before = self.children.get(name, [])
        if any(_lives(child) for child in before):
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.running[name].pid).children()
            self.children[name] = [child for child in children if _lives(child) and self.hollow[name] in _words(child)]
        return bool(before) and not self.children[name]

    def stop(self) -> None:
        """Ask once, insist twice, and leave nothing behind; a Ctrl-C meanwhile insists at once."""
        for which, patience in ((signal.SIGINT, STOP_SECONDS), (signal.SIGTERM, STOP_SECONDS / 3)):
            alive = [process for process in self.running.values() if process.poll() is None]
            for process in alive:
                process.send_signal(which)
            deadline = time.monotonic() + patience
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                for process in alive:
                    process.wait(max(0.0, deadline - time.monotonic()))
        # The groups, not the processes: a code server or a run left behind would keep its port and its memory.
        for process in self.running.values():
            _kill_group(process.pid)
            process.wait()
        for orphan in self.orphans:
            if orphan.is_running():
                orphan.kill()
        self.record.unlink(missing_ok=True)


def _appended(log: Path) -> BinaryIO:
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.open("ab")


def end_left_over(record: Path, runs_go_on: bool) -> list[str]:
    """End the processes that a killed command left behind; returns their names.

    What those that it kept had started goes on where `runs_go_on`: the processes of the next command end it.
    """
    groups, orphans = _recorded(record)
    names: list[str] = []
    killed: list[psutil.Process] = []
    for name, (group, is_kept) in groups.items():
        # A process id is not given away while it is that of a group; of a later group by chance, the folder differs.
        left = [each for each in _members(group) if _works_in(each, record.parent)]
        names += [name] if left else []
        for each in left:
            if is_kept and each.pid != group:
                orphans.append(each)
            else:
                killed.append(each)
    if not runs_go_on:
        killed += orphans
    for each in killed:
        _kill(each)
    # Until then they have their ports. One that nobody collects stays as a zombie.
    deadline = time.monotonic() + STOP_SECONDS
    while any(map(_lives, killed)) and time.monotonic() < deadline:
        time.sleep(0.02)
    if runs_go_on and orphans:
        _write(record, {}, orphans)
    else:
        record.unlink(missing_ok=True)
    return names


def _recorded(record: Path) -> tuple[dict[str, tuple[int, bool]], list[psutil.Process]]:
    """Name -> process group, and whether it is kept, of those that were started; the orphans that live."""
    import psutil

    try:
        found = json.loads(record.read_text())
    except (FileNotFoundError, ValueError):
        return {}, []
    groups = {name: (int(group), bool(is_kept)) for name, (group, is_kept) in found["groups"].items()}
    return groups, [psutil.Process(pid) for pid, born in found["orphans"] if birth(pid) == born]


def _write(record: Path, groups: Mapping[str, tuple[int, bool]], orphans: Sequence[psutil.Process]) -> None:
    known = [(each.pid, born) for each in orphans if (born := birth(each.pid))]
    part = record.with_name(record.name + ".part")
    part.write_text(json.dumps({"groups": groups, "orphans": known}))
    part.replace(record)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error):
        return process.environ().get("SHOPSTREAM_DAGSTER_DIR") == str(folder)
    return False


def _kill(process: psutil.Process) -> None:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def told(code: int) -> str:
    """An exit code in words."""
    return f"with code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"


def _words(process: psutil.Process) -> list[str]:
    """Its command line; nothing of one that may not be asked, or has just ended."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def _lives(process: psutil.Process) -> bool:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _members(group: int) -> list[psutil.Process]:
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group:
                found.append(process)
    return found


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
