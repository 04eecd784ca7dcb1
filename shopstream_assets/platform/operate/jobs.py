"""Jobs, schedules and sensors that keep a domain running, with names that people understand."""

import datetime as dt
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.event_log import SqlEventLogStorage

from shopstream_assets.platform.declare.partitions import ONE_DAY
from shopstream_assets.platform.refresh.run_requests import DAY_TAG, SPAN_TAGS

WEBHOOK = "SHOPSTREAM_ALERT_WEBHOOK_URL"
DETAILS_KEPT = dt.timedelta(days=30)
# What Dagster answers questions about assets from: never pruned.
ASSET_EVENTS = ("ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "ASSET_CHECK_EVALUATION", "FRESHNESS_STATE_CHANGE")


def refresh_job(domain: str, on_a_clock: Sequence[dg.AssetChecksDefinition] = ()) -> UnresolvedAssetJobDefinition:
    """Every layer of a domain, for the chosen days, with all checks but those that are `on_a_clock`."""
    return dg.define_asset_job(
        f"refresh_{domain}",
        # The checks are named too: in live mode those of the source belong to assets that no job contains.
        selection=(dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks()) - _checks(on_a_clock),
        description=f"Bring {domain} up to date: every layer, for the chosen days, with all checks but those of whole "
        "tables.",
    )


def backfill_job(domain: str, on_a_clock: Sequence[dg.AssetChecksDefinition] = ()) -> UnresolvedAssetJobDefinition:
    """What follows from a domain's source, for the chosen days, with its checks; a simulated source plays nothing."""
    lake = dg.AssetSelection.groups(f"{domain}_lake")
    return dg.define_asset_job(
        "backfill",
        selection=lake.downstream() - _checks(on_a_clock),
        description=f"Extract the chosen days of {domain} again and rebuild all that follows from them. The source is "
        "read only.",
    )


def _checks(definitions: Sequence[dg.AssetChecksDefinition]) -> dg.AssetSelection:
    return dg.AssetSelection.checks(*(key for definition in definitions for key in definition.check_keys))


def check_job(domain: str, checks: Sequence[dg.AssetChecksDefinition]) -> UnresolvedAssetJobDefinition:
    """The checks that no refresh waits for, and those of the source, which in live mode no run contains."""
    return dg.define_asset_job(
        f"check_{domain}",
        selection=_checks(checks),
        description=f"Check the source tables of {domain}, and what whole tables promise: keys, references, tables "
        "that are only appended to. Reads every row where no index answers.",
    )


def daily_checks(domain: str, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """At 03:00 UTC, when few people shop; on from the start."""
    return dg.ScheduleDefinition(
        name=f"daily_checks_{domain}",
        job=job,
        cron_schedule="0 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="At 03:00 UTC, check the source tables and what whole tables promise.",
    )


def daily_refresh(domain: str, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """For those who prefer a clock to the change sensor: at 02:00 UTC, the day that ended; off until switched on."""

    @dg.schedule(
        name=f"daily_refresh_{domain}",
        job=job,
        cron_schedule="0 2 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="At 02:00 UTC, refresh the day that ended.",
    )
    def daily_refresh_(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = (context.scheduled_execution_time.date() - ONE_DAY).isoformat()
        return dg.RunRequest(run_key=day, partition_key=day)

    return daily_refresh_


@dg.op(description="Delete what old runs logged, except the history of assets and checks.")
def prune(context: dg.OpExecutionContext) -> None:
    """Delete step and engine events older than DETAILS_KEPT; materializations and check results stay."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as events

    before = dt.datetime.now(dt.UTC).replace(tzinfo=None) - DETAILS_KEPT
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


@dg.run_failure_sensor(
    name="notify_failed_runs",
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    description=f"Posts every failed run to the Slack-compatible webhook in {WEBHOOK}; off where that is unset.",
)
def notify_failed_runs(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    """Tell the webhook which run failed, and why."""
    url = os.environ.get(WEBHOOK)
    if not url:
        return dg.SkipReason(f"{WEBHOOK} is not set.")
    post(url, failure_message(context.dagster_run, context.failure_event.message or ""))
    return None


# How Dagster and the launcher say that a run's process ended without a word of its own.
_DIED = re.compile(r"was killed|crashed|run worker|forcibly marked|has been running for", re.IGNORECASE)
DIED = (
    "Its process ended without a word: it was killed, the machine had no memory or disk left, or it was restarted. "
    "Nothing is half-written: each partition is as before or complete. Dagster tries such a run once more by itself. "
    "Next: see `df -h` and the system's log for the cause; if the days are still missing after ten "
    "minutes, `shopstream status` lists the commands that bring them."
)
BACKFILL_TAG = "dagster/backfill"


def failure_message(run: dg.DagsterRun, why: str) -> str:
    """The notification's text: the run, what it was for, the first lines of why, and what to do if it died."""
    span = [run.tags[name] for name in (DAY_TAG, *SPAN_TAGS) if name in run.tags]
    lines = [f"Run {run.run_id} of {run.job_name} failed ({'..'.join(span) or 'no partition'}).", *cause(why)]
    if backfill := run.tags.get(BACKFILL_TAG):
        lines.append(
            f"It is of backfill {backfill}. Dagster counts a backfill by its days, not by its runs: it may read as "
            "completed all the same. `shopstream status` knows."
        )
    return "\n".join(lines)


def cause(why: str) -> list[str]:
    """The first lines of why a run failed; where its process died, what that means and what to do."""
    lines = [line for line in why.splitlines() if line.strip()][:5]
    return [*lines, DIED] if not lines or _DIED.search(why) else lines


def post(url: str, text: str) -> None:
    """POST {"text": ...}; raises RuntimeError without the URL, which is a secret, when it is not accepted."""
    content, headers = json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, content, headers), timeout=10) as response:
            response.read()
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        reason = getattr(error, "code", None) or type(error).__name__
        raise RuntimeError(f"notifying of a failed run: the webhook in {WEBHOOK} answered {reason}.") from None
