"""`shopstream demo` as a newcomer types it: ended half-way, run again, and run once more."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster_process import wait_for

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.embedded import stack

SECONDS = 120
COMMAND = [sys.executable, "-c", "from shopstream_assets.cli import main; main()"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the demo's stack is made; stopped at the end."""
    made = tmp_path_factory.mktemp("demo")
    yield made
    stack.down(made)


def environment(folder: Path) -> dict[str, str]:
    settings = {"SHOPSTREAM_HOME": str(folder), "SHOPSTREAM_SCALE": "0.1", "COLUMNS": "120"}
    return {**os.environ, **settings}


def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "demo"]
    return subprocess.run(command, env=environment(folder), capture_output=True, text=True, timeout=SECONDS)


@pytest.fixture(scope="module")
def ended(folder: Path) -> tuple[int, int]:
    """A demo that `kill` ended in the middle of its run: its exit code, and the process id of the run."""
    log = folder / ".shopstream" / "logs" / "demo_shopstream.log"
    started = subprocess.Popen(
        [*COMMAND, "demo"], env=environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: started.poll() is not None or (log.exists() and "Played " in log.read_text()), "a run", SECONDS)
    assert started.poll() is None, log.read_text()[-2000:]
    (worker,) = (child for child in psutil.Process(started.pid).children() if "execute" in child.cmdline())
    started.send_signal(signal.SIGTERM)
    return started.wait(SECONDS), worker.pid


@pytest.fixture(scope="module")
def variables(folder: Path, ended: tuple[int, int]) -> Iterator[Mapping[str, str]]:
    """The environment of the demo's stack, for this process too."""
    with pytest.MonkeyPatch.context() as patch:
        found = stack.up(folder)
        for name, value in found.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture(scope="module")
def completed(folder: Path, variables: Mapping[str, str]) -> str:
    """What a demo prints after the one that was ended."""
    result = demo(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_kill_ends_the_run_too_and_it_says_so(ended: tuple[int, int], variables: Mapping[str, str]) -> None:
    code, worker = ended

    assert code != 0
    assert not psutil.pid_exists(worker)
    with dg.DagsterInstance.get() as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.CANCELED]


def test_the_next_demo_completes_it_and_shows_every_layer(completed: str) -> None:
    for layer in ("postgres", "lake", "staging", "core", "marts"):
        assert re.search(rf"^ *{layer} ", completed, re.MULTILINE), layer
    assert re.search(r"Net revenue +[\d,]+\.\d\d EUR", completed)
    assert re.search(r"mart_sales_overview +[1-9]", completed)


def test_one_more_changes_nothing(folder: Path, variables: Mapping[str, str], completed: str) -> None:
    def state() -> tuple[object, ...]:
        store = Services.of(SHOPSTREAM).store
        with dg.DagsterInstance.get() as instance:
            return sorted(store.listed("")), instance.event_log_storage.get_maximum_record_id()

    before = state()

    again = demo(folder)

    assert again.returncode == 0
    assert "Everything was up to date" in again.stderr
    assert state() == before
    assert re.findall(r"Net revenue.*", again.stdout) == re.findall(r"Net revenue.*", completed)
