"""Telling people of runs that failed, and why they did."""

import json
import os
import re
import urllib.error
import urllib.request

import dagster as dg

from shopstream_assets.platform.declare.partitions import DAY_TAG, SPAN_TAGS

WEBHOOK = "SHOPSTREAM_ALERT_WEBHOOK_URL"


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
