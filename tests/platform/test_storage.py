"""Dagster's storage in a real Postgres: what differs from dagster-postgres, and that the rows do not."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import psycopg
import pytest
import sqlalchemy as db
from dagster._core.events import AssetMaterializationPlannedData, DagsterEvent
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster_postgres.event_log import PostgresEventLogStorage

from shopstream_assets.platform.hosting.storage import BatchedPostgresEventLogStorage

QUESTIONS = 20
FIRST = 6
ORDERS = dg.AssetKey("orders")
DAYS = [f"2026-03-{day:02}" for day in range(1, 11)]


@dg.job
def nothing() -> None:
    """A job without a step."""


@pytest.fixture
def instance(own_dagster: dg.DagsterInstance) -> dg.DagsterInstance:
    return own_dagster


def test_each_storage_keeps_its_connection(instance: dg.DagsterInstance) -> None:
    opened: list[object] = []
    for storage in (instance.run_storage, instance.event_log_storage, instance.schedule_storage):
        db.event.listen(storage._engine, "connect", lambda connection, _: opened.append(connection))  # type: ignore[union-attr]

    for _ in range(QUESTIONS):
        instance.get_runs_count()
        instance.event_log_storage.get_maximum_record_id()
        instance.all_instigator_state()

    assert len(opened) <= 3


def test_a_run_has_failed_before_its_failure_is_told(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    store = PostgresEventLogStorage.store_event

    def look(self: PostgresEventLogStorage, event: dg.EventLogEntry) -> None:
        if event.is_dagster_event and event.get_dagster_event().is_run_failure:
            run = instance.get_run_by_id(event.run_id)
            seen.append(run.status if run else None)
        store(self, event)

    monkeypatch.setattr(PostgresEventLogStorage, "store_event", look)
    run = instance.create_run_for_job(dg.GraphDefinition("nothing").to_job())

    instance.report_run_failed(run, "its process was killed")

    assert seen == [DagsterRunStatus.FAILURE]
    failed = instance.get_run_by_id(run.run_id)
    assert failed is not None
    assert failed.tags["dagster/will_retry"] == "true"


def test_planned_events_in_a_batch_are_those_stored_one_by_one(instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    assert isinstance(storage, BatchedPostgresEventLogStorage)
    runs = [instance.create_run_for_job(dg.GraphDefinition("nothing").to_job()) for _ in range(2)]

    def planned(run: dg.DagsterRun) -> list[dg.EventLogEntry]:
        events = (
            DagsterEvent.build_asset_materialization_planned_event(
                run.job_name, "step", AssetMaterializationPlannedData(ORDERS, partition=day)
            )
            for day in DAYS
        )
        return [
            dg.EventLogEntry(
                error_info=None,
                level="debug",
                user_message="",
                run_id=run.run_id,
                timestamp=1.0,
                job_name=run.job_name,
                dagster_event=event,
            )
            for event in events
        ]

    for event in planned(runs[0]):
        storage.store_event(event)
    storage.store_event_batch(planned(runs[1]))

    table = db.table(
        "event_logs", *map(db.column, ("run_id", "dagster_event_type", "asset_key", "partition", "step_key"))
    )
    with storage.index_connection() as connection:
        one_by_one, batched = (
            connection.execute(
                db.select(table.c.dagster_event_type, table.c.asset_key, table.c.partition, table.c.step_key)
                .where(table.c.run_id == run.run_id)
                .order_by(table.c.partition)
            ).all()
            for run in runs
        )
    assert len(batched) == len(DAYS)
    assert batched == one_by_one
    assert storage.has_asset_key(ORDERS)


def test_a_pool_has_one_slot_however_many_steps_come_first(instance: dg.DagsterInstance) -> None:
    storage, together = instance.event_log_storage, threading.Barrier(FIRST)

    def come(pool: str) -> None:
        together.wait()
        storage.initialize_concurrency_limit_to_default(pool)

    for attempt in range(10):
        with ThreadPoolExecutor(FIRST) as steps:
            list(steps.map(come, [f"pool {attempt}"] * FIRST))
        assert storage.get_concurrency_info(f"pool {attempt}").slot_count == 1


def test_what_a_run_acts_upon_survives_a_crash_of_the_server(
    instance: dg.DagsterInstance, local_stack: Mapping[str, str]
) -> None:
    """A run that is there, one that has ended, a slot claimed or freed: on disk before the caller goes on."""
    storage = instance.event_log_storage
    storage.set_concurrency_slots("pool", 1)
    run = instance.create_run_for_job(nothing)
    server = local_stack["SHOPSTREAM_DAGSTER_POSTGRES_URL"].replace("+psycopg2", "", 1)

    def position(of: str) -> int:
        found = connection.execute(f"select pg_current_wal_{of}_lsn() - '0/0'::pg_lsn").fetchone()  # type: ignore[call-overload]
        assert found
        return int(found[0])

    with psycopg.connect(server, autocommit=True) as connection:
        assert connection.execute("show synchronous_commit").fetchone() == ("off",)
        for act in (
            lambda: instance.create_run_for_job(nothing),
            lambda: instance.report_run_failed(run),
            lambda: storage.claim_concurrency_slot("pool", "a run", "a step"),
            lambda: storage.free_concurrency_slot_for_step("a run", "a step"),
            lambda: storage.claim_concurrency_slot("pool", "a run", "another step"),
            lambda: storage.free_concurrency_slots_for_run("a run"),
        ):
            # Written by the background, nothing would be flushed while this was not.
            before = position("insert")
            act()
            assert position("flush") > before


def test_a_run_whose_step_waits_for_a_slot_sleeps_until_it_may_ask_again(instance: dg.DagsterInstance) -> None:
    instance.event_log_storage.set_concurrency_slots("pool", 1)
    first, second = (instance.create_run_for_job(nothing) for _ in range(2))
    with (
        InstanceConcurrencyContext(instance, first) as holds,
        InstanceConcurrencyContext(instance, second) as waits,
    ):
        assert holds.claim("pool", "a step")
        assert holds.interval_to_next_pending_claim_check() == 0
        assert not waits.claim("pool", "a step")
        assert 0.5 < waits.interval_to_next_pending_claim_check() <= 15
