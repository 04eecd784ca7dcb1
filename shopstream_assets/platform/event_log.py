"""Dagster's event log in Postgres, without a round trip and a new connection for every row.

A backfill over a year plans thousands of partitions, and stock dagster-postgres 0.29.27 stores each planned event by
itself on a fresh connection: most of a long backfill's time. Here planned events are written in batches of
DAGSTER_EVENT_BATCH_SIZE, as materializations are already, and each process keeps a connection open. The rows in the
event log are the same. dagster.yaml names this class.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import DagsterEventType, EventLogEntry
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._serdes import ConfigurableClassData
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.utils import create_pg_engine, pg_url_from_config

# One dbt run at a time: two that merge into one table would wait for each other's locks.
DBT_POOL = "dbt"
BATCHED = {DagsterEventType.ASSET_MATERIALIZATION_PLANNED, DagsterEventType.ASSET_MATERIALIZATION}


class BatchedPostgresEventLogStorage(PostgresEventLogStorage):
    """PostgresEventLogStorage that also batches planned events, on pooled connections."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The parent opens a connection per event; a run writes its events from one thread or two.
        self._engine = create_pg_engine(
            self.postgres_url, None, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=20, pool_pre_ping=True
        )

    def _init_db(self) -> None:
        super()._init_db()
        # The default limit of pools lets the first runs overlap (dagster 1.13): the one that matters is set for good.
        self.set_concurrency_slots(DBT_POOL, 1)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "BatchedPostgresEventLogStorage":
        """The storage that dagster.yaml describes; the parent would make one of its own class."""
        return cls(
            postgres_url=pg_url_from_config(config_value),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            inst_data=inst_data,
        )

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
