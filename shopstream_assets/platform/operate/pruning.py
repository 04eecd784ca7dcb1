"""What keeps Dagster's event log small."""

import datetime as dt

import dagster as dg
from dagster._core.storage.event_log import SqlEventLogStorage
from pydantic import Field

DETAILS_KEPT = dt.timedelta(days=30)

# What Dagster answers questions about assets from: never pruned.
ASSET_EVENTS = ("ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "ASSET_CHECK_EVALUATION", "FRESHNESS_STATE_CHANGE")


class Pruning(dg.Config):
    """How much is kept: `days_kept` of details, from now back."""

    days_kept: int = Field(default=DETAILS_KEPT.days, ge=0, description="Days of which every detail stays.")


@dg.op(description="Delete what old runs logged, except the history of assets and checks.")
def prune(context: dg.OpExecutionContext, config: Pruning) -> None:
    """Delete step and engine events older than `days_kept`; materializations and check results stay."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as events

    before = dt.datetime.now(dt.UTC).replace(tzinfo=None) - dt.timedelta(days=config.days_kept)
    kept = db.and_(events.c.dagster_event_type.is_not(None), events.c.dagster_event_type.in_(ASSET_EVENTS))
    storage = context.instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise TypeError(f"pruning the event log: it is a {type(storage).__name__}, not in a SQL database")
    with storage.index_connection() as connection:
        deleted = connection.execute(db.delete(events).where(events.c.timestamp < before, db.not_(kept))).rowcount
    context.log.info(f"Deleted {deleted} events of before {before:%Y-%m-%d %H:%M} UTC.")


@dg.job(description=f"Delete the details of runs older than {DETAILS_KEPT.days} days from Dagster's event log.")
def prune_event_log() -> None:
    """Keep Dagster's storage small; assets and checks keep their history."""
    prune()


PRUNE_WEEKLY = dg.ScheduleDefinition(
    name="prune_event_log_weekly",
    job=prune_event_log,
    cron_schedule="0 4 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Sundays at 04:00 UTC.",
)
