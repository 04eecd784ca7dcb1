"""Which complete days of which asset failed or are missing, and the commands that repair them."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.partitions import ranges

NOTHING_TO_REPAIR = "Every complete day of every asset is materialized."


@dataclass(frozen=True)
class Days:
    """The complete days of an asset, by what became of them. Keys are UTC days, oldest first."""

    materialized: Sequence[str]
    failed: Sequence[str]
    running: Sequence[str]
    missing: Sequence[str]

    @property
    def to_repair(self) -> list[str]:
        """Failed and missing days, oldest first."""
        return sorted((*self.failed, *self.missing))


def days_by_asset(instance: dg.DagsterInstance, graph: BaseAssetGraph, now: dt.datetime) -> Mapping[dg.AssetKey, Days]:
    """What became of every complete day (before that of `now`, UTC) of every asset that is materialized by day."""
    found = {}
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        if not (node.is_materializable and node.is_partitioned):
            continue
        keys = node.partitions_def.get_partition_keys(current_time=now)
        complete = [day for day in keys if day < now.date().isoformat()]
        status = instance.get_status_by_partition(key, complete, node.partitions_def) or {}
        by_status = defaultdict(list)
        for day in complete:
            by_status[status.get(day)].append(day)
        found[key] = Days(
            materialized=by_status[AssetPartitionStatus.MATERIALIZED],
            failed=by_status[AssetPartitionStatus.FAILED],
            running=by_status[AssetPartitionStatus.IN_PROGRESS],
            missing=by_status[None],
        )
    return found


def commands(found: Mapping[dg.AssetKey, Days], domain: Domain) -> Iterator[str]:
    """Shell commands that materialize what failed or is missing; a command takes all assets that lack the same days."""
    assets_by_range: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, days in found.items():
        for span in ranges(days.to_repair):
            assets_by_range[span].append(key.to_user_string())
    everything = [key.to_user_string() for key in found]
    for (first, last), assets in sorted(assets_by_range.items()):
        selection = "*" if assets == everything else " or ".join(f'key:"{asset}"' for asset in assets)
        yield domain.materialize_command(selection, first, last)
