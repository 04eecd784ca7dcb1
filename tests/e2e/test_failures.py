"""kill -9 of every part of Dagster, in every layer: what was asked for is done in the end, nothing is left behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import psutil
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster_process import FINISHED, wait_for
from store import RUN_SECONDS, Run, Store

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.platform.declare.settings import LOADING, REPORTING
from shopstream_assets.platform.declare.tables import quoted

LAYERS = ("postgres", "lake", "staging", "dbt")
# Run monitoring frees what a dead run held 30 s after its end, and looks every 10 s.
SLOTS_FREED_SECONDS = 60
# It is given 60 s to start. By the time it is asked for, most of that has passed.
NEVER_BEGAN_SECONDS = 90


@pytest.fixture(scope="module")
def never_began(store: Store) -> str:
    """A run as a kill leaves it between its creation and its start."""
    from shopstream_assets.domains.shopstream.definitions import defs

    day = store.days(24, 1)[0]
    with store.instance() as instance:
        run = instance.create_run_for_job(
            defs.resolve_job_def("refresh_shopstream"), tags={"dagster/partition": day, "dagster/max_retries": "0"}
        )
    return run.run_id


@pytest.fixture(scope="module")
def killed(store: Store, never_began: str) -> dict[str, tuple[Run, psutil.Process]]:
    """Four runs of neighbouring days at the same time, each killed in another layer: the run that completed it."""
    assets = store.dagster.assets()
    asked = {}
    for number, layer in enumerate(LAYERS):
        first, last = store.days(5 * number, 5)[0], store.days(5 * number, 5)[-1]
        asked[layer] = store.dagster.launch(assets, first, last)
    workers = {}
    for layer, run_id in asked.items():
        store.reaches(run_id, layer)
        workers[layer] = store.worker(run_id)
        workers[layer].kill()
    return {layer: (store.succeeded(run_id), workers[layer]) for layer, run_id in asked.items()}


@pytest.mark.long
@pytest.mark.parametrize("layer", LAYERS)
def test_a_run_killed_in_any_layer_is_tried_again_and_completes(
    killed: dict[str, tuple[Run, psutil.Process]], layer: str
) -> None:
    run, worker = killed[layer]

    assert run["status"] == "SUCCESS"
    assert "dagster/parent_run_id" in run["tags"]
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


@pytest.mark.long
def test_the_marts_are_right_after_the_kills(store: Store, killed: dict[str, tuple[Run, psutil.Process]]) -> None:
    days = store.days(0, 5 * len(LAYERS))

    assert store.materialized("marts", "mart_sales_overview") == set(days)
    expected, found = store.totals()
    assert len(expected) > 10
    assert found == expected


@pytest.mark.long
def test_two_runs_never_build_models_at_the_same_time(
    store: Store, killed: dict[str, tuple[Run, psutil.Process]]
) -> None:
    spans = store.step_spans("shopstream__dbt")

    assert len(spans) >= len(LAYERS)
    assert all(before[1] <= after[0] for before, after in pairwise(sorted(spans)))


@pytest.mark.long
def test_no_slot_of_the_pool_is_left_taken_and_no_dbt_process_is_left(
    store: Store, killed: dict[str, tuple[Run, psutil.Process]]
) -> None:
    with store.instance() as instance:
        slots = instance.event_log_storage

        def is_free() -> bool:
            found = slots.get_concurrency_info(SHOPSTREAM.pool)
            return not found.claimed_slots and not found.pending_steps

        assert slots.get_concurrency_info(SHOPSTREAM.pool).slot_count == 1
        wait_for(is_free, f"pool {SHOPSTREAM.pool} to be free", SLOTS_FREED_SECONDS)
    wait_for(lambda: not store.workers(), "the workers of ended runs to be gone", 30)


@pytest.mark.long
def test_a_run_outlives_the_death_of_the_daemon(store: Store) -> None:
    day = store.days(20, 1)[0]
    run_id = store.dagster.launch(store.dagster.assets(), day, day)
    store.reaches(run_id, "lake")

    store.dagster.kill("daemon")
    store.dagster.start()

    run = store.succeeded(run_id)
    assert day in store.materialized("marts", "mart_sales_overview")
    expected, found = store.totals()
    assert found == expected
    assert run["status"] == "SUCCESS"


def look_at_backfills(store: Store) -> None:
    """What Dagster's daemon does with backfills every 30 s."""
    with (
        store.instance() as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget([str(store.dagster.workspace)])) as workspace,
    ):
        for _ in execute_backfill_iteration(workspace, logging.getLogger("backfills")):
            pass


def completes(store: Store, backfill: str) -> bool:
    """Whether a backfill is completed, having been looked at once more."""
    look_at_backfills(store)
    return store.dagster.backfill_status(backfill) == "COMPLETED_SUCCESS"


@pytest.mark.long
def test_a_backfill_and_its_run_outlive_the_death_of_the_code_server(store: Store) -> None:
    days = store.days(21, 2)
    backfill = store.dagster.backfill(store.dagster.assets(), days)
    (run,) = store.started_runs(dagster__backfill=backfill)
    store.reaches(run["runId"], "lake")

    store.dagster.kill("code_server")
    look_at_backfills(store)

    assert store.dagster.backfill_status(backfill) == "REQUESTED"
    store.dagster.start()
    assert store.succeeded(run["runId"])["runId"] == run["runId"]
    wait_for(lambda: completes(store, backfill), f"backfill {backfill} to be completed", RUN_SECONDS)
    assert store.materialized("marts", "mart_sales_overview") >= set(days)
    expected, found = store.totals()
    assert found == expected


CANCELED_SECONDS = 5
# The table that a layer writes or reads, and by which it can be held up.
HELD_UP_AT = {"lake": "orders", "staging": "STAGING.STG_ORDERS", "dbt": "CORE.FACT_ORDERS"}


@contextmanager
def held_up(layer: str) -> Iterator[None]:
    """Let nobody finish a step of a layer: another transaction has locked its table."""
    services = Services.of(SHOPSTREAM)
    if layer == "lake":
        with services.source.transaction() as connection, connection.cursor() as cursor:
            schema = quoted(services.source.schema_name)
            cursor.execute(f"lock table {schema}.{HELD_UP_AT[layer]} in access exclusive mode")
            yield
        return
    with services.warehouse.connection(LOADING) as session, session.cursor() as cursor:
        cursor.execute("begin")
        cursor.execute(f"delete from {HELD_UP_AT[layer]} where false")
        yield
        cursor.execute("rollback")


def waiting() -> list[str]:
    """What waits for a table that is held up, in Postgres, and what other sessions run in the warehouse."""
    services = Services.of(SHOPSTREAM)
    with services.source.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("select query from pg_stat_activity where wait_event_type = 'Lock' and query ilike '%orders%'")
        found = [row[0] for row in cursor.fetchall()]
    with services.warehouse.connection(REPORTING) as session, session.cursor() as cursor:
        cursor.execute(
            "select query_text from table(information_schema.query_history_by_user()) "
            f"where execution_status = 'RUNNING' and session_id <> {session.session_id}"
        )
        return found + [row[0] for row in cursor.fetchall()]


def of_layer(store: Store, layer: str) -> list[list[str]]:
    """The assets of a layer; of the models the one at which they are held up."""
    if layer == "dbt":
        return [["shopstream", "core", "fact_orders"]]
    return [asset for asset in store.dagster.assets() if asset[1] == layer]


@pytest.fixture(scope="module")
def built(store: Store, never_began: str) -> None:
    """Every table exists; and a run waits for its end since before that, so that nobody waits for it later."""
    day = store.days(23, 1)[0]
    store.succeeded(store.dagster.launch(store.dagster.assets(), day, day))


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("layer", HELD_UP_AT)
def test_a_run_terminated_inside_a_statement_is_canceled_within_seconds_and_nothing_of_it_goes_on(
    store: Store, layer: str
) -> None:
    day = store.days(23, 1)[0]
    with held_up(layer):
        run_id = store.dagster.launch(of_layer(store, layer), day, day)
        store.reaches(run_id, layer)
        wait_for(waiting, "the run to be held up", RUN_SECONDS)
        asked = time.time()

        store.dagster.terminate(run_id)

        run = wait_for(lambda: ended(store, run_id), f"the end of {run_id}", RUN_SECONDS)
        assert (run["status"], run["endTime"] - asked < CANCELED_SECONDS) == ("CANCELED", True)
        assert waiting() == []
    with store.instance() as instance:
        assert not instance.event_log_storage.get_concurrency_info(SHOPSTREAM.pool).claimed_slots


@pytest.mark.usefixtures("built")
def test_a_killed_run_in_dbt_writes_nothing_more(store: Store) -> None:
    day = store.days(23, 1)[0]
    with held_up("dbt"):
        run_id = store.dagster.launch(of_layer(store, "dbt"), day, day)
        store.reaches(run_id, "dbt")
        wait_for(waiting, "the run to be held up", RUN_SECONDS)

        store.worker(run_id).kill()

        wait_for(lambda: not waiting(), "its statements to end", CANCELED_SECONDS)
    store.succeeded(run_id)


@pytest.mark.long
@pytest.mark.usefixtures("built")
def test_runs_get_a_pool_in_the_order_in_which_they_were_asked_for(store: Store) -> None:
    day = store.days(23, 1)[0]
    with held_up("dbt"):
        asked = [store.dagster.launch(of_layer(store, "dbt"), day, day)]
        store.reaches(asked[0], "dbt")
        wait_for(waiting, "the run to be held up", RUN_SECONDS)
        for layer in ("dbt", "staging"):
            run_id = store.dagster.launch(of_layer(store, layer), day, day)
            # Not left in the queue, where others would pass it.
            wait_for(lambda run_id=run_id: waits_for_the_pool(store, run_id), "the run to stand in line", RUN_SECONDS)
            asked.append(run_id)
    for run_id in asked:
        store.succeeded(run_id)

    # Not when they ended: what comes after the first step of one stands in line again, behind the others.
    begun = [min(step["startTime"] for step in store.run(run_id)["stepStats"]) for run_id in asked]
    assert begun == sorted(begun)


def waits_for_the_pool(store: Store, run_id: str) -> bool:
    """Whether a step of a run stands in line."""
    with store.instance() as instance:
        pending = instance.event_log_storage.get_concurrency_info(SHOPSTREAM.pool).pending_steps
    return run_id in [step.run_id for step in pending]


def test_a_run_that_was_killed_before_it_began_ends_and_holds_up_nothing(store: Store, never_began: str) -> None:
    run = wait_for(lambda: ended(store, never_began), f"the end of {never_began}", NEVER_BEGAN_SECONDS)

    assert run["status"] == "FAILURE"
    assert "to start" in store.dagster.failures(never_began)


def ended(store: Store, run_id: str) -> Run | None:
    """The run, once it has ended."""
    run = store.run(run_id)
    return run if run["status"] in FINISHED else None
