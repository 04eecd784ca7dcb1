"""Conversion: how far web sessions get, and how many of those who sign up order within a week, a month, a quarter."""

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
    ratio_and_before,
    table,
    totals,
)
from shopstream_assets.dashboards.marts import Condition, Marts, among, between
from shopstream_assets.dashboards.periods import Period, written
from shopstream_assets.domains.shopstream.pages.choices import SMALLEST_SAMPLE, customers

SESSIONS, SIGNUPS = "mart_session_funnel", "mart_signup_conversion"
STEPS = {
    "sessions": "Visited",
    "sessions_with_view": "Viewed a product",
    "sessions_with_cart": "Put it in the cart",
    "sessions_with_checkout": "Began the checkout",
    "sessions_with_purchase": "Bought",
}
WINDOWS = (7, 30, 90)
_STEPS_SQL = ", ".join(f"sum({step}) as {step}" for step in (*STEPS, "carts_abandoned"))
# Of a window only the days that are old enough for it: a younger one would look worse than it is.
_RATES_SQL = ", ".join(
    f"sum(iff(is_complete_{days}d, signed_up, 0)) as signed_up_{days}d, "
    f"sum(iff(is_complete_{days}d, ordered_within_{days}d, 0)) as ordered_{days}d"
    for days in WINDOWS
)


def show(marts: Marts) -> None:
    """Draw the page."""
    sessions, signups = st.tabs(["Web sessions", "Sign-ups"])
    with sessions:
        _sessions(marts)
    with signups:
        _signups(marts)


def _sessions(marts: Marts) -> None:
    extent = marts.extent(SESSIONS, "session_date")
    if extent is None:
        nothing("sessions")
        return
    of = marts.values(SESSIONS, "device", "referrer")
    days, device, referrer = st.columns(3)
    with days:
        period = filters.period(extent)
    with device:
        devices = filters.several("Device", "device", of["device"], "All devices")
    with referrer:
        referrers = filters.several("Came from", "referrer", of["referrer"], "Anywhere")
    chosen = among("device", devices) & among("referrer", referrers)
    now, before = marts.by_day_with_before(SESSIONS, "session_date", _STEPS_SQL, period, chosen)
    if now.empty:
        nothing("sessions")
        return
    unit = f"Sessions · {period} · as of {written(extent.last)}"
    _session_cards(marts, now, before, period)
    left, right = st.columns([3, 2])
    with left:
        _funnel(marts, now, unit)
    with right:
        _by(marts, period, chosen, "device", "Conversion by device", unit, height=66)
        _by(marts, period, chosen, "referrer", "Conversion by origin", unit)


def _session_cards(marts: Marts, now: pd.DataFrame, before: pd.DataFrame, period: Period) -> None:
    here, earlier = totals(now), totals(before)
    bought = ratio_and_before(here, earlier, "sessions_with_purchase", "sessions")
    viewed = ratio_and_before(here, earlier, "sessions_with_view", "sessions")
    carted = ratio_and_before(here, earlier, "sessions_with_cart", "sessions_with_view")
    abandoned = ratio_and_before(here, earlier, "carts_abandoned", "sessions_with_cart")
    cards(
        [
            Card(
                "Sessions",
                here["sessions"],
                COUNT,
                marts.meaning(SESSIONS, "sessions"),
                earlier.get("sessions"),
            ),
            Card("Conversion", bought[0], "{:.2%}", "Sessions with a purchase, of all sessions.", bought[1], True),
            Card("Viewed a product", viewed[0], SHARE, "Sessions with a product view, of all.", viewed[1], True),
            Card(
                "Put it in the cart", carted[0], SHARE, "Sessions with a cart, of those with a view.", carted[1], True
            ),
            Card(
                "Carts abandoned",
                abandoned[0],
                SHARE,
                marts.meaning(SESSIONS, "carts_abandoned")
                or "Sessions with a cart and no purchase, of those with one.",
                abandoned[1],
                True,
                "less",
            ),
        ],
        period.comparison,
    )


def _funnel(marts: Marts, now: pd.DataFrame, unit: str) -> None:
    sums = now[list(STEPS)].sum()
    found = pd.DataFrame({"name": list(STEPS.values()), "sessions": [float(sums[step]) for step in STEPS]})
    found["of_all"] = found["sessions"] / (found["sessions"].iloc[0] or float("nan"))
    found["of_step_before"] = rates(found["sessions"], found["sessions"].shift())
    found["shown"] = [
        f"{count:,.0f} · {of_all:.1%}" for count, of_all in zip(found["sessions"], found["of_all"], strict=True)
    ]
    meaning = "Sessions in which the step was observed; none is taken for granted because a later one was."
    with figure("How far sessions get", unit, meaning, "funnel"):
        y = alt.Y(
            "name:N", sort=list(found["name"]), title=None, axis=alt.Axis(labelLimit=150, ticks=False, domain=False)
        )
        x = alt.X("sessions:Q", axis=None, scale=alt.Scale(domainMax=float(found["sessions"].max()) * 1.25 or 1.0))
        shown = alt.Chart(found).encode(
            y=y,
            x=x,
            tooltip=[
                alt.Tooltip("name:N", title="Step"),
                alt.Tooltip("sessions:Q", title="Sessions", format=","),
                alt.Tooltip("of_all:Q", title="Of all", format=".2%"),
                alt.Tooltip("of_step_before:Q", title="Of the step before", format=".1%"),
            ],
        )
        chart = alt.layer(
            shown.mark_bar(cornerRadiusEnd=3, height={"band": 0.7}).encode(
                opacity=alt.Opacity("of_all:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0.75, 1]))
            ),
            shown.mark_text(align="left", dx=6, color=charts.INK).encode(text="shown:N"),
        ).properties(height=330)
        draw(chart, "Funnel: " + ", ".join(f"{row.name} {row.sessions:,.0f}" for row in found.itertuples(index=False)))
        table(
            found,
            {
                "name": "Step",
                "sessions": st.column_config.NumberColumn("Sessions", format="localized"),
                "of_all": st.column_config.NumberColumn("Of all", format="percent"),
                "of_step_before": st.column_config.NumberColumn("Of the step before", format="percent"),
            },
            "session_funnel",
            "Sessions by step",
        )


def _by(marts: Marts, period: Period, chosen: Condition, column: str, title: str, unit: str, height: int = 30) -> None:
    where = between("session_date", period.first, period.last) & chosen
    found = marts.rows(
        f"select {column} as code, sum(sessions) as sessions, sum(sessions_with_purchase) as bought "
        f"from marts.{SESSIONS} where {where.sql} group by {column} order by sum(sessions) desc, code",
        *where.values,
    )
    found = found[found["sessions"] >= SMALLEST_SAMPLE].copy()
    found["name"] = found["code"].fillna("unknown").map(plain)
    found["rate"] = found["bought"] / found["sessions"]
    meaning = f"Sessions with a purchase, of all sessions; not shown below {SMALLEST_SAMPLE} sessions."
    with figure(title, unit.replace("Sessions", "Share of sessions", 1), meaning, column):
        if found.empty:
            nothing(f"{column} with {SMALLEST_SAMPLE} sessions")
            return
        draw(
            charts.bars(
                found,
                "name",
                "rate",
                ".2%",
                [
                    alt.Tooltip("name:N", title=column.capitalize()),
                    alt.Tooltip("rate:Q", title="Conversion", format=".2%"),
                    alt.Tooltip("bought:Q", title="With a purchase", format=","),
                    alt.Tooltip("sessions:Q", title="Sessions", format=","),
                ],
                height=height,
            ),
            f"Bars of conversion by {column}.",
        )


def _signups(marts: Marts) -> None:
    chosen = customers(marts, SIGNUPS)
    whole = marts.row(
        f"select sum(signed_up) as signed_up, max(signup_date) as last, {_RATES_SQL} "
        f"from marts.{SIGNUPS} where {chosen.sql}",
        *chosen.values,
    )
    if pd.isna(whole["signed_up"]):
        nothing("sign-ups")
        return
    unit = f"as of {written(whole['last'].date())}"
    cards(
        [
            Card("Sign-ups", whole["signed_up"], COUNT, marts.meaning(SIGNUPS, "signed_up")),
            *(
                Card(
                    f"Ordered within {days} days",
                    ratio(whole[f"ordered_{days}d"], whole[f"signed_up_{days}d"]),
                    SHARE,
                    f"Of those whose {days} days are over: {whole[f'signed_up_{days}d']:,.0f} customers. "
                    + marts.meaning(SIGNUPS, f"ordered_within_{days}d"),
                )
                for days in WINDOWS
            ),
        ],
        key="signups",
    )
    _cohorts(marts, chosen, unit)
    left, right = st.columns(2)
    with left:
        _signups_by(marts, chosen, "acquisition_channel", "Ordered within 30 days, by channel", unit)
    with right:
        _signups_by(marts, chosen, "country", "Ordered within 30 days, by country", unit)


def _cohorts(marts: Marts, chosen: Condition, unit: str) -> None:
    found = marts.rows(
        f"select date_trunc('week', signup_date)::date as week, sum(signed_up) as signed_up, {_RATES_SQL} "
        f"from marts.{SIGNUPS} where {chosen.sql} group by week order by week",
        *chosen.values,
    )
    lines = pd.concat(
        [
            pd.DataFrame(
                {
                    "week": found["week"],
                    "window": f"within {days} days",
                    "signed_up": found[f"signed_up_{days}d"].astype(float),
                    "share": rates(found[f"ordered_{days}d"], found[f"signed_up_{days}d"]),
                }
            )[
                # A week counts for a window when all its days do.
                found[f"signed_up_{days}d"] == found["signed_up"]
            ]
            for days in WINDOWS
        ]
    ).dropna()
    meaning = (
        "Of the customers who signed up in a week, those who ordered within so many days. A week stands in a line only "
        "when the days of all its customers are over."
    )
    with figure("First order by week of sign-up", f"Share of the week's sign-ups · {unit}", meaning, "cohorts"):
        if lines.empty:
            nothing("week that is old enough")
            return
        names = [f"within {days} days" for days in WINDOWS]
        chart = (
            alt.Chart(lines)
            .mark_line(point=alt.OverlayMarkDef(size=45), strokeWidth=2)
            .encode(
                x=alt.X("week:T", title=None, axis=alt.Axis(format="%-d %b", grid=False, labelOverlap=True)),
                y=alt.Y("share:Q", title=None, axis=alt.Axis(format="%", tickCount=5)),
                color=alt.Color("window:N", title=None, sort=names, legend=alt.Legend(orient="top")),
                tooltip=[
                    alt.Tooltip("week:T", title="Week of", format="%-d %b %Y"),
                    alt.Tooltip("window:N", title="Ordered"),
                    alt.Tooltip("share:Q", title="Share", format=".1%"),
                    alt.Tooltip("signed_up:Q", title="Signed up", format=","),
                ],
            )
            .properties(height=260)
        )
        draw(chart, "Lines of the share of each week's sign-ups that ordered within 7, 30 and 90 days.")


def _signups_by(marts: Marts, chosen: Condition, column: str, title: str, unit: str) -> None:
    found = marts.rows(
        f"select {column} as code, sum(signed_up) as signed_up, sum(ordered_within_30d) as ordered "
        f"from marts.{SIGNUPS} where is_complete_30d and {chosen.sql} group by {column}",
        *chosen.values,
    )
    found = found[found["signed_up"] >= SMALLEST_SAMPLE].copy()
    found["rate"] = found["ordered"] / found["signed_up"]
    found["name"] = found["code"] if column == "country" else found["code"].map(plain)
    found = found.sort_values(["rate", "name"], ascending=[False, True])
    meaning = (
        f"Customers who ordered within 30 days of signing up, of those whose 30 days are over; not shown below "
        f"{SMALLEST_SAMPLE} customers."
    )
    with figure(title, f"Share of sign-ups · {unit}", meaning, column):
        if found.empty:
            nothing(f"{plain(column).lower()} with {SMALLEST_SAMPLE} sign-ups")
            return
        draw(
            charts.bars(
                found,
                "name",
                "rate",
                ".1%",
                [
                    alt.Tooltip("name:N", title=plain(column)),
                    alt.Tooltip("rate:Q", title="Ordered", format=".1%"),
                    alt.Tooltip("ordered:Q", title="Customers who did", format=","),
                    alt.Tooltip("signed_up:Q", title="Signed up", format=","),
                ],
            ),
            f"Bars: {title.lower()}.",
        )
