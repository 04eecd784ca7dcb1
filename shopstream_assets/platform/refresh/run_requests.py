"""How a refresh is asked for: one run over days in a row, or one backfill of days that are scattered."""

import datetime as dt
import hashlib
from collections.abc import Mapping, Set
from itertools import pairwise

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from shopstream_assets.platform.declare.on_a_clock import is_on_a_clock
from shopstream_assets.platform.declare.partitions import DAY_TAG, ONE_DAY, SPAN_TAGS, TAKES_TAGS, Window
from shopstream_assets.platform.refresh.runs import UNFINISHED_BACKFILLS

# Behind the domain and a slash: which tables a run was asked for.
TABLES_TAG = "changed_tables"


def run_request(graph: AssetGraph, changed: Mapping[dt.date, Set[dg.AssetKey]], attempt: str) -> dg.RunRequest:
    """One request for the changed assets on their days and all that follows from them.

    Days in a row are one run from the first to the last. Scattered ones are one backfill of exactly those partitions,
    which Dagster turns into a run per row of days. The checks run with their assets, except those ON_A_CLOCK.
    `attempt` tells this request from an earlier one for the same.
    """
    days = sorted(changed)
    first, last = days[0].isoformat(), days[-1].isoformat()
    asked = {key for keys in changed.values() for key in keys}
    tags = {f"{next(iter(asked)).path[0]}/{TABLES_TAG}": ",".join(sorted({key.path[-1] for key in asked}))}
    if any(after - before != ONE_DAY for before, after in pairwise(days)):
        return dg.RunRequest.for_asset_graph_subset(_partitions(graph, changed), tags=tags)
    keys = _downstream(graph, asked)
    content = repr(([(str(day), sorted(changed[day])) for day in days], attempt))
    return dg.RunRequest(
        run_key=f"{first}..{last} {hashlib.sha256(content.encode()).hexdigest()[:16]}",
        asset_selection=sorted(keys),
        asset_check_keys=sorted(key for key in graph.get_check_keys_for_assets(keys) if not is_on_a_clock(graph, key)),
        partition_key=first if first == last else None,
        tags=tags if first == last else {**tags, **dict(zip(SPAN_TAGS, (first, last), strict=True))},
    )


def _downstream(graph: AssetGraph, keys: Set[dg.AssetKey]) -> Set[dg.AssetKey]:
    return dg.AssetSelection.assets(*keys).downstream().materializable().resolve(graph)


def _partitions(graph: AssetGraph, changed: Mapping[dt.date, Set[dg.AssetKey]]) -> AssetGraphSubset:
    wanted = {
        AssetKeyPartitionKey(key, day.isoformat() if graph.get(key).is_partitioned else None)
        for day, keys in changed.items()
        for key in _downstream(graph, keys)
    }
    return AssetGraphSubset.from_asset_partition_set(wanted, graph)


def taken_days(instance: dg.DagsterInstance, keys: Set[dg.AssetKey], window: Window) -> set[dt.date]:
    """Days of the window on which an unfinished run materializes one of the assets, or a backfill is about to.

    Dagster launches the runs of a backfill up to 30 s after it was asked for, and those of what follows later still.
    """
    taken, domains = set[dt.date](), {key.path[0] for key in keys}
    for run in instance.get_runs(dg.RunsFilter(statuses=list(NOT_FINISHED_STATUSES))):
        takes_all = TAKES_TAGS[0] in run.tags and any(key.path[0] in domains for key in run.asset_selection or ())
        if run.asset_selection is None or run.asset_selection & keys or takes_all:
            first, last = (
                run.tags.get(takes, run.tags.get(DAY_TAG, run.tags.get(span, "")))
                for takes, span in zip(TAKES_TAGS, SPAN_TAGS, strict=True)
            )
            taken |= {day for day in window.days if first <= day.isoformat() <= last}
    for backfill in instance.get_backfills(filters=UNFINISHED_BACKFILLS):
        if (data := backfill.asset_backfill_data) is None:
            continue
        to_launch = data.target_subset - data.requested_subset - data.failed_and_downstream_subset
        for key, partitions in to_launch.partitions_subsets_by_asset_key.items():
            if key in keys:
                taken |= {day for day in window.days if day.isoformat() in partitions}
    return taken
