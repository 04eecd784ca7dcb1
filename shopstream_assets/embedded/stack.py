"""Starts, stops and inspects the local stack: PostgreSQL, AWS and the Snowflake protocol, each one process.

>>> from shopstream_assets.embedded import stack
>>> variables = stack.up()        # idempotent; returns what production sets in the environment
>>> stack.down()

A service counts as up only when the process that was started is the one that answers: its record (process id and time
of birth, in a file that the process itself keeps locked) must name a living process, that very process must own the
listening socket, and its protocol must answer. So nothing is mistaken for ours, and nothing of ours is started twice.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shopstream_assets.embedded import aws, limits, postgres, process, state, warehouse
from shopstream_assets.embedded.errors import StackError
from shopstream_assets.embedded.service import Service
from shopstream_assets.embedded.state import Home, Memory
from shopstream_assets.embedded.supervision import Deaths, end_left_over
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.registry import domains_that_load, registered

__all__ = ["ServiceStatus", "StackError", "down", "reset", "revive", "running", "status", "up"]

Say = Callable[[str], None]
READY_SECONDS = 60
# The emulator is told at its start where S3 is, so it comes after S3 in this list and is restarted when S3 moves.
SERVICES: Sequence[Service] = (postgres, aws, warehouse)
NAMES = tuple(service.NAME for service in SERVICES)


def _silent(message: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class ServiceStatus:
    """A service as it is now. `address` is host:port, `detail` what a user should know or do."""

    service: str
    state: Literal["up", "down", "dead", "not answering"]
    pid: int | None
    address: str | None
    detail: str


def up(root: Path | None = None, say: Say = _silent) -> Mapping[str, str]:
    """Start what does not run, wait until everything is healthy, and return the environment variables.

    The same variables are in `.shopstream/env`, and `.env` points there unless the user keeps one. Each domain that is
    installed has a source database, a bucket and a warehouse database of its own; its SCALE, SEED, GROWTH,
    START_DATE, REPORTING_TIME_ZONE and SOURCE_MODE (as SHOPSTREAM_SCALE) are taken from os.environ where set, and
    remembered. `say` receives what a user may want to read meanwhile. Raises StackError.
    """
    home = state.home(root)
    limits.raise_open_files()
    with state.explained(home):
        with state.exclusive(home, say):
            state.prepare_folder(home)
            _stop_starved(home, say)
            memory = state.recall(home) or _first_memory(home)
            state.welcome(memory, _installed(say), os.environ)
            _settle_ports(home, memory, say)
            state.remember(home, memory)
            state.link_dotenv(home)
            _start_with_ports(home, memory, say)
        return state.environment(home, memory)


def _installed(say: Say) -> list[Domain]:
    """The domains that are installed; one that cannot be loaded is told of, and keeps no other from its stack."""
    found = domains_that_load(lambda name, problem: say(f"The domain {name} is left out: {problem}"))
    if not registered():
        raise StackError(
            "Starting the local stack: no domain is installed, so there is nothing to keep data for. Install the "
            "package again (`make install`): its pyproject.toml names them under the entry points shopstream.domains."
        )
    return found


def _stop_starved(home: Home, say: Say) -> None:
    """Stop services that may open too few files, to be started again."""
    for service in SERVICES:
        found = process.find(home, service.NAME)
        if found and (files := limits.lacking(found.pid)) is not None:
            say(f"{service.NAME} was started from a shell that allowed it {files} open files: restarting it.")
            process.stop(home, service.NAME, service.STOP_SIGNAL, say)


def _first_memory(home: Home) -> Memory:
    if (home.folder / "postgres").exists():
        raise StackError(
            f"Starting the local stack: {home.folder} holds data but not state.json, and with it the passwords. "
            "Put the file back, or run `shopstream stack reset` to start anew."
        )
    return Memory()


def _settle_ports(home: Home, memory: Memory, say: Say) -> None:
    """Give every service that does not run a port that is free now; keep the remembered one where possible."""
    proposals = process.free_ports(len(SERVICES))
    for name, proposal in zip(NAMES, proposals, strict=True):
        found = process.find(home, name)
        remembered = memory.ports.get(name)
        if found:
            memory.ports[name] = found.port
        elif remembered is None or not process.port_becomes_free(remembered):
            memory.ports[name] = proposal
            if remembered:
                say(f"Port {remembered} of {name} is taken by another program: {name} moves to {proposal}.")
    emulator = process.find(home, warehouse.NAME)
    if emulator and memory.s3_port_of_emulator != memory.ports[aws.NAME]:
        say("S3 has a new port: restarting snowflake, which reads from it.")
        process.stop(home, warehouse.NAME, warehouse.STOP_SIGNAL, say)
    memory.s3_port_of_emulator = memory.ports[aws.NAME]


def _start_with_ports(home: Home, memory: Memory, say: Say) -> None:
    """Start, with other ports where a stranger took one between our look and the service's start."""
    for attempts_left in (2, 1, 0):
        try:
            return _start_missing(home, memory)
        except StackError:
            ports = dict(memory.ports)
            _settle_ports(home, memory, say)
            if ports == memory.ports or not attempts_left:
                raise
            state.remember(home, memory)


def _start_missing(home: Home, memory: Memory) -> None:
    """Bring all services up side by side; the first failure, in order of the services, is the one reported."""
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        pending = [pool.submit(_start_service, home, memory, service) for service in SERVICES]
    failures = [error for future in pending if (error := future.exception())]
    # What was created is true even when another service failed.
    done = [
        f"{name}/{domain}"
        for name, future in zip(NAMES, pending, strict=True)
        for domain in memory.businesses
        if not future.exception()
    ]
    if not set(done) <= set(memory.bootstrapped):
        memory.bootstrapped = sorted({*memory.bootstrapped, *done})
        state.remember(home, memory)
    if failures:
        raise failures[0]


def _start_service(home: Home, memory: Memory, service: Service) -> None:
    name = service.NAME
    found = process.find(home, name)
    is_new = any(f"{name}/{domain}" not in memory.bootstrapped for domain in memory.businesses)
    if found is None:
        service.prepare(home, memory)
        command, env = service.command(home, memory), service.env(home, memory)
        found = process.start(home, name, memory.ports[name], command, env, service.user(home))
        if is_new:
            service.preload()
        is_new |= service.FORGETS
    process.wait_until(lambda: service.answers(home, memory, found), found, home, name, READY_SECONDS)
    if is_new:
        _bootstrap(home, memory, service)


def _bootstrap(home: Home, memory: Memory, service: Service) -> None:
    """What an administrator does once. Idempotent: a kill before it is remembered only means doing it again."""
    try:
        service.bootstrap(home, memory)
    except StackError:
        raise
    # Whatever client library it is, the user gets its words and ours.
    except Exception as error:
        raise StackError(
            f"Creating what {service.NAME} should contain at first: {type(error).__name__}: {error}\n"
            f"The log is {process.log_file(home, service.NAME)}. Run `shopstream stack up` again: it goes on where it "
            "stopped."
        ) from error


def all_live(root: Path | None = None) -> bool:
    """Whether every service's process lives; a look at three files, nobody is asked."""
    home = state.home(root)
    return all(process.find(home, name) for name in NAMES)


def revive(deaths: Deaths, root: Path | None = None, say: Say = _silent) -> None:
    """Start again the services that died, and count their deaths; one look, without waiting where all is well.

    Raises StackError where one dies again and again, or was stopped on purpose.
    """
    if all_live(root):
        return
    home = state.home(root)
    # Another command may be at work: what is down is then about to come up, or is meant to be down.
    with state.explained(home), state.exclusive(home, say):
        dead = [name for name in NAMES if process.find(home, name) is None]
        stopped = [name for name in dead if process.recorded_pid(home, name) is None]
    if stopped:
        raise StackError(
            f"Running Dagster: {', '.join(stopped)} was stopped on purpose (by `shopstream stack down` or `reset` in "
            "another shell?), and without it no run can go on. What was stored is intact; `make up` starts everything."
        )
    for name in dead:
        log = process.log_file(home, name)
        deaths.count(name, f"without `stack down` (its log: {log})", f"{log} may say why; then run this again.")
    if dead:
        up(root, say)


def down(root: Path | None = None, say: Say = _silent) -> Sequence[str]:
    """Stop every service that runs, keep all data, and return the names of those stopped. Raises StackError."""
    home = state.home(root)
    if not home.folder.exists():
        return []
    with state.explained(home), state.exclusive(home, say):
        return _stop_all(home, say)


def _stop_all(home: Home, say: Say) -> Sequence[str]:
    # A `make up` that lives ends its own, once it sees that the services were stopped.
    if not state.is_at_work(home, "ui") and (left := end_left_over(home.dagster_processes, runs_go_on=False)):
        say(f"Ended what a killed `make up` had left: {', '.join(left)}.")
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        stopped = pool.map(lambda service: process.stop(home, service.NAME, service.STOP_SIGNAL, say), SERVICES)
        return [name for name, was_running in zip(NAMES, stopped, strict=True) if was_running]


def reset(root: Path | None = None, say: Say = _silent) -> None:
    """Stop everything and delete all of its data, logs and settings, and the `.env` link. Raises StackError."""
    home = state.home(root)
    if home.folder.exists():
        with state.explained(home), state.exclusive(home, say):
            _stop_all(home, say)
            # Passwords last: interrupted before, the rest is still usable or refused with a clear message.
            entries = sorted(home.folder.iterdir(), key=lambda entry: (entry.is_file(), entry.name))
            for entry in entries:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            home.folder.rmdir()
    state.unlink_dotenv(home)


def status(root: Path | None = None) -> Sequence[ServiceStatus]:
    """Every service as it is now; starts nothing and waits for nothing longer than two seconds."""
    home = state.home(root)
    memory = state.recall(home)
    return [_status_of(home, memory, service) for service in SERVICES]


def _status_of(home: Home, memory: Memory | None, service: Service) -> ServiceStatus:
    name = service.NAME
    found = process.find(home, name)
    if found is None:
        pid = process.recorded_pid(home, name)
        if pid is None:
            return ServiceStatus(name, "down", None, None, "start it with `shopstream stack up`")
        detail = f"process {pid} ended without `stack down`; `shopstream stack up` starts it again"
        return ServiceStatus(name, "dead", pid, None, detail)
    address = f"127.0.0.1:{found.port}"
    if memory is None or not service.answers(home, memory, found):
        detail = f"it starts, or hangs (then `shopstream stack down`, `up`); log: {process.log_file(home, name)}"
        return ServiceStatus(name, "not answering", found.pid, address, detail)
    detail = f"log: {process.log_file(home, name)}"
    if (files := limits.lacking(found.pid)) is not None:
        detail = f"it may open {files} files only, as the shell that started it: `shopstream stack up` restarts it"
    return ServiceStatus(name, "up", found.pid, address, detail)


@contextlib.contextmanager
def running(root: Path, say: Say = _silent) -> Iterator[Mapping[str, str]]:
    """A stack of its own in `root`, for tests: up inside the block, its services stopped after it, its data kept.

    Yields the environment variables; os.environ is left alone.
    """
    try:
        yield up(root, say)
    finally:
        down(root, say)
