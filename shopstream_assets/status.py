"""`shopstream status`: which days of which asset failed or are missing, and the command that repairs them."""

from __future__ import annotations

import datetime as dt
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg
    from rich.table import Table

MODULE = "shopstream_assets.shopstream.definitions"


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


def show() -> bool:
    """Print the days of every asset and what repairs them; returns whether nothing needs repair."""
    import dagster as dg
    from rich.console import Console

    from shopstream_assets.shopstream.definitions import defs

    with dg.DagsterInstance.get() as instance:
        found = days_by_asset(instance, defs.resolve_asset_graph(), dt.datetime.now(dt.UTC))
    console = Console(width=max(Console().width, 130))
    console.print(table(found))
    commands = list(repairs(found))
    if not commands:
        console.print("Every complete day of every asset is materialized.")
        return True
    console.print(
        "To repair: in Dagster select the assets, [bold]Materialize[/bold], the days, and [bold]Backfill only failed "
        "and missing partitions[/bold]; or"
    )
    for command in commands:
        # Not wrapped: it is to be copied.
        print(f"  {command}")
    return False


def days_by_asset(instance: dg.DagsterInstance, graph: dg.AssetGraph, now: dt.datetime) -> Mapping[dg.AssetKey, Days]:
    """What became of every complete day (before that of `now`, UTC) of every asset that is materialized by day."""
    from dagster._core.storage.partition_status_cache import AssetPartitionStatus

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


def table(found: Mapping[dg.AssetKey, Days]) -> Table:
    """A row per asset."""
    from rich import box
    from rich.table import Table

    rows = Table(title="Complete days by asset", title_justify="left", box=box.SIMPLE_HEAD)
    rows.add_column("asset", no_wrap=True)
    for name in ("materialized", "running", "failed", "missing"):
        rows.add_column(name, justify="right")
    rows.add_column("to repair", overflow="fold")
    for key, days in found.items():
        rows.add_row(
            key.to_user_string(),
            str(len(days.materialized)),
            str(len(days.running)),
            f"[red]{len(days.failed)}[/]" if days.failed else "0",
            f"[yellow]{len(days.missing)}[/]" if days.missing else "0",
            ", ".join(first if first == last else f"{first}..{last}" for first, last in ranges(days.to_repair)),
        )
    return rows


def repairs(found: Mapping[dg.AssetKey, Days]) -> Iterator[str]:
    """Shell commands that materialize what failed or is missing; a command takes all assets that lack the same days."""
    assets_by_range: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, days in found.items():
        for span in ranges(days.to_repair):
            assets_by_range[span].append(key.to_user_string())
    everything = [key.to_user_string() for key in found]
    for (first, last), assets in sorted(assets_by_range.items()):
        selection = "*" if assets == everything else " or ".join(f'key:"{asset}"' for asset in assets)
        yield (
            f"dagster asset materialize -m {MODULE} --select {shlex.quote(selection)} "
            f"--partition-range {first}...{last}"
        )


def ranges(days: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(first, last) of every stretch of days that follow each other; `days` oldest first."""
    stretch: list[dt.date] = []
    for day in map(dt.date.fromisoformat, days):
        if stretch and (day - stretch[-1]).days != 1:
            yield stretch[0].isoformat(), stretch[-1].isoformat()
            stretch = []
        stretch.append(day)
    if stretch:
        yield stretch[0].isoformat(), stretch[-1].isoformat()
