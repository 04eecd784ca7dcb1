"""Sales overview: what was sold in a period, against the one before, by day, country and category.

A refund is taken from the day of its order, or from its own: the reader chooses, and each figure says which.
"""

from __future__ import annotations

from dataclasses import dataclass

import altair as alt
import pandas as pd
import streamlit as st

from shopstream_assets.dashboards import charts, filters
from shopstream_assets.dashboards.figures import (
    COUNT,
    EURO,
    EURO_CENTS,
    SHARE,
    Card,
    behind_map,
    cards,
    draw,
    figure,
    nothing,
    number,
    rates,
    ratio_and_before,
    ratios,
    shares,
    table,
    totals,
)
from shopstream_assets.dashboards.marts import Condition, Marts, among, between
from shopstream_assets.dashboards.periods import Period, written
from shopstream_assets.platform.declare.environment import reporting_time_zone


@dataclass(frozen=True)
class Basis:
    """From which day a refund is taken: the mart that has it so, that mart's day, and how it is said."""

    mart: str
    day: str
    said: str
    refunded: str


BASES = {
    "Order date": Basis(
        "mart_sales_overview",
        "order_date",
        "refunds by order date",
        "Refunded amount as a share of gross less discount, on the day the orders were placed. The latest orders have "
        "had little time to come back.",
    ),
    "Refund date": Basis(
        "mart_sales_as_booked",
        "booked_date",
        "refunds by their own date",
        "What was refunded in these days, whenever it was ordered, as a share of the gross less discount of what was "
        "ordered in them.",
    ),
}
_SUMS = """
    sum(net_revenue) as net_revenue,
    sum(orders) as orders,
    sum(gross_revenue - discount_amount) as order_value,
    sum(refunded_amount) as refunded_amount,
    sum(net_revenue_with_cost) as net_revenue_with_cost,
    sum(margin) as margin
"""


def show(marts: Marts) -> None:
    """Draw the page."""
    days, country, category, refunds = st.columns(4)
    with refunds:
        basis = BASES[filters.one("Refunds count on the", "refunds", tuple(BASES))]
    extent = marts.extent(basis.mart, basis.day)
    if extent is None:
        nothing("orders")
        return
    of = marts.values(basis.mart, "shipping_country", "product_category")
    with days:
        period = filters.period(extent)
    with country:
        countries = filters.several("Country shipped to", "country", of["shipping_country"], "All countries")
    with category:
        categories = filters.several("Category", "category", of["product_category"], "All categories")
    chosen = among("shipping_country", countries) & among("product_category", categories)
    now, before = marts.by_day_with_before(basis.mart, basis.day, _SUMS, period, chosen)
    if now.empty:
        nothing("orders")
        return
    told = f"EUR · {period} · {basis.said} · as of {written(extent.last)}"
    _cards(marts, basis, now, before, period)
    _course(marts, basis, now, before, period, told)
    left, right = st.columns([3, 2])
    with left:
        _by(marts, basis, period, chosen, "shipping_country", "Net revenue by country", told)
    with right:
        _by(marts, basis, period, chosen, "product_category", "Net revenue by category", told)


def _cards(marts: Marts, basis: Basis, now: pd.DataFrame, before: pd.DataFrame, period: Period) -> None:
    sums, earlier = totals(now), totals(before)
    order_value = ratio_and_before(sums, earlier, "order_value", "orders")
    margin = ratio_and_before(sums, earlier, "margin", "net_revenue_with_cost")
    refunded = ratio_and_before(sums, earlier, "refunded_amount", "order_value")
    cards(
        [
            Card(
                "Net revenue",
                sums["net_revenue"],
                EURO,
                marts.meaning(basis.mart, "net_revenue"),
                earlier.get("net_revenue"),
                course=now["net_revenue"],
            ),
            Card(
                "Orders",
                sums["orders"],
                COUNT,
                marts.meaning(basis.mart, "orders"),
                earlier.get("orders"),
                course=now["orders"],
            ),
            Card(
                "Average order value",
                order_value[0],
                EURO_CENTS,
                "Gross less discount, before refunds, per order (EUR).",
                order_value[1],
                course=ratios(now, "order_value", "orders"),
            ),
            Card(
                "Margin",
                margin[0],
                SHARE,
                "Margin as a share of net revenue, of what has a known cost.",
                margin[1],
                is_share=True,
                course=ratios(now, "margin", "net_revenue_with_cost"),
            ),
            Card(
                "Refunded",
                refunded[0],
                SHARE,
                basis.refunded,
                refunded[1],
                is_share=True,
                good="neither",
                course=ratios(now, "refunded_amount", "order_value"),
            ),
        ],
        period.comparison,
    )


def _course(marts: Marts, basis: Basis, now: pd.DataFrame, before: pd.DataFrame, period: Period, told: str) -> None:
    shift = pd.Timedelta(days=period.days)
    laid_over = before.assign(was=before["day"], day=before["day"] + shift) if len(before) else before
    meaning = marts.meaning(basis.mart, "net_revenue")
    with figure("Net revenue by day", f"{told} · days are {reporting_time_zone(marts.domain)}", meaning, "course"):
        draw(
            charts.course(
                now, laid_over, "net_revenue", "Net revenue (EUR)", "~s", ("This period", f"{period.days} days before")
            ),
            f"Line of net revenue by day, {period}: {number(now['net_revenue'].sum(), EURO)} in all.",
        )


def _by(marts: Marts, basis: Basis, period: Period, chosen: Condition, column: str, title: str, told: str) -> None:
    earlier, all_days = period.before, between(basis.day, period.before.first, period.last)
    where = all_days & chosen
    found = marts.rows(
        f"""
        select
            {column} as name,
            sum(iff({basis.day} >= %s, net_revenue, 0)) as net_revenue,
            sum(iff({basis.day} >= %s, orders, 0)) as orders,
            sum(iff({basis.day} < %s, net_revenue, 0)) as net_revenue_before
        from marts.{basis.mart}
        where {where.sql}
        group by {column}
        order by net_revenue desc, name
        """,
        *(period.first,) * 3,
        *where.values,
    )
    found["share"] = shares(found["net_revenue"])
    found["change"] = rates(found["net_revenue"], found["net_revenue_before"]) - 1
    key = column.split("_")[-1]
    tips = [
        alt.Tooltip("name:N", title=key.capitalize()),
        alt.Tooltip("net_revenue:Q", title="Net revenue (EUR)", format=",.0f"),
        alt.Tooltip("share:Q", title="Share", format=".1%"),
        alt.Tooltip("orders:Q", title="Orders", format=",.0f"),
        alt.Tooltip("change:Q", title=f"Against {earlier}", format="+.1%"),
    ]
    with figure(title, told, marts.meaning(basis.mart, "net_revenue"), key):
        shows, names = f"of {title.lower()}, {period}. The most: {found['name'].iloc[0]}.", ("Chart", "Table")
        bars, rows = (
            behind_map(found, "net_revenue", tips[1:], f"A map {shows}", names) if key == "country" else st.tabs(names)
        )
        with bars:
            draw(charts.bars(found, "name", "net_revenue", ",.0f", tips), f"Bars {shows}")
        with rows:
            table(
                found,
                {
                    "name": key.capitalize(),
                    "net_revenue": st.column_config.NumberColumn("Net revenue", format="€%,.0f"),
                    "share": st.column_config.ProgressColumn("Share", format="percent", min_value=0, max_value=1),
                    "change": st.column_config.NumberColumn("Change", format="percent"),
                    "orders": st.column_config.NumberColumn("Orders", format="localized"),
                },
                f"net_revenue_by_{key}",
                title,
            )
