"""Runs that failed and that no later run has made good: also where every day is there.

A run that fails at a check after it has materialized its days leaves no day failed or missing. Dagster counts a
backfill by its days: one whose only run failed so reads COMPLETED_SUCCESS.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from shopstream_assets.platform.declare.partitions import DAY_TAG, SPAN_TAGS
from shopstream_assets.platform.operate.notifications import BACKFILL_TAG, cause

KEPT = dt.timedelta(days=7)
# Of as many runs at most: of busier weeks the newest part is looked at.
RUNS = 3000


@dataclass(frozen=True)
class FailedRun:
    """A failed run: its days (UTC, both included), the backfill it was part of, and its first words on why."""

    run_id: str
    job: str
    first: str
    last: str
    backfill: str | None
    why: str

    def __str__(self) -> str:
        days = self.first if self.first == self.last else f"{self.first}..{self.last}"
        of = f" of backfill {self.backfill}" if self.backfill else ""
        return f"run {self.run_id}{of} ({days}): {self.why}"


def failed_runs(instance: dg.DagsterInstance, now: dt.datetime, domain: str | None = None) -> list[FailedRun]:
    """Failed runs of the last seven days, newest first, whose assets no later run has built on all of their days."""
    wanted = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS], updated_after=now - KEPT
    )
    # Asset -> days that a later run has built; None stands for a whole job, which names no assets.
    good: defaultdict[dg.AssetKey | None, set[str]] = defaultdict(set)
    found = []
    for record in instance.get_run_records(wanted, limit=RUNS):
        run = record.dagster_run
        days = _days(run)
        if not days:
            continue
        if run.is_success:
            for key in run.asset_selection or [None]:
                good[key].update(days)
            continue
        assets = set(run.asset_selection or _planned(instance, run.run_id))
        if domain is not None:
            assets = {key for key in assets if key.path[0] == domain}
        if any(day not in good[None] and day not in good[key] for key in assets for day in days):
            found.append(_failed(instance, run, days))
    return found


def _failed(instance: dg.DagsterInstance, run: dg.DagsterRun, days: Sequence[str]) -> FailedRun:
    told = [message for _, message in step_failures(instance, run.run_id)]
    ended = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    words = told[-1] if told else next((event.message for event in ended), "")
    why = " ".join(cause(words))
    return FailedRun(run.run_id, run.job_name, days[0], days[-1], run.tags.get(BACKFILL_TAG), why)


def step_failures(instance: dg.DagsterInstance, run_id: str) -> Iterator[tuple[str, str]]:
    """The failed steps of a run, in order, and what each says."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.dagster_event
        if event is None or event.step_failure_data.error is None:
            continue
        error = event.step_failure_data.error
        # "Exceeded max_retries of 2": what happened is beneath it.
        while (error.cls_name or "").startswith("RetryRequested") and error.cause is not None:
            error = error.cause
        yield event.step_key or "", error.message.strip()


def _planned(instance: dg.DagsterInstance, run_id: str) -> Iterator[dg.AssetKey]:
    for event in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED):
        if event.dagster_event and event.dagster_event.asset_key:
            yield event.dagster_event.asset_key


def _days(run: dg.DagsterRun) -> list[str]:
    """The days that a run was for, as ISO dates, oldest first; none where it was for no partition."""
    first, last = (run.tags.get(DAY_TAG, run.tags.get(name)) for name in SPAN_TAGS)
    if first is None or last is None:
        return []
    try:
        start, end = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
    except ValueError:
        return []
    return [(start + dt.timedelta(days=n)).isoformat() for n in range((end - start).days + 1)]
