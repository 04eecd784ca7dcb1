"""Dagster's storage in Postgres, without a new connection for every question and a round trip for every row.

Stock dagster-postgres 0.29.27 opens a connection for each statement of daemon, code server and run: most of what an
idle Dagster costs. Here each process keeps one open for each of the three storages.

A backfill over a year plans thousands of partitions, and each planned event is stored by itself: most of a long
backfill's time. Here planned events are written in batches of DAGSTER_EVENT_BATCH_SIZE, as materializations are
already. The rows are the same. dagster.yaml names these classes.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import sqlalchemy as db
from dagster import DagsterEventType, DagsterInstance, DagsterRun, EventLogEntry
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import DagsterEvent
from dagster._core.instance import MayHaveInstanceWeakref
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._serdes import ConfigurableClassData
from dagster._time import datetime_from_timestamp
from dagster._utils.concurrency import ConcurrencyClaimStatus
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from dagster_postgres.utils import create_pg_engine, pg_url_from_config

from shopstream_assets.platform.hosting.interruption import wait_for_writers
from shopstream_assets.platform.hosting.run_launcher import ForkingRunLauncher
from shopstream_assets.platform.hosting.waiting import sleep_while_waiting

ENDS = {DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED}
BATCHED = {DagsterEventType.ASSET_MATERIALIZATION_PLANNED, DagsterEventType.ASSET_MATERIALIZATION}


class _Pooled(MayHaveInstanceWeakref[DagsterInstance]):
    """A storage whose connections are kept; comes before the storage's class."""

    postgres_url: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._engine = create_pg_engine(
            self.postgres_url, None, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=20, pool_pre_ping=True
        )

    @property
    def _launcher(self) -> ForkingRunLauncher | None:
        """The launcher that knows which runs live, where the instance has one."""
        launcher = self._instance.run_launcher if self.has_instance else None
        return launcher if isinstance(launcher, ForkingRunLauncher) else None

    def _make_durable(self) -> None:
        """Return when everything that was committed before survives a crash of the server.

        The local Postgres tells of a commit before it is on disk (`synchronous_commit`), and one that is killed may
        lose the last moments. What a process goes on to act upon must not be among them: a slot that was freed would
        be taken for ever, one that was claimed would be given to another. A commit of its own waits for the disk, and
        with it for all before it.
        """
        with self._engine.begin() as connection:
            on = db.func.set_config("synchronous_commit", "on", True)
            # One that has written nothing would not wait; a message to nobody is written to the log alone.
            connection.execute(db.select(on, db.func.pg_logical_emit_message(True, "shopstream", "").cast(db.Text)))

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """The storage that dagster.yaml describes; the parent would make one of its own class."""
        return cls(
            postgres_url=pg_url_from_config(config_value),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            inst_data=inst_data,
        )


class PooledPostgresRunStorage(_Pooled, PostgresRunStorage):
    """PostgresRunStorage on kept connections."""

    def add_run(self, dagster_run: DagsterRun) -> DagsterRun:
        """Add a run; it is there for good before anybody launches it."""
        added = super().add_run(dagster_run)
        self._make_durable()
        return added

    def handle_run_event(self, run_id: str, event: DagsterEvent, update_timestamp: datetime | None = None) -> None:
        """Give a run the status that an event brings; only once its end is there for good, nobody watches it any more.

        Else the end could be lost, and a run that has ended would be taken for one that goes on, for ever.
        """
        super().handle_run_event(run_id, event, update_timestamp)
        if event.event_type in ENDS:
            self._make_durable()
            if self._launcher:
                self._launcher.ends(run_id)


class PooledPostgresScheduleStorage(_Pooled, PostgresScheduleStorage):
    """PostgresScheduleStorage on kept connections."""


class BatchedPostgresEventLogStorage(_Pooled, PostgresEventLogStorage):
    """PostgresEventLogStorage on kept connections, which also batches planned events."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tables: set[str] = set()
        # Every process that runs steps has this storage, however it was launched.
        sleep_while_waiting()

    def has_table(self, table_name: str) -> bool:
        """Whether Dagster's schema has a table; one that was there once is not looked for again.

        Each event of an asset or a check asks twice, and each time the whole schema would be read.
        """
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def initialize_concurrency_limit_to_default(self, concurrency_key: str) -> bool:
        """Give a pool that nobody has used yet its slots; of several steps that come first, one does.

        dagster 1.13 has each of them insert the pool, which fails in Postgres for all but the first.
        """
        with self.index_connection() as connection:
            # Held by the session, and given back below: what the parent does has a connection of its own.
            lock = db.func.hashtext(f"slots of pool {concurrency_key}")
            connection.execute(db.select(db.func.pg_advisory_lock(lock)))
            try:
                limit = self._instance.global_op_concurrency_default_limit
                known = {pool.name: pool.limit for pool in self.get_pool_limits()}
                if limit is None or concurrency_key not in known:
                    return super().initialize_concurrency_limit_to_default(concurrency_key)
                if known[concurrency_key] != limit:
                    self.set_concurrency_slots(concurrency_key, limit)
                return True
            finally:
                connection.execute(db.select(db.func.pg_advisory_unlock(lock)))

    def claim_concurrency_slot(
        self, concurrency_key: str, run_id: str, step_key: str, priority: int | None = None
    ) -> ConcurrencyClaimStatus:
        """Claim a slot; who got it has it for good."""
        claim = super().claim_concurrency_slot(concurrency_key, run_id, step_key, priority)
        if claim.is_claimed:
            self._make_durable()
        return claim

    def free_concurrency_slot_for_step(self, run_id: str, step_key: str) -> None:
        """Free a step's slot for good, once nothing that the step began in this process writes any more."""
        wait_for_writers()
        super().free_concurrency_slot_for_step(run_id, step_key)
        self._make_durable()

    def free_concurrency_slots_for_run(self, run_id: str) -> None:
        """Free a run's slots, unless its process still lives: a run that was marked as ended may go on writing.

        The daemon asks again until the slots are free.
        """
        launcher = self._launcher
        if launcher is None or not launcher.worker_lives(run_id):
            super().free_concurrency_slots_for_run(run_id)
            self._make_durable()

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event; that a run has failed, after the run's status says so.

        A run begins and ends in the process that executes it, whoever launched that: which is known from then on.

        dagster 1.13 stores the event first. The daemon that tries failed runs again may see it in between, takes the
        run for one that goes on, and never comes back to it.
        """
        if event.dagster_event_type is DagsterEventType.RUN_START and self._launcher:
            self._launcher.begins(event.run_id)
        if event.dagster_event_type in ENDS:
            wait_for_writers()
        if self.has_instance and event.is_dagster_event and event.get_dagster_event().is_run_failure:
            self._instance.run_storage.handle_run_event(
                event.run_id, event.get_dagster_event(), datetime_from_timestamp(event.timestamp)
            )
        super().store_event(event)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events in one statement where all are (planned) materializations, and as the parent does otherwise."""
        kinds = {event.get_dagster_event().event_type for event in events}
        if len(kinds) != 1 or not kinds <= BATCHED:
            super().store_event_batch(events)
            return
        # The parent writes the rows into the statement's text, which SQLAlchemy compiles anew for every batch.
        statement = SqlEventLogStorageTable.insert().returning(
            SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
        )
        with self._connect() as connection:
            ids: list[int] = list(
                connection.execute(statement, [self._event_to_row(event) for event in events]).scalars()
            )
        newest = {event.get_dagster_event().asset_key: (event, id) for event, id in zip(events, ids, strict=True)}
        with self.index_transaction() as connection:
            if kinds == {DagsterEventType.ASSET_MATERIALIZATION}:
                self._store_asset_event_tags(connection, events, ids)
            for event, event_id in newest.values():
                self._store_asset_event(connection, event, event_id)

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        """One planned row per check, as the check gives one result for all of a run's partitions.

        dagster 1.13 stores a row for each partition, and a result for none of them: a year of backfills leaves
        hundreds of thousands that stay planned for ever.
        """
        planned = event.get_dagster_event().event_specific_data
        assert isinstance(planned, AssetCheckEvaluationPlanned)
        if planned.partitions_subset is not None and len(planned.partitions_subset) > 1:
            whole = AssetCheckEvaluationPlanned(asset_key=planned.asset_key, check_name=planned.check_name)
            event = event._replace(dagster_event=event.get_dagster_event()._replace(event_specific_data=whole))
        super()._store_asset_check_evaluation_planned(event, event_id)
