"""`shopstream status`: which days of which asset failed or are missing, and the command that repairs them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg
    from rich.table import Table

    from shopstream_assets.platform.declare.domain import Domain
    from shopstream_assets.platform.operate.repair import Days


RUNS_SHOWN = 5


def show(domain: Domain) -> bool:
    """Print the days of a domain's assets, the failed runs and what repairs them; returns whether nothing is wrong."""
    from rich.console import Console

    from shopstream_assets.cli.instance import dagster_instance
    from shopstream_assets.cli.locations import definitions_of
    from shopstream_assets.platform.operate.failed_runs import failed_runs
    from shopstream_assets.platform.operate.repair import NOTHING_TO_REPAIR, commands, days_by_asset

    with dagster_instance() as instance:
        now = dt.datetime.now(dt.UTC)
        found = days_by_asset(instance, definitions_of(domain).resolve_asset_graph(), now)
        failed = failed_runs(instance, now, domain.name)
    console = Console(width=max(Console().width, 130))
    console.print(table(domain, found))
    to_run = list(commands(found, domain))
    if failed:
        print(f"{len(failed)} runs failed and no later run has made that good, whatever the page of backfills says:")
        for run in failed[:RUNS_SHOWN]:
            print(f"  {run}")
        print("To repair: correct the cause, then materialize those days again.\n")
    if not to_run:
        console.print(NOTHING_TO_REPAIR)
        return not failed
    console.print(
        "To repair: in Dagster select the assets, [bold]Materialize[/bold], the days, and [bold]Backfill only failed "
        "and missing partitions[/bold]; or"
    )
    for command in to_run:
        # Not wrapped: it is to be copied.
        print(f"  {command}")
    return False


def table(domain: Domain, found: Mapping[dg.AssetKey, Days]) -> Table:
    """A row per asset."""
    from rich import box
    from rich.table import Table

    from shopstream_assets.platform.declare.partitions import spans

    rows = Table(title=f"{domain.title}: complete days by asset", title_justify="left", box=box.SIMPLE_HEAD)
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
            spans(days.to_repair),
        )
    return rows
