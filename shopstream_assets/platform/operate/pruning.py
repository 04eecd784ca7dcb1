"""What keeps Dagster's storage small.

What is older than so many days is deleted: all that runs logged; of assets and checks what something newer of the same
partition has taken the place of; and runs of which nothing is left. So the storage holds so many days of history, and
beyond them one materialization and one result for each partition, however often it is refreshed.
"""

import datetime as dt
from collections.abc import Iterable

import dagster as dg
import sqlalchemy as db
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, AssetEventTagsTable
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as EventsTable
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG
from pydantic import Field

from shopstream_assets.platform.operate.schedules import always_on

DAYS_KEPT = dt.timedelta(days=30)

# What Dagster answers questions about assets from: the newest of each asset and partition stays. The results of checks
# are in a table of their own.
HISTORY = ("ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "FRESHNESS_STATE_CHANGE")
# Runs in one statement.
AT_ONCE = 500


class Pruning(dg.Config):
    """How much is kept: `days_kept` of everything, from now back."""

    days_kept: int = Field(default=DAYS_KEPT.days, ge=0, description="Days of which everything stays.")


@dg.op(description="Delete what old runs logged, what newer events have taken the place of, and runs without events.")
def prune(context: dg.OpExecutionContext, config: Pruning) -> None:
    """Delete all of before `days_kept` but the newest materialization, observation and check of each partition."""
    before = dt.datetime.now(dt.UTC).replace(tzinfo=None) - dt.timedelta(days=config.days_kept)
    events, runs = context.instance.event_log_storage, context.instance.run_storage
    if not isinstance(events, SqlEventLogStorage) or not isinstance(runs, SqlRunStorage):
        raise TypeError(f"pruning Dagster's storage: it is a {type(events).__name__}, not in a SQL database")
    with events.index_connection() as connection:
        deleted = _prune_events(connection, before)
        left = db.union(db.select(EventsTable.c.run_id), db.select(AssetCheckExecutionsTable.c.run_id))
        told_of: set[str] = set(connection.execute(left).scalars())
    with runs.connect() as connection:
        pruned = _runs_to_prune(connection, before, told_of)
    if isinstance(logs := context.instance.compute_log_manager, LocalComputeLogManager):
        # In a bucket they expire by its lifecycle.
        for run_id in pruned:
            logs.delete_logs(prefix=[run_id])
    with runs.connect() as connection:
        for at in range(0, len(pruned), AT_ONCE):
            for table in (RunTagsTable, RunsTable):
                connection.execute(db.delete(table).where(table.c.run_id.in_(pruned[at : at + AT_ONCE])))
    context.log.info(f"Deleted {deleted} events and {len(pruned)} runs of before {before:%Y-%m-%d %H:%M} UTC.")


def _prune_events(connection: db.Connection, before: dt.datetime) -> int:
    """Delete events of before that moment that nothing needs; returns their number."""
    checks, events, tags = AssetCheckExecutionsTable, EventsTable, AssetEventTagsTable
    # One that was planned and never ran does not take the place of a result.
    is_planned = checks.c.execution_status == AssetCheckExecutionRecordStatus.PLANNED.value
    check = (checks.c.asset_key, checks.c.check_name, checks.c.partition, is_planned)
    superseded = _superseded(checks, check, checks.c.create_timestamp < before)
    connection.execute(db.delete(checks).where(checks.c.id.in_(superseded)))

    partition = (events.c.asset_key, events.c.dagster_event_type, events.c.partition)
    of_history = events.c.dagster_event_type.in_(HISTORY)
    details = db.or_(events.c.dagster_event_type.is_(None), db.not_(of_history))
    deleted: int = connection.execute(db.delete(events).where(events.c.timestamp < before, details)).rowcount
    superseded = _superseded(events, partition, events.c.timestamp < before, of_history)
    deleted += connection.execute(db.delete(events).where(events.c.id.in_(superseded))).rowcount
    connection.execute(db.delete(tags).where(~db.exists().where(events.c.id == tags.c.event_id)))
    return deleted


def _superseded(
    table: db.Table, keys: tuple[db.ColumnElement, ...], is_old: db.ColumnElement, *among: db.ColumnElement
) -> db.Select:
    """Ids of old rows after which others with the same keys came."""
    place = db.func.row_number().over(partition_by=keys, order_by=table.c.id.desc())
    ranked = db.select(table.c.id, is_old.label("is_old"), place.label("place")).where(*among).subquery()
    return db.select(ranked.c.id).where(ranked.c.place > 1, ranked.c.is_old)


def _runs_to_prune(connection: db.Connection, before: dt.datetime, told_of: set[str]) -> list[str]:
    """Ended runs of before that moment, except those of which something is left, and what those are retries of."""
    retries = (RunTagsTable.c.key.in_((PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG)), RunTagsTable.c.run_id.in_(told_of))
    tried_before: Iterable[str] = connection.execute(db.select(RunTagsTable.c.value).where(*retries)).scalars()
    kept = told_of | set(tried_before)
    ended = RunsTable.c.status.in_([status.value for status in FINISHED_STATUSES])
    old = db.select(RunsTable.c.run_id).where(ended, RunsTable.c.create_timestamp < before)
    found: Iterable[str] = connection.execute(old).scalars()
    return [run_id for run_id in found if run_id not in kept]


@dg.job(description=f"Delete from Dagster's storage what is older than {DAYS_KEPT.days} days and no longer needed.")
def prune_event_log() -> None:
    """Keep Dagster's storage small; the state of every asset, partition and check stays."""
    prune()


PRUNE_WEEKLY = always_on("prune_event_log_weekly", prune_event_log, "0 4 * * 0", "Sundays at 04:00 UTC.")
