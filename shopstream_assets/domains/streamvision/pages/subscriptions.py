"""Subscriptions: what subscribers pay a month, who comes, who changes plan and who leaves."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from shopstream_assets.dashboards import charts, filters
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
    totals,
)
from shopstream_assets.dashboards.marts import Condition, Marts, between
from shopstream_assets.dashboards.periods import Period, written

MART = "mart_subscription_dynamics"
# Of a day; over days only those may be added up that say so.
_SUMS = ", ".join(
    f"sum({column}) as {column}"
    for column in (
        *("mrr", "mrr_at_start", "new_mrr", "expansion_mrr", "contraction_mrr", "churned_mrr"),
        *("subscribers_at_start", "subscribers_at_end", "new_subscribers", "churned_subscribers"),
    )
)
MOVES = {
    "new_mrr": ("New", 1),
    "expansion_mrr": ("Expansion", 1),
    "contraction_mrr": ("Contraction", -1),
    "churned_mrr": ("Churned", -1),
}
# More changes of plan than colours that can be told apart: the rest is one of them.
DRAWN = 8
_COLOURS = ["#2BA58A", "#7FC9B5", "#F0B27A", "#D65A7B"]


def show(marts: Marts) -> None:
    """Draw the page."""
    extent = marts.extent(MART, "event_date")
    if extent is None:
        nothing("subscriptions")
        return
    days, _ = st.columns([1, 2])
    with days:
        period = filters.period(extent)
    now, before = marts.by_day_with_before(MART, "event_date", _SUMS, period, Condition("true"))
    if now.empty:
        nothing("subscription events")
        return
    unit = f"{period} · as of {written(extent.last)}"
    _cards(marts, now, before, period)
    _revenue(marts, now, unit)
    left, right = st.columns(2)
    with left:
        _moves(now, unit)
    with right:
        _transitions(marts, period, unit)


def _cards(marts: Marts, now: pd.DataFrame, before: pd.DataFrame, period: Period) -> None:
    first, last, sums, earlier = now.iloc[0], now.iloc[-1], totals(now), totals(before)
    started = before.iloc[0] if len(before) else pd.Series(dtype=float)

    lost = sums["churned_mrr"] + sums["contraction_mrr"]
    lost_before = earlier["churned_mrr"] + earlier["contraction_mrr"] if len(before) else None
    cards(
        [
            Card("MRR", last["mrr"], EURO, marts.meaning(MART, "mrr"), first["mrr_at_start"], course=now["mrr"]),
            Card(
                "Subscribers",
                last["subscribers_at_end"],
                COUNT,
                marts.meaning(MART, "subscribers_at_end"),
                first["subscribers_at_start"],
                course=now["subscribers_at_end"],
            ),
            Card(
                "New subscribers",
                sums["new_subscribers"],
                COUNT,
                marts.meaning(MART, "new_subscribers"),
                earlier.get("new_subscribers"),
                course=now["new_subscribers"],
            ),
            Card(
                "Subscribers lost",
                ratio(sums["churned_subscribers"], first["subscribers_at_start"]),
                SHARE,
                "Subscribers who left in these days, as a share of those at their start.",
                ratio(earlier.get("churned_subscribers"), started.get("subscribers_at_start")),
                True,
                "less",
                now["churned_subscribers"],
            ),
            Card(
                "MRR lost",
                ratio(lost, first["mrr_at_start"]),
                SHARE,
                "Churned MRR and contraction in these days, as a share of the MRR at their start.",
                ratio(lost_before, started.get("mrr_at_start")),
                True,
                "less",
                now["churned_mrr"] + now["contraction_mrr"],
            ),
        ],
        f"{period.comparison}; of MRR and subscribers, against the start of the period",
    )


def _revenue(marts: Marts, now: pd.DataFrame, unit: str) -> None:
    with figure(
        "Monthly recurring revenue", f"EUR a month, at the end of each day · {unit}", marts.meaning(MART, "mrr"), "mrr"
    ):
        shown = now.assign(on=charts.named(now["day"]))
        chart = (
            alt.Chart(shown)
            .mark_line(strokeWidth=2.5, color=charts.MAIN, point=alt.OverlayMarkDef(opacity=0, size=300))
            .encode(
                x=charts.by_day("day", now["day"]),
                y=alt.Y("mrr:Q", title=None, axis=alt.Axis(format="~s"), scale=alt.Scale(zero=False)),
                tooltip=[
                    alt.Tooltip("on:N", title="Day"),
                    alt.Tooltip("mrr:Q", title="MRR (EUR)", format=",.0f"),
                    alt.Tooltip("subscribers_at_end:Q", title="Subscribers", format=","),
                ],
            )
            .properties(height=250)
        )
        draw(chart, f"Line of monthly recurring revenue; {now['mrr'].iloc[-1]:,.0f} EUR at the end.")


def _moves(now: pd.DataFrame, unit: str) -> None:
    rows = now.melt("day", list(MOVES), "move", "eur")
    rows["eur"] = rows["eur"] * rows["move"].map({column: sign for column, (_, sign) in MOVES.items()})
    rows["name"] = rows["move"].map({column: name for column, (name, _) in MOVES.items()})
    rows["on"] = charts.named(rows["day"])
    names = [name for name, _ in MOVES.values()]
    meaning = "What of the MRR came and went each day; above the line what came, below it what went."
    with figure("What moved it", f"EUR a month, by day · {unit}", meaning, "moves"):
        chart = (
            alt.Chart(rows)
            .mark_bar()
            .encode(
                x=charts.by_day("day", now["day"]),
                y=alt.Y("eur:Q", title=None, axis=alt.Axis(format="~s")),
                color=alt.Color(
                    "name:N",
                    title=None,
                    sort=names,
                    scale=alt.Scale(domain=names, range=_COLOURS),
                    legend=alt.Legend(orient="top"),
                ),
                tooltip=[
                    alt.Tooltip("on:N", title="Day"),
                    alt.Tooltip("name:N", title="What"),
                    alt.Tooltip("eur:Q", title="EUR a month", format="+,.2f"),
                ],
            )
            .properties(height=300)
        )
        draw(chart, "Columns by day of new, expanded, contracted and churned monthly recurring revenue.")


def _transitions(marts: Marts, period: Period, unit: str) -> None:
    where = between("event_date", period.first, period.last)
    found = marts.rows(
        f"""
        select
            plan_before,
            plan_after,
            sum(new_subscribers) + sum(churned_subscribers)
                + sum(iff(plan_before <> 'none' and plan_after <> 'none', subscribers_at_end, 0)) as subscribers
        from marts.{MART}
        where plan_before <> plan_after and {where.sql}
        group by plan_before, plan_after
        order by subscribers desc, plan_before, plan_after
        """,
        *where.values,
    )
    found = found[found["subscribers"] > 0].copy()
    meaning = "Changes of plan from the start of a day to its end; 'none' is no subscription. Who stays is not in it."
    with figure("Changes of plan", f"Subscribers who changed · {unit}", meaning, "transitions"):
        if found.empty:
            nothing("changes of plan")
            return
        found["name"] = [
            f"{plain(a)} → {plain(b)}" for a, b in zip(found["plan_before"], found["plan_after"], strict=True)
        ]
        found["share"] = shares(found["subscribers"])
        few = found.head(DRAWN)
        if len(found) > DRAWN:
            rest = found.iloc[DRAWN:]
            other = {"name": "Other changes", "subscribers": rest["subscribers"].sum(), "share": rest["share"].sum()}
            few = pd.concat([few, pd.DataFrame([other])], ignore_index=True)
        few = few.assign(place=range(len(few)))
        ring, rows = st.tabs(["Chart", "Table"])
        with ring:
            chart = (
                alt.Chart(few)
                .mark_arc(innerRadius=70, cornerRadius=3, padAngle=0.012)
                .encode(
                    theta=alt.Theta("subscribers:Q", stack=True),
                    order=alt.Order("place:Q"),
                    color=alt.Color(
                        "name:N",
                        title=None,
                        sort=list(few["name"]),
                        legend=alt.Legend(orient="right", symbolLimit=12),
                    ),
                    tooltip=[
                        alt.Tooltip("name:N", title="From → to"),
                        alt.Tooltip("subscribers:Q", title="Subscribers", format=","),
                        alt.Tooltip("share:Q", title="Share", format=".1%"),
                    ],
                )
                .properties(height=280)
            )
            draw(chart, f"Ring of changes of plan. The most: {found['name'].iloc[0]}.")
        with rows:
            table(
                found,
                {
                    "name": "From → to",
                    "subscribers": st.column_config.NumberColumn("Subscribers", format="localized"),
                    "share": st.column_config.ProgressColumn("Share", format="percent", min_value=0, max_value=1),
                },
                "changes_of_plan",
                "Changes of plan",
            )
