"""The checks that end all arguments: the sales mart against the shop's own database, to the cent."""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping

import dagster as dg

from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.domains.shopstream.sales_comparison import (
    NOTHING,
    Comparison,
    NeverBuilt,
    Place,
    Sales,
    compare_sales,
)
from shopstream_assets.platform.declare.environment import domain_settings
from shopstream_assets.platform.declare.on_a_clock import ON_A_CLOCK
from shopstream_assets.platform.declare.partitions import ranges, spans
from shopstream_assets.platform.errors import told_from
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.staging.warehouse import WarehouseResource
from shopstream_assets.platform.transform.comparison_checks import window_of

SALES = dg.AssetKey(["shopstream", "marts", "mart_sales_overview"])
# Dates and stretches of days that a message names.
NAMED = 3
# What changed within this time is on its way: the sensors look at every day once an hour.
ON_ITS_WAY = dt.timedelta(hours=1)
REBUILD = "shopstream rebuild fact_order_items"


@dg.asset_check(
    asset=SALES,
    blocking=True,
    description="Orders and net revenue of what changed on the run's days equal those computed directly in Postgres, "
    "to the cent, but for what is in quarantine; by order date. What has changed again since is counted, not failed.",
)
def equals_the_source(
    context: dg.AssetCheckExecutionContext,
    source: PostgresResource,
    store: ObjectStoreResource,
    warehouse: WarehouseResource,
) -> dg.AssetCheckResult:
    """Compare the sales mart with Postgres over the days of the run; a run without days compares everything."""
    settings = domain_settings(SHOPSTREAM)
    window = window_of(context.run.tags, dt.datetime.now(dt.UTC))
    with told_from("marts", SALES.path[-1], window or "all", "comparing with Postgres"):
        found = compare_sales(source, store, warehouse, settings.start_date, window, zone=settings.reporting_time_zone)
    return dg.AssetCheckResult(
        passed=not found.faults,
        description=faults_told(found) or moving_told(found.moving) or quarantine_told(found),
        metadata=figures(found),
    )


@dg.asset_check(
    asset=SALES,
    # It reads whole tables: no sensor asks for it with a refresh.
    metadata=ON_A_CLOCK,
    description="Orders and net revenue of every order date equal those computed directly in Postgres, to the cent, "
    "but for what is in quarantine. Warns of dates on which the source has moved on from the lake, as by deletes.",
)
def equals_the_source_everywhere(
    source: PostgresResource, store: ObjectStoreResource, warehouse: WarehouseResource
) -> dg.AssetCheckResult:
    """Compare all of the sales mart with Postgres, and the days of both tables with the lake: on a clock."""
    with told_from("marts", SALES.path[-1], "all", "comparing with Postgres"):
        try:
            settings = domain_settings(SHOPSTREAM)
            found = compare_sales(source, store, warehouse, settings.start_date, zone=settings.reporting_time_zone)
        except NeverBuilt as problem:
            return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description=str(problem))
    left_behind = stale(found, dt.datetime.now(dt.UTC))
    told = [
        faults_told(found),
        moving_told(found.moving),
        drift_told(found) if left_behind else None,
        quarantine_told(found),
    ]
    return dg.AssetCheckResult(
        passed=not found.faults and not left_behind,
        severity=dg.AssetCheckSeverity.ERROR if found.faults else dg.AssetCheckSeverity.WARN,
        description=" ".join(filter(None, told)) or None,
        metadata={
            **figures(found),
            **{f"days_of_{name}_not_as_in_the_lake": len(drift.days) for name, drift in found.drift.items()},
        },
    )


def stale(found: Comparison, now: dt.datetime) -> list[dt.date]:
    """The order dates that differ since longer than a change is on its way.

    A day that lost rows has no trace of when it did, so it counts as old.
    """
    recent = {
        (name, day)
        for name, drift in found.drift.items()
        for day, newest in drift.days.items()
        if newest is not None and now - newest < ON_ITS_WAY
    }
    return [date for date, places in found.moving.items() if places and not recent & set(places)]


def faults_told(found: Comparison) -> str | None:
    """The dates that differ though nothing moved: figures of both sides, and what repairs them."""
    if not found.faults:
        return None
    dates = sorted(found.faults)
    told = "; ".join(
        f"{date}: Postgres has {found.source.get(date, NOTHING)}{_held(found.quarantined.get(date))}, "
        f"the mart {found.mart.get(date, NOTHING)}"
        for date in dates[:NAMED]
    )
    places = {place for date in dates for place in found.faults[date]}
    return (
        f"{len(dates)} order dates differ, though the mart was built from what the source has now. {told}. Next: "
        f"`{REBUILD}` builds facts and marts anew from staging; should they differ still, "
        f"{' and '.join(_commands(places))} takes the days anew from the source."
    )


def _held(sales: Sales | None) -> str:
    return f" ({sales} of them in quarantine)" if sales else ""


def moving_told(moving: Mapping[dt.date, Collection[Place]]) -> str | None:
    """The dates that differ because the source, or a build, has moved on."""
    if not moving:
        return None
    days = spans(sorted(map(str, moving)))
    return f"{len(moving)} order dates have changed since the mart was built, and are not compared: {days}."


def drift_told(found: Comparison) -> str | None:
    """The days on which source and lake differ, and what brings them together."""
    places = {(name, day) for name, drift in found.drift.items() for day in drift.days}
    if not places:
        return None
    told = " and ".join(
        f"{len(drift.days)} days of {name} ({spans(map(str, sorted(drift.days)))})"
        for name, drift in found.drift.items()
        if drift.days
    )
    return (
        f"In the source, {told} differ from the lake: rows were deleted, or changed without a trace in their cursor. "
        f"Next: nothing, if the sensors run: they look at every day once an hour; or {' and '.join(_commands(places))}."
    )


def quarantine_told(found: Comparison) -> str | None:
    """What the mart leaves out because it breaks a rule."""
    held = sum(found.quarantined.values(), NOTHING)
    if held == NOTHING:
        return None
    lines = f", and {held.lines} lines of other orders" if held.lines else ""
    return f"In quarantine, and so not in the mart: {held.orders} orders{lines}, {held.revenue} EUR in all."


def figures(found: Comparison) -> dict[str, int | float]:
    """mart + quarantine = source, in orders and in EUR; amounts that are no number are left out."""
    source, held, mart = (sum(totals.values(), NOTHING) for totals in (found.source, found.quarantined, found.mart))
    return {
        "orders": source.orders,
        "orders_in_the_mart": mart.orders,
        "orders_in_quarantine": held.orders,
        "lines_in_quarantine": held.lines,
        "net_revenue_eur": float(source.revenue),
        "net_revenue_in_the_mart_eur": float(mart.revenue),
        "net_revenue_in_quarantine_eur": float(held.revenue),
        "dates_compared": len(found.dates) - len(found.moving),
        "dates_not_settled": len(found.moving),
    }


def _commands(places: Collection[Place]) -> Iterator[str]:
    """Shell commands that take days of tables anew from the source, with all that follows from them."""
    for table in sorted({name for name, _ in places}):
        stretches = list(ranges(str(day) for day in sorted(day for name, day in places if name == table)))
        for first, last in stretches[:NAMED]:
            yield f"`{SHOPSTREAM.materialize_command(SHOPSTREAM.all_from(table), first, last)}`"
        if len(stretches) > NAMED:
            yield f"the job `backfill` for {len(stretches) - NAMED} further stretches of days of {table}"
