"""Engagement and quality: who watches day by day, and whether the picture stands still."""

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
    plain,
    rates,
    ratio,
    shares,
    totals,
)
from shopstream_assets.dashboards.marts import Condition, Marts, among, between
from shopstream_assets.dashboards.periods import Period, written

MART, QUALITY = "mart_daily_engagement", "mart_streaming_quality"
RESOLUTIONS = ("SD", "HD", "Full HD", "4K")
USERS = {"daily_active_users": "DAU", "weekly_active_users": "WAU", "monthly_active_users": "MAU"}
# What is looked at by its course over the seasons is shown whole to begin with.
YEAR = 365
_USERS_SQL = ", ".join(f"sum({column}) as {column}" for column in (*USERS, "sessions", "watched_seconds"))
_QUALITY_SQL = ", ".join(
    f"sum({column}) as {column}"
    for column in (
        "sessions",
        "sessions_with_buffering",
        "buffering_events",
        "watched_hours",
        "watched_seconds",
        "kilobits",
    )
)


def show(marts: Marts) -> None:
    """Draw the page."""
    extent = marts.extent(MART, "viewing_date")
    if extent is None:
        nothing("viewing")
        return
    of = marts.values(QUALITY, "device")
    days, device = st.columns(2)
    with days:
        period = filters.period(extent, YEAR)
    with device:
        devices = filters.several("Device (of quality only)", "device", of["device"], "All devices")
    # A row a day: the sum is the row.
    users = marts.by_day(MART, "viewing_date", _USERS_SQL, period, Condition("true"))
    chosen = among("device", devices)
    quality = marts.by_day(QUALITY, "viewing_date", _QUALITY_SQL, period, chosen)
    if users.empty:
        nothing("viewing")
        return
    unit = f"{period} · as of {written(extent.last)}"
    _cards(marts, users, quality)
    _users(users, unit)
    left, right = st.columns(2)
    with left:
        _resolutions(marts, period, chosen, unit)
    with right:
        _buffering(marts, period, chosen, unit)


def _cards(marts: Marts, users: pd.DataFrame, quality: pd.DataFrame) -> None:
    last, sums = users.iloc[-1], totals(quality)
    cards(
        [
            Card(
                "DAU",
                last["daily_active_users"],
                COUNT,
                f"{marts.meaning(MART, 'daily_active_users')} Of the last day.",
                course=users["daily_active_users"],
            ),
            Card(
                "MAU",
                last["monthly_active_users"],
                COUNT,
                f"{marts.meaning(MART, 'monthly_active_users')} At the last day.",
                course=users["monthly_active_users"],
            ),
            Card(
                "Stickiness",
                ratio(last["daily_active_users"], last["monthly_active_users"]),
                SHARE,
                "DAU per MAU, of the last day.",
            ),
            Card(
                "Stalls per hour",
                ratio(sums.get("buffering_events"), sums.get("watched_hours")),
                "{:.2f}",
                marts.meaning(QUALITY, "buffering_per_hour"),
            ),
            Card(
                "Bit rate",
                (ratio(sums.get("kilobits"), sums.get("watched_seconds")) or 0) / 1000 or None,
                "{:.1f} Mbit/s",
                marts.meaning(QUALITY, "average_bitrate_kbps"),
            ),
        ]
    )


def _users(users: pd.DataFrame, unit: str) -> None:
    rows = users.melt("day", list(USERS), "which", "users")
    rows["name"], rows["on"] = rows["which"].map(USERS), charts.named(rows["day"])
    meaning = "Users who began a session that day, in the seven days up to it, in the 30 days up to it."
    with figure("Active users", f"Users, by day · {unit}", meaning, "users"):
        chart = (
            alt.Chart(rows)
            .mark_line(strokeWidth=2)
            .encode(
                x=charts.by_day("day", users["day"]),
                y=alt.Y("users:Q", title=None, axis=alt.Axis(format="~s")),
                color=alt.Color("name:N", title=None, sort=list(USERS.values()), legend=alt.Legend(orient="top")),
                tooltip=[
                    alt.Tooltip("on:N", title="Day"),
                    alt.Tooltip("name:N", title="Which"),
                    alt.Tooltip("users:Q", title="Users", format=","),
                ],
            )
            .properties(height=280)
        )
        draw(chart, "Lines of daily, weekly and monthly active users.")


def _by(marts: Marts, period: Period, chosen: Condition, *columns: str) -> pd.DataFrame:
    where, names = between("viewing_date", period.first, period.last) & chosen, ", ".join(columns)
    return marts.rows(
        f"select {names}, {_QUALITY_SQL} from marts.{QUALITY} where {where.sql} group by {names} order by {names}",
        *where.values,
    )


def _resolutions(marts: Marts, period: Period, chosen: Condition, unit: str) -> None:
    found = _by(marts, period, chosen, "resolution")
    order = [*RESOLUTIONS, *sorted(set(found["resolution"]) - set(RESOLUTIONS))]
    found = found.sort_values("resolution", key=lambda names: names.map(order.index)).reset_index(drop=True)
    found["share"] = shares(found["sessions"])
    tips = [
        alt.Tooltip("resolution:N", title="Resolution"),
        alt.Tooltip("share:Q", title="Share", format=".1%"),
        alt.Tooltip("sessions:Q", title="Sessions", format=","),
        alt.Tooltip("watched_hours:Q", title="Hours", format=",.0f"),
    ]
    with figure("Resolutions", f"Share of sessions · {unit}", marts.meaning(QUALITY, "resolution"), "resolutions"):
        if found.empty:
            nothing("sessions")
            return
        draw(charts.bars(found, "resolution", "share", ".1%", tips, height=60), "Bars of sessions by resolution.")


def _buffering(marts: Marts, period: Period, chosen: Condition, unit: str) -> None:
    found = _by(marts, period, chosen, "resolution", "device")
    with figure(
        "Where the picture stands still",
        f"Stalls per hour watched · {unit}",
        marts.meaning(QUALITY, "buffering_per_hour"),
        "buffering",
    ):
        if found.empty:
            nothing("sessions")
            return
        found["rate"] = rates(found["buffering_events"], found["watched_hours"])
        found["name"] = found["device"].map(plain)
        field = alt.Chart(found).encode(
            x=alt.X("resolution:N", sort=list(RESOLUTIONS), title=None, axis=alt.Axis(labelAngle=0, orient="top")),
            y=alt.Y("name:N", title=None, axis=charts.NAMES),
            tooltip=[
                alt.Tooltip("name:N", title="Device"),
                alt.Tooltip("resolution:N", title="Resolution"),
                alt.Tooltip("rate:Q", title="Stalls per hour", format=".2f"),
                alt.Tooltip("sessions:Q", title="Sessions", format=","),
            ],
        )
        middle = float(found["rate"].max()) * 0.45
        chart = alt.layer(
            field.mark_rect(cornerRadius=3, stroke=None).encode(
                color=alt.Color("rate:Q", legend=None, scale=alt.Scale(range=["#FBE9DA", "#E07B1F", "#8A3F06"]))
            ),
            field.mark_text(fontSize=13, fontWeight=600).encode(
                text=alt.Text("rate:Q", format=".2f"),
                color=alt.condition(alt.datum.rate > middle, alt.value("#FFFFFF"), alt.value("#4A2B10")),
            ),
        ).properties(height=240)
        draw(chart, "Table of stalls per hour watched, by device and resolution.")
