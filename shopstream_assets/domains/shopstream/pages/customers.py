"""Customer value: who buys, how much each is worth so far, who comes back, and what is expected of them."""

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
    number,
    plain,
    rates,
    ratio,
    shares,
    table,
)
from shopstream_assets.dashboards.marts import Condition, Marts
from shopstream_assets.dashboards.periods import written
from shopstream_assets.domains.shopstream.customer_value.history import SEGMENTS
from shopstream_assets.domains.shopstream.pages.choices import SMALLEST_SAMPLE, customers

MART, BACKTEST, RETENTION = "mart_customer_ltv", "mart_projection_backtest", "mart_customer_retention"
# What a column of the distribution spans, and where "or more" begins.
STEP_EUR, STEPS = 250, 16
TOP = 20
# Cohorts that are followed, the youngest, and for how many months.
COHORTS = 18
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
            sum(projected_12m_orders) as projected_orders,
            sum(projected_12m_revenue) as projected_revenue,
            sum(projected_12m_margin) as projected_margin,
            count(projected_12m_orders) as projected,
            max(projection_as_of_date) as projected_from,
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
    _projection(marts, chosen, whole)
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
    _retention(marts, chosen)


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
                "Revenue per buyer",
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


def _projection(marts: Marts, chosen: Condition, whole: pd.Series) -> None:
    if not whole["projected"]:
        st.info("Nothing is projected yet: the first fit comes with the first refresh that has a sale.")
        return
    unit = f"365 days from {written(whole['projected_from'].date())}"
    cards(
        [
            Card("Orders expected", whole["projected_orders"], COUNT, marts.meaning(MART, "projected_12m_orders")),
            Card("Revenue expected", whole["projected_revenue"], EURO, marts.meaning(MART, "projected_12m_revenue")),
            Card("Margin expected", whole["projected_margin"], EURO, marts.meaning(MART, "projected_12m_margin")),
        ],
        key="projection",
    )
    left, right = st.columns(2)
    with left:
        _expected(marts, chosen, unit)
    with right:
        _backtest(marts)


def _expected(marts: Marts, chosen: Condition, unit: str) -> None:
    found = marts.rows(
        f"""
        select
            rfm_segment,
            count(projected_12m_orders) as customers,
            avg(p_alive)::float as alive,
            avg(projected_12m_orders)::float as expected,
            avg(projected_12m_orders_low)::float as low,
            avg(projected_12m_orders_high)::float as high,
            sum(projected_12m_margin)::float as margin
        from marts.{MART}
        where projected_12m_orders is not null and {chosen.sql}
        group by rfm_segment
        """,
        *chosen.values,
    )
    found = _by_segment(found)
    tips = [
        alt.Tooltip("name:N", title="Segment"),
        alt.Tooltip("customers:Q", title="Customers", format=","),
        alt.Tooltip("alive:Q", title="Still customers", format=".0%"),
        alt.Tooltip("expected:Q", title="Orders expected of each", format=",.2f"),
        alt.Tooltip("low:Q", title="From", format=",.1f"),
        alt.Tooltip("high:Q", title="To", format=",.1f"),
        alt.Tooltip("margin:Q", title="Margin expected of all (EUR)", format=",.0f"),
    ]
    meaning = (
        "Orders expected of a customer of the segment on average, and from where to where the orders of a single one "
        "lie with 80 % probability, on average: people differ, and do as they like."
    )
    with figure("Expected of a customer", f"Orders of each, with the interval · {unit}", meaning, "expected"):
        y = alt.Y("name:N", sort=list(found["name"]), title=None)
        shown = alt.Chart(found).encode(y=y, tooltip=tips)
        reach = shown.mark_rule(strokeWidth=4, opacity=0.35, color=charts.MAIN).encode(
            x=alt.X("low:Q", title=None, axis=alt.Axis(tickCount=5)), x2="high:Q"
        )
        middle = shown.mark_point(filled=True, size=80, opacity=1, color=charts.MAIN).encode(x="expected:Q")
        drawn = alt.layer(reach, middle).properties(height=max(60, 54 * len(found)))
        draw(drawn, "Points of the orders expected of a customer of each segment, with the interval as a line.")


def _backtest(marts: Marts) -> None:
    found = marts.rows(
        f"""
        select
            rfm_segment, horizon_days, predicted_orders, standard_error, actual_orders, last_period_orders,
            flat_rate_orders, prediction_error, projected_12m_orders_low, projected_12m_orders_high, is_judged
        from marts.{BACKTEST}
        where as_of_date = (select max(as_of_date) from marts.{BACKTEST})
        """
    )
    meaning = (
        "A fit that did not know the last days predicts them, by the segment that customers were in before, whatever "
        "is chosen above; beside what came, and what two simpler ways would have said: everybody orders as in the last "
        "period, or goes on at a flat rate of their own. Before a year lay before these days the season could not be "
        "known."
    )
    total = found[found["rfm_segment"] == "all"]
    days = f"The last {int(total.iloc[0]['horizon_days'])} days" if len(total) else "All customers"
    with figure("How well that predicts", f"Orders · {days}", meaning, "backtest"):
        if total.empty:
            st.info("The history is too short for a backtest: nothing proves yet what is expected.")
            return
        whole = total.iloc[0]
        low, high = number(whole["projected_12m_orders_low"], COUNT), number(whole["projected_12m_orders_high"], COUNT)
        error, chance = number(whole["prediction_error"], "{:+.1%}"), number(whole["standard_error"], COUNT)
        st.caption(
            f"All customers together: {error} off; chance alone explains ±{chance} orders. In the next 365 days "
            f"{low} to {high} orders are expected of all customers (80 %)."
        )
        if not whole["is_judged"]:
            st.caption("The history is too short to judge that: less than a year lay before these days.")
        found = _by_segment(found)
        table(
            found,
            {
                "name": "Segment",
                "actual_orders": st.column_config.NumberColumn("Came", format="localized"),
                "predicted_orders": st.column_config.NumberColumn("Predicted", format="%,.0f"),
                "prediction_error": st.column_config.NumberColumn("Error", format="percent"),
                "last_period_orders": st.column_config.NumberColumn("Last period", format="localized"),
                "flat_rate_orders": st.column_config.NumberColumn("Flat rate", format="%,.0f"),
            },
            "projection_backtest",
            "What the backtest predicted of each segment, and what came",
            height=317,
        )


def _by_segment(found: pd.DataFrame) -> pd.DataFrame:
    """Its rows in the order of the segments, best first after all of them, and the segment's plain name as `name`."""
    place = {segment: place for place, segment in enumerate(("all", *SEGMENTS))}
    found = found.sort_values("rfm_segment", key=lambda column: column.map(place)).reset_index(drop=True)
    return found.assign(name=found["rfm_segment"].map(plain))


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
    found = _by_segment(found)
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


def _retention(marts: Marts, chosen: Condition) -> None:
    found = marts.rows(
        f"""
        select
            cohort_month, months_since, sum(buyers) as buyers, sum(active_customers) as active,
            sum(net_revenue) as net_revenue
        from marts.{RETENTION}
        where is_complete and {chosen.sql}
        group by cohort_month, months_since
        having sum(buyers) >= {SMALLEST_SAMPLE}
        order by cohort_month, months_since
        """,
        *chosen.values,
    )
    youngest = sorted(found["cohort_month"].unique())[-COHORTS:]
    found = found[found["cohort_month"].isin(youngest) & found["months_since"].between(1, COHORTS)].copy()
    found["share"] = rates(found["active"], found["buyers"])
    found["each"] = found["net_revenue"] / found["buyers"]
    found["cohort"] = found["cohort_month"].dt.strftime("%b %Y")
    found["cohort_size"] = [f"{of} · {size:,.0f}" for of, size in zip(found["cohort"], found["buyers"], strict=True)]
    meaning = (
        "Of the customers whose first order was in a month, those who ordered in the first, second … month after it, "
        f"and how many they are. The month that is going on is left out, and cohorts of fewer than {SMALLEST_SAMPLE}."
    )
    with figure("Who comes back", "Share of the cohort that ordered, by months since", meaning, "retention"):
        if found.empty:
            nothing(f"cohorts of {SMALLEST_SAMPLE} buyers with a month behind them")
            return
        grid, rows = st.tabs(["Chart", "Table"])
        with grid:
            draw(
                charts.grid(
                    found,
                    alt.X("months_since:O", title="Months since the first order", axis=alt.Axis(labelAngle=0)),
                    alt.Y("cohort_size:N", title=None, sort=list(found["cohort_size"].unique()), axis=charts.NAMES),
                    "share",
                    ".0%",
                    [
                        alt.Tooltip("cohort:N", title="First order in"),
                        alt.Tooltip("buyers:Q", title="Customers", format=","),
                        alt.Tooltip("months_since:O", title="Months later"),
                        alt.Tooltip("active:Q", title="Ordered then", format=","),
                        alt.Tooltip("share:Q", title="Share", format=".1%"),
                        alt.Tooltip("each:Q", title="Net revenue per customer of the cohort (EUR)", format=",.2f"),
                    ],
                ),
                "A grid of cohorts by months since the first order, the darker the more of the cohort ordered.",
            )
        with rows:
            table(
                found,
                {
                    "cohort": "First order in",
                    "buyers": st.column_config.NumberColumn("Customers", format="localized"),
                    "months_since": st.column_config.NumberColumn("Months later", format="localized"),
                    "active": st.column_config.NumberColumn("Ordered then", format="localized"),
                    "share": st.column_config.ProgressColumn("Share", format="percent", min_value=0, max_value=1),
                    "each": st.column_config.NumberColumn("Net revenue of each", format="€%,.2f"),
                },
                "retention",
                "Customers of each cohort who ordered again, by months since their first order",
            )


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
