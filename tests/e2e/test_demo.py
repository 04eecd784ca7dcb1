"""`shopstream demo` as a newcomer types it: ended half-way, run again, and run once more."""

from __future__ import annotations

import datetime as dt
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster_process import wait_for

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.embedded import stack
from shopstream_assets.platform.declare.settings import LOADING
from shopstream_assets.platform.hosting import own_runs

SECONDS = 300
# Three weeks instead of three months.
FIRST = (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=21)).isoformat()
COMMAND = [sys.executable, "-c", "from shopstream_assets.cli import main; main()"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the demo's stack is made; stopped at the end."""
    made = tmp_path_factory.mktemp("demo")
    yield made
    stack.down(made)


def environment(folder: Path) -> dict[str, str]:
    settings = {"SHOPSTREAM_HOME": str(folder), "SHOPSTREAM_SCALE": "0.1", "SHOPSTREAM_START_DATE": FIRST}
    return {**os.environ, **settings, "COLUMNS": "120"}


def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "demo"]
    return subprocess.run(command, env=environment(folder), capture_output=True, text=True, timeout=SECONDS)


def playing(folder: Path, output: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """A demo in the middle of its run."""
    log = folder / ".shopstream" / "logs" / "demo_shopstream.log"
    log.unlink(missing_ok=True)
    started = subprocess.Popen(
        [*COMMAND, "demo"], env=environment(folder), stdout=subprocess.DEVNULL, stderr=output, text=True
    )
    wait_for(lambda: started.poll() is not None or (log.exists() and "Played " in log.read_text()), "a run", SECONDS)
    assert started.poll() is None, log.read_text()[-2000:]
    return started


@pytest.fixture(scope="module")
def ended(folder: Path) -> tuple[int, int]:
    """A demo that `kill` ended in the middle of its run: its exit code, and the process id of the run."""
    started = playing(folder)
    (worker,) = (child for child in psutil.Process(started.pid).children() if own_runs.__name__ in child.cmdline())
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


def test_kill_ends_the_run_too_and_it_says_so(ended: tuple[int, int], variables: Mapping[str, str]) -> None:
    code, worker = ended

    assert code != 0
    assert not psutil.pid_exists(worker)
    with dg.DagsterInstance.get() as instance:
        assert [run.status for run in instance.get_runs(limit=1)] == [dg.DagsterRunStatus.CANCELED]


@pytest.fixture(scope="module")
def without_warehouse(folder: Path, variables: Mapping[str, str]) -> tuple[str, float]:
    """What a demo says whose warehouse is killed in the middle of it, and after how many seconds it has ended."""
    started = playing(folder, subprocess.PIPE)
    second = demo(folder)
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1].startswith("Error: Another demo is at work on this stack (process ")
    kill("snowflake", folder)
    begin = time.monotonic()
    _, told = started.communicate(timeout=SECONDS)
    assert started.returncode == 1
    return told, time.monotonic() - begin


def kill(service: str, folder: Path) -> None:
    (pid,) = (row.pid for row in stack.status(folder) if row.service == service)
    assert pid is not None
    psutil.Process(pid).kill()
    wait_for(lambda: not stack.all_live(folder), f"{service} to be dead", 10, every=0.01)


def test_a_demo_whose_warehouse_dies_says_so_within_seconds_and_what_to_type(
    without_warehouse: tuple[str, float],
) -> None:
    told, seconds = without_warehouse

    last = told.splitlines()[-1]
    assert last.startswith("Error: Of the local stack snowflake has ended (process ")
    assert "intact" in last
    assert "`shopstream stack up`, then this command again" in last
    assert "max_retries" not in told
    assert "Traceback" not in told
    assert seconds < 30


def test_a_command_without_postgres_is_one_line_that_names_it(
    folder: Path, without_warehouse: tuple[str, float]
) -> None:
    stack.up(folder)
    kill("postgres", folder)
    shell = {name: value for name, value in os.environ.items() if not name.startswith(("SHOPSTREAM", "DAGSTER"))}

    result = subprocess.run(
        [*COMMAND, "status"],
        env={**shell, "SHOPSTREAM_HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )

    assert result.returncode == 1
    assert result.stderr.startswith("Error: Of the local stack postgres has ended (process ")
    assert result.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def completed(folder: Path, without_warehouse: tuple[str, float]) -> str:
    """What a demo prints after those that were ended."""
    stack.up(folder)
    with dg.DagsterInstance.get() as instance:
        # By chance the one that was killed was, or was not, in a step that writes to the warehouse: it was.
        [killed] = instance.get_runs(limit=1)
        instance.event_log_storage.claim_concurrency_slot(SHOPSTREAM.pool, killed.run_id, "shopstream__dbt")
    result = demo(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_next_demo_completes_it_and_shows_every_layer(completed: str) -> None:
    for layer in ("postgres", "lake", "staging", "core", "marts"):
        assert re.search(rf"^ *{layer} ", completed, re.MULTILINE), layer
    assert re.search(r"Net revenue +[\d,]+\.\d\d EUR", completed)
    assert re.search(r"mart_sales_overview +[1-9]", completed)


def test_the_last_week_was_played_day_by_day_and_staging_tells_how_its_orders_changed(completed: str) -> None:
    week, warehouse = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=7), Services.of(SHOPSTREAM).warehouse
    lives = defaultdict[int, list[str]](list)
    with warehouse.connection(LOADING) as session, session.cursor() as cursor:
        cursor.execute(
            f"select id, status from {warehouse.database}.STAGING.STG_ORDERS where created_at >= %s "
            "and not coalesce(_deleted, false) order by _snapshot, updated_at",
            (week.isoformat(),),
        )
        for order, status in cursor.fetchall():
            if status not in lives[order]:
                lives[order].append(status)
    assert {"paid", "paid shipped", "paid shipped delivered"} <= set(map(" ".join, lives.values()))


def test_its_runs_belong_to_the_code_location_as_those_launched_on_the_page(
    variables: Mapping[str, str], completed: str
) -> None:
    with dg.DagsterInstance.get() as instance:
        # By this tag the page finds a location's runs.
        mine = dg.RunsFilter(
            job_name=SHOPSTREAM.refresh_job, tags={".dagster/repository": f"__repository__@{SHOPSTREAM.name}"}
        )
        assert {run.run_id for run in instance.get_runs(mine)} == {run.run_id for run in instance.get_runs()}
        [latest], mark = instance.get_runs(limit=1), f"{SHOPSTREAM.name}/demo"
        runs = instance.get_runs(dg.RunsFilter(tags={mark: latest.tags[mark]}))
    assert len(runs) == 1 + 7 + 1, "two weeks, a week day by day, and all that follows"
    for run in runs:
        assert run.is_success
        assert run.remote_job_origin is not None
        assert run.remote_job_origin.repository_origin.code_location_origin.location_name == SHOPSTREAM.name


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
