"""Search: what people look for, whether they find it, and what they do not find."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from shopstream_assets.dashboards import charts, filters
from shopstream_assets.dashboards.figures import (
    COUNT,
    SHARE,
    Card,
    cards,
    draw,
    figure,
    nothing,
    ratio_and_before,
    ratios,
    table,
    totals,
)
from shopstream_assets.dashboards.marts import Condition, Marts, between
from shopstream_assets.dashboards.periods import Period, written

MART = "mart_search_effectiveness"
TERMS = 500
_SUMS = ", ".join(
    f"sum({column}) as {column}"
    for column in ("searches", "results", "searches_without_results", "searches_with_click")
)


def show(marts: Marts) -> None:
    """Draw the page."""
    extent = marts.extent(MART, "search_date")
    if extent is None:
        nothing("searches")
        return
    days, term = st.columns(2)
    with days:
        period = filters.period(extent)
    with term:
        words = filters.words("Term", "q", "Any term")
    chosen = Condition("contains(search_term, %s)", (words,)) if words else Condition("true")
    now, before = marts.by_day_with_before(MART, "search_date", _SUMS, period, chosen)
    if now.empty:
        nothing("searches")
        return
    unit = f"{period} · as of {written(extent.last)}"
    _cards(marts, now, before, period)
    left, right = st.columns([3, 2])
    with left:
        _course(now, unit)
    with right:
        _unmet(marts, period, chosen, unit)
    _terms(marts, period, chosen, unit)


def _cards(marts: Marts, now: pd.DataFrame, before: pd.DataFrame, period: Period) -> None:
    here, earlier = totals(now), totals(before)
    opened = ratio_and_before(here, earlier, "searches_with_click", "searches")
    empty = ratio_and_before(here, earlier, "searches_without_results", "searches")
    cards(
        [
            Card(
                "Searches",
                here["searches"],
                COUNT,
                marts.meaning(MART, "searches"),
                earlier.get("searches"),
                course=now["searches"],
            ),
            Card(
                "Led to a title",
                opened[0],
                SHARE,
                "Searches after which a title was opened, of all.",
                opened[1],
                True,
                course=ratios(now, "searches_with_click", "searches"),
            ),
            Card(
                "Found nothing",
                empty[0],
                SHARE,
                "Searches without a result, of all.",
                empty[1],
                True,
                "less",
                ratios(now, "searches_without_results", "searches"),
            ),
        ],
        period.comparison,
    )


def _course(now: pd.DataFrame, unit: str) -> None:
    names = {"opened": "Led to a title", "seen": "Had results only", "empty": "Found nothing"}
    parts = now.assign(
        opened=now["searches_with_click"],
        empty=now["searches_without_results"],
        seen=now["searches"] - now["searches_with_click"] - now["searches_without_results"],
    ).melt("day", list(names), "part", "count")
    parts["name"], parts["on"] = parts["part"].map(names), charts.named(parts["day"])
    with figure(
        "What searches led to", f"Searches by day · {unit}", "Each search of the day, by how it ended.", "course"
    ):
        chart = (
            alt.Chart(parts)
            .mark_bar()
            .encode(
                x=charts.by_day("day", now["day"]),
                y=alt.Y("count:Q", title=None, stack="zero"),
                color=alt.Color(
                    "name:N",
                    title=None,
                    scale=alt.Scale(domain=list(names.values()), range=[charts.TEAL, charts.QUIET, charts.WARM]),
                    legend=alt.Legend(orient="top"),
                ),
                tooltip=[
                    alt.Tooltip("on:N", title="Day"),
                    alt.Tooltip("name:N", title="They"),
                    alt.Tooltip("count:Q", title="Searches", format=","),
                ],
            )
            .properties(height=320)
        )
        draw(chart, "Columns of searches by day, by what they led to.")


def _found(marts: Marts, period: Period, chosen: Condition, order: str, limit: int) -> pd.DataFrame:
    where = between("search_date", period.first, period.last) & chosen
    found = marts.rows(
        f"select search_term, {_SUMS} from marts.{MART} where {where.sql} group by search_term "
        f"order by {order} desc, search_term limit {limit}",
        *where.values,
    )
    found["opened"] = found["searches_with_click"] / found["searches"]
    found["empty"] = found["searches_without_results"] / found["searches"]
    return found


def _unmet(marts: Marts, period: Period, chosen: Condition, unit: str) -> None:
    found = _found(marts, period, chosen, "searches_without_results", 12)
    found = found[found["searches_without_results"] > 0]
    meaning = marts.meaning(MART, "searches_without_results")
    with figure("What is not found", f"Searches without a result · {unit}", meaning, "unmet"):
        if found.empty:
            nothing("searches without a result")
            return
        tips = [
            alt.Tooltip("search_term:N", title="Term"),
            alt.Tooltip("searches_without_results:Q", title="Without a result", format=","),
            alt.Tooltip("searches:Q", title="Searches", format=","),
        ]
        draw(
            charts.bars(found, "search_term", "searches_without_results", ",.0f", tips, charts.WARM, height=28),
            "Bars of the terms most searched for without a result.",
        )


def _terms(marts: Marts, period: Period, chosen: Condition, unit: str) -> None:
    found = _found(marts, period, chosen, "searches", TERMS)
    with figure("Terms", f"{unit}", f"The {TERMS} terms most searched for in these days.", "terms"):
        table(
            found,
            {
                "search_term": st.column_config.TextColumn("Term", width="medium"),
                "searches": st.column_config.ProgressColumn(
                    "Searches", format="%,.0f", min_value=0, max_value=float(found["searches"].max() or 1)
                ),
                "opened": st.column_config.NumberColumn("Led to a title", format="percent"),
                "empty": st.column_config.NumberColumn("Found nothing", format="percent"),
                "results": st.column_config.NumberColumn("Results", format="localized"),
            },
            "search_terms",
            "The terms most searched for",
            height=380,
        )
