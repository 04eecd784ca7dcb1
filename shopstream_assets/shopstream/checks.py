"""The check that ends all arguments: the marts against the shop's own database, to the cent."""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal

import dagster as dg

from shopstream_assets.platform.errors import told_from
from shopstream_assets.platform.resources.postgres import PostgresResource
from shopstream_assets.platform.resources.warehouse import REPORTING, WarehouseResource
from shopstream_assets.platform.tables import quoted

SALES = dg.AssetKey(["shopstream", "marts", "mart_sales_overview"])

# Orders and net revenue per order date, computed from nothing but the shop's tables; docs/marts.md defines both. A date
# counts as settled when every order and line of it last changed on a day that the mart has seen.
SOURCE_SQL = """
    with seen as (
        select unnest(string_to_array($1, ',')::date[]) as day
    ),
    lines as (
        select order_id, sum(quantity * unit_price) as items,
               bool_and((updated_at at time zone 'UTC')::date in (select day from seen)) as is_settled
        from {schema}.order_items
        group by order_id
    )
    select (o.created_at at time zone 'UTC')::date,
           count(*) filter (where o.status in ('paid', 'shipped', 'delivered', 'refunded')),
           coalesce(sum(coalesce(lines.items, 0) - o.discount_amount) filter (
               where o.status in ('paid', 'shipped', 'delivered')
           ), 0)::text,
           bool_and(
               (o.updated_at at time zone 'UTC')::date in (select day from seen) and coalesce(lines.is_settled, true)
           )
    from {schema}.orders as o
    left join lines on lines.order_id = o.id
    group by 1
"""
MART_SQL = """
    select order_date, sum(main_category_orders), sum(net_revenue)
    from {database}.MARTS.MART_SALES_OVERVIEW
    group by order_date
"""

Totals = Mapping[dt.date, tuple[int, Decimal]]


@dg.asset_check(
    asset=SALES,
    blocking=True,
    description="Orders and net revenue of every order date equal those computed directly in Postgres, to the cent.",
)
def equals_the_source(
    context: dg.AssetCheckExecutionContext, source: PostgresResource, warehouse: WarehouseResource
) -> dg.AssetCheckResult:
    """Compare the sales mart with Postgres on every date whose changes the mart has seen."""
    seen = context.instance.get_materialized_partitions(SALES)
    with told_from("marts", "mart_sales_overview", "all", "comparing with Postgres"):
        expected, unsettled = source_totals(source, seen)
        found = mart_totals(warehouse)
    return compare(expected, found, unsettled)


def source_totals(source: PostgresResource, seen: set[str]) -> tuple[Totals, set[dt.date]]:
    """(orders, net revenue) per settled order date, and the dates that are not settled."""
    with source.snapshot() as connection, connection.cursor() as cursor:
        cursor.execute(SOURCE_SQL.format(schema=quoted(source.schema_name)), (",".join(sorted(seen)),))
        rows = cursor.fetchall()
    settled = {day: (orders, Decimal(revenue)) for day, orders, revenue, is_settled in rows if is_settled}
    return settled, {day for day, *_, is_settled in rows if not is_settled}


def mart_totals(warehouse: WarehouseResource) -> Totals:
    """(orders, net revenue) per order date of the mart."""
    with warehouse.connection(REPORTING) as session, session.cursor() as cursor:
        cursor.execute(MART_SQL.format(database=quoted(warehouse.database)))
        return {day: (int(orders), Decimal(revenue)) for day, orders, revenue in cursor.fetchall()}


def compare(expected: Totals, found: Totals, unsettled: set[dt.date]) -> dg.AssetCheckResult:
    """Pass when every settled date agrees and the mart has no date that the source does not know."""
    nothing = (0, Decimal(0))
    differing = sorted(
        day
        for day in (expected.keys() | found.keys()) - unsettled
        if expected.get(day, nothing) != found.get(day, nothing)
    )
    told = "; ".join(
        "{}: Postgres has {} orders and {} EUR, the mart {} and {}".format(
            day, *expected.get(day, nothing), *found.get(day, nothing)
        )
        for day in differing[:3]
    )
    return dg.AssetCheckResult(
        passed=not differing,
        description=(
            f"{len(differing)} order dates differ. {told}. Next: look for quarantined rows and rows deleted in the "
            "source, then backfill the days on which those orders changed."
            if differing
            else None
        ),
        metadata={
            "orders": sum(orders for orders, _ in expected.values()),
            "net_revenue_eur": float(sum((revenue for _, revenue in expected.values()), Decimal(0))),
            "dates_compared": len(expected),
            "dates_with_changes_not_seen_yet": len(unsettled),
        },
    )
