"""Customer value: who buys, how much each is worth so far, and who comes back."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from shopstream_assets.dashboards import charts
from shopstream_assets.dashboards.figures import (
    COUNT,
    EURO,
    SHARE,
    Card,
    cards,
    draw,
    figure,
    nothing,
    plain,
    ratio,
    shares,
    table,
)
from shopstream_assets.dashboards.marts import Condition, Marts
from shopstream_assets.dashboards.periods import written
from shopstream_assets.domains.shopstream.pages.choices import customers

MART = "mart_customer_ltv"
# What a column of the distribution spans, and where "or more" begins.
STEP_EUR, STEPS = 250, 16
TOP = 20
SEGMENTS = ("champions", "loyal", "new_or_promising", "needs_attention", "at_risk", "hibernating", "no_orders")
_MONEY = "sum(net_revenue) as net_revenue, sum(margin) as margin"


def show(marts: Marts) -> None:
    """Draw the page."""
    chosen = customers(marts, MART)
    whole = marts.row(
        f"""
        select
            count(*) as customers,
            count_if(orders > 0) as buyers,
            count_if(orders > 1) as repeat_buyers,
            sum(orders) as orders,
            median(iff(orders > 0, net_revenue, null)) as median_revenue,
            max(as_of_date) as as_of,
            {_MONEY}
        from marts.{MART}
        where {chosen.sql}
        """,
        *chosen.values,
    )
    if not whole["customers"]:
        nothing("customers")
        return
    unit = f"to date · as of {written(whole['as_of'].date())}"
    _cards(whole)
    left, right = st.columns(2)
    with left:
        _distribution(marts, chosen, unit)
    with right:
        _segments(marts, chosen, unit)
    left, right = st.columns(2)
    with left:
        _cohorts(marts, chosen, unit)
    with right:
        _top(marts, chosen, unit)


def _cards(whole: pd.Series) -> None:
    cards(
        [
            Card("Customers", whole["customers"], COUNT, "Registered customers, with or without an order."),
            Card(
                "Have ordered",
                ratio(whole["buyers"], whole["customers"]),
                SHARE,
                "Customers with an order that counts as a sale, as a share of all.",
            ),
            Card(
                "Ordered again",
                ratio(whole["repeat_buyers"], whole["buyers"]),
                SHARE,
                "Customers with two orders or more, as a share of those with any.",
            ),
            Card(
                "Net revenue per buyer",
                ratio(whole["net_revenue"], whole["buyers"]),
                EURO,
                "Net revenue to date, divided by the customers with an order (EUR).",
            ),
            Card(
                "Median buyer",
                whole["median_revenue"],
                EURO,
                "Half of the customers with an order brought more net revenue than this, half less (EUR).",
            ),
        ]
    )


def _distribution(marts: Marts, chosen: Condition, unit: str) -> None:
    found = marts.rows(
        f"""
        select
            greatest(0, least(floor(net_revenue / {STEP_EUR}), {STEPS}))::number(38, 0) as step,
            count(*) as customers,
            {_MONEY}
        from marts.{MART}
        where orders > 0 and {chosen.sql}
        group by step
        order by step
        """,
        *chosen.values,
    )
    found["low"] = found["step"] * STEP_EUR
    found["span"] = [f"€{low:,.0f} or more" if low >= STEP_EUR * STEPS else f"€{low:,.0f}+" for low in found["low"]]
    meaning = f"Customers with an order, by the net revenue each brought so far. {marts.meaning(MART, 'net_revenue')}"
    with figure("What a buyer is worth", f"Customers by net revenue, steps of €{STEP_EUR} · {unit}", meaning, "worth"):
        chart = charts.columns(
            found,
            alt.X(
                "low:O",
                title="Net revenue (EUR)",
                axis=alt.Axis(
                    labelAngle=0,
                    labelOverlap=True,
                    labelExpr=f"datum.value == {STEP_EUR * STEPS} ? format(datum.value, ',') + '+' : "
                    "format(datum.value, ',')",
                ),
            ),
            alt.Y("customers:Q", title=None, axis=alt.Axis(tickCount=5)),
            [
                alt.Tooltip("span:N", title="Net revenue"),
                alt.Tooltip("customers:Q", title="Customers", format=","),
                alt.Tooltip("net_revenue:Q", title="They brought (EUR)", format=",.0f"),
            ],
            height=270,
        )
        draw(chart, f"Columns of customers by net revenue in steps of €{STEP_EUR}; most are on the left.")


def _segments(marts: Marts, chosen: Condition, unit: str) -> None:
    found = marts.rows(
        f"""
        select rfm_segment, count(*) as customers, sum(orders) as orders, {_MONEY}
        from marts.{MART}
        where {chosen.sql}
        group by rfm_segment
        """,
        *chosen.values,
    )
    found["order"] = found["rfm_segment"].map({name: place for place, name in enumerate(SEGMENTS)})
    found = found.sort_values("order").reset_index(drop=True)
    found["name"] = found["rfm_segment"].map(plain)
    found["share"] = shares(found["net_revenue"])
    found["each"] = found["net_revenue"] / found["customers"]
    with figure("Segments", f"Net revenue in EUR · {unit}", marts.meaning(MART, "rfm_segment"), "segments"):
        bars, rows = st.tabs(["Chart", "Table"])
        with bars:
            draw(
                charts.bars(
                    found,
                    "name",
                    "net_revenue",
                    ",.0f",
                    [
                        alt.Tooltip("name:N", title="Segment"),
                        alt.Tooltip("customers:Q", title="Customers", format=","),
                        alt.Tooltip("net_revenue:Q", title="Net revenue (EUR)", format=",.0f"),
                        alt.Tooltip("share:Q", title="Share", format=".1%"),
                        alt.Tooltip("each:Q", title="Per customer (EUR)", format=",.0f"),
                    ],
                    height=33,
                ),
                "Bars of net revenue by segment.",
            )
        with rows:
            table(
                found,
                {
                    "name": "Segment",
                    "customers": st.column_config.NumberColumn("Customers", format="localized"),
                    "net_revenue": st.column_config.NumberColumn("Net revenue", format="€%,.0f"),
                    "share": st.column_config.ProgressColumn("Share", format="percent", min_value=0, max_value=1),
                    "each": st.column_config.NumberColumn("Per customer", format="€%,.0f"),
                    "orders": st.column_config.NumberColumn("Orders", format="localized"),
                },
                "customer_segments",
                "Segments of customers",
            )


def _cohorts(marts: Marts, chosen: Condition, unit: str) -> None:
    found = marts.rows(
        f"""
        select
            date_trunc('month', signup_date)::date as month,
            count(*) as customers,
            count_if(orders > 0) as buyers,
            count_if(orders > 1) as repeat_buyers,
            sum(net_revenue) as net_revenue
        from marts.{MART}
        where signup_date is not null and {chosen.sql}
        group by month
        order by month
        """,
        *chosen.values,
    )
    shares = found.melt(["month", "customers"], ["buyers", "repeat_buyers"], "step", "reached")
    shares["share"] = shares["reached"] / shares["customers"]
    names = {"buyers": "Ordered", "repeat_buyers": "Ordered again"}
    shares["step"] = shares["step"].map(names)
    meaning = (
        "Of the customers who signed up in a month, those with an order to date, and those with two or more. The "
        "youngest months had the least time: they still grow."
    )
    with figure("Sign-ups that became buyers", f"Share of the month's sign-ups · {unit}", meaning, "cohorts"):
        chart = (
            alt.Chart(shares)
            .mark_bar(cornerRadiusEnd=2)
            .encode(
                x=alt.X("yearmonth(month):O", title=None, axis=alt.Axis(format="%b %Y", labelAngle=0)),
                xOffset=alt.XOffset("step:N", sort=list(names.values())),
                y=alt.Y("share:Q", title=None, axis=alt.Axis(format="%", tickCount=5)),
                color=alt.Color(
                    "step:N",
                    title=None,
                    scale=alt.Scale(domain=list(names.values()), range=[charts.MAIN, charts.TEAL]),
                    legend=alt.Legend(orient="top"),
                ),
                tooltip=[
                    alt.Tooltip("month:T", title="Signed up", format="%B %Y"),
                    alt.Tooltip("customers:Q", title="Customers", format=","),
                    alt.Tooltip("step:N", title="Of them"),
                    alt.Tooltip("reached:Q", title="Customers who did", format=","),
                    alt.Tooltip("share:Q", title="Share", format=".1%"),
                ],
            )
            .properties(height=300)
        )
        draw(chart, "Columns of the share of each month's sign-ups that ordered, and that ordered again.")


def _top(marts: Marts, chosen: Condition, unit: str) -> None:
    found = marts.rows(
        f"""
        select
            '··· ' || right(customer_id::varchar, 4) as customer,
            country, acquisition_channel, rfm_segment, orders, net_revenue, margin, last_order_date
        from marts.{MART}
        where orders > 0 and {chosen.sql}
        order by net_revenue desc, customer_id
        limit {TOP}
        """,
        *chosen.values,
    )
    found["segment"] = found["rfm_segment"].map(plain)
    found["channel"] = found["acquisition_channel"].map(plain)
    meaning = "By net revenue to date. Of the identifier only the end is shown; names never leave staging."
    with figure(f"Top {TOP} customers", f"EUR · {unit}", meaning, "top"):
        if found.empty:
            nothing("buyers")
            return
        table(
            found,
            {
                "customer": "Customer",
                "net_revenue": st.column_config.ProgressColumn(
                    "Net revenue", format="€%,.0f", min_value=0, max_value=float(found["net_revenue"].max()) or 1.0
                ),
                "orders": st.column_config.NumberColumn("Orders", format="localized"),
                "margin": st.column_config.NumberColumn("Margin", format="€%,.0f"),
                "country": "Country",
                "segment": "Segment",
                "last_order_date": st.column_config.DateColumn("Last order", format="YYYY-MM-DD"),
            },
            "top_customers",
            f"The {TOP} customers of the highest net revenue",
            height=300,
        )
