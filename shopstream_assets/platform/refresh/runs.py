"""What Dagster is doing: whether any run has moved since the last look, and what is still to be done."""

import datetime as dt
from collections.abc import Set

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

UNFINISHED_BACKFILLS = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING])


def newest_change(instance: dg.DagsterInstance, now: dt.datetime) -> str:
    """Differs from that of the last look when a run has started or ended since, or the (UTC) day; one cheap query."""
    newest = instance.get_run_records(limit=1, order_by="update_timestamp")
    return f"{now.date()}/{newest[0].dagster_run.run_id}/{newest[0].dagster_run.status.value}" if newest else ""


def under_way(instance: dg.DagsterInstance, keys: Set[dg.AssetKey]) -> set[dg.AssetKey]:
    """Those of the assets that an unfinished run or backfill is to materialize; a queued one counts.

    A run of a whole job names no assets: it may be on any.
    """
    found: set[dg.AssetKey] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=list(NOT_FINISHED_STATUSES))):
        if run.asset_selection is not None:
            found |= run.asset_selection & keys
        elif not run.asset_check_selection:
            found |= keys
    return found | in_backfills(instance, keys)


def in_backfills(instance: dg.DagsterInstance, keys: Set[dg.AssetKey]) -> set[dg.AssetKey]:
    """Those of the assets that an unfinished backfill is on, whatever its runs do at the moment."""
    found: set[dg.AssetKey] = set()
    for backfill in instance.get_backfills(filters=UNFINISHED_BACKFILLS):
        found |= set(backfill.asset_selection or ()) & keys
    return found
