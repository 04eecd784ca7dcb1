"""Content performance: what is watched, where, on what, how far, and how it is rated."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from shopstream_assets.dashboards import charts, filters
from shopstream_assets.dashboards.figures import (
    COUNT,
    SHARE,
    Card,
    behind_map,
    cards,
    draw,
    figure,
    nothing,
    rates,
    ratio_and_before,
    ratios,
    shares,
    table,
    totals,
)
from shopstream_assets.dashboards.marts import Condition, Marts, among, between
from shopstream_assets.dashboards.periods import Period, written

MART, COUNTRIES = "mart_content_performance", "mart_viewing_by_country"
DEVICES = {
    "smart_tv_sessions": "TV set",
    "mobile_sessions": "Phone",
    "desktop_sessions": "Computer",
    "tablet_sessions": "Tablet",
}
# A mean of fewer ratings says more of chance than of the title.
FEWEST_RATINGS = 10
TITLES = 200
_SUMS = ", ".join(
    f"sum({column}) as {column}"
    for column in (
        "sessions",
        "watched_hours",
        "completion_sum",
        "completed_sessions",
        "ratings",
        "rating_sum",
        *DEVICES,
    )
)


def show(marts: Marts) -> None:
    """Draw the page."""
    extent = marts.extent(MART, "viewing_date")
    if extent is None:
        nothing("viewing")
        return
    of = marts.values(MART, "genre", "content_type")
    days, genre, kind = st.columns(3)
    with days:
        period = filters.period(extent)
    with genre:
        genres = filters.several("Genre", "genre", of["genre"], "All genres")
    with kind:
        kinds = filters.several("Kind", "kind", of["content_type"], "Movies, series, documentaries")
    chosen = among("genre", genres) & among("content_type", kinds)
    now, before = marts.by_day_with_before(MART, "viewing_date", _SUMS, period, chosen)
    if now.empty:
        nothing("viewing")
        return
    unit = f"{period} · as of {written(extent.last)}"
    _cards(marts, now, before, period)
    left, right = st.columns(2)
    with left:
        _genres(marts, period, chosen, unit)
    with right:
        _devices(totals(now), unit)
        _countries(marts, period, unit)
    _titles(marts, period, chosen, unit)


def _cards(marts: Marts, now: pd.DataFrame, before: pd.DataFrame, period: Period) -> None:
    here, earlier = totals(now), totals(before)
    watched = ratio_and_before(here, earlier, "completion_sum", "sessions")
    completed = ratio_and_before(here, earlier, "completed_sessions", "sessions")
    stars = ratio_and_before(here, earlier, "rating_sum", "ratings")
    cards(
        [
            Card(
                "Sessions",
                here["sessions"],
                COUNT,
                marts.meaning(MART, "sessions"),
                earlier.get("sessions"),
                course=now["sessions"],
            ),
            Card(
                "Hours watched",
                here["watched_hours"],
                COUNT,
                marts.meaning(MART, "watched_hours"),
                earlier.get("watched_hours"),
                course=now["watched_hours"],
            ),
            Card(
                "Share watched",
                watched[0],
                SHARE,
                "Mean share watched of the title, or of the episodes begun.",
                watched[1],
                True,
                course=ratios(now, "completion_sum", "sessions"),
            ),
            Card(
                "Completed",
                completed[0],
                SHARE,
                marts.meaning(MART, "completed_sessions"),
                completed[1],
                True,
                course=ratios(now, "completed_sessions", "sessions"),
            ),
            Card(
                "Rating",
                stars[0],
                "{:.2f} stars",
                "Mean stars of the ratings given in these days.",
                stars[1],
                course=ratios(now, "rating_sum", "ratings"),
            ),
        ],
        period.comparison,
    )


def _with_means(found: pd.DataFrame) -> pd.DataFrame:
    return found.assign(
        completion=rates(found["completion_sum"], found["sessions"]),
        rating=found["rating_sum"] / found["ratings"].where(found["ratings"] >= FEWEST_RATINGS),
    )


def _genres(marts: Marts, period: Period, chosen: Condition, unit: str) -> None:
    where = between("viewing_date", period.first, period.last) & chosen
    found = marts.rows(
        f"select genre as name, {_SUMS} from marts.{MART} where {where.sql} "
        "group by genre order by watched_hours desc, name",
        *where.values,
    )
    found = _with_means(found)
    meaning = marts.meaning(MART, "watched_hours")
    with figure("Hours watched by genre", f"Hours · {unit}", meaning, "genres"):
        bars, rows = st.tabs(["Chart", "Table"])
        with bars:
            tips = [
                alt.Tooltip("name:N", title="Genre"),
                alt.Tooltip("watched_hours:Q", title="Hours", format=",.0f"),
                alt.Tooltip("sessions:Q", title="Sessions", format=","),
                alt.Tooltip("completion:Q", title="Share watched", format=".1%"),
                alt.Tooltip("rating:Q", title="Stars", format=".2f"),
            ]
            draw(
                charts.bars(found, "name", "watched_hours", ",.0f", tips, height=44),
                f"Bars of hours watched by genre. The most: {found['name'].iloc[0]}.",
            )
        with rows:
            table(
                found,
                {
                    "name": "Genre",
                    "watched_hours": st.column_config.NumberColumn("Hours", format="%,.0f"),
                    "sessions": st.column_config.NumberColumn("Sessions", format="localized"),
                    "completion": st.column_config.NumberColumn("Share watched", format="percent"),
                    "rating": st.column_config.NumberColumn("Stars", format="%.2f"),
                },
                "genres",
                "Genres by hours watched",
            )


def _devices(sums: pd.Series, unit: str) -> None:
    found = pd.DataFrame({"name": list(DEVICES.values()), "sessions": [float(sums[column]) for column in DEVICES]})
    found["share"] = shares(found["sessions"])
    tips = [
        alt.Tooltip("name:N", title="Device"),
        alt.Tooltip("share:Q", title="Share", format=".1%"),
        alt.Tooltip("sessions:Q", title="Sessions", format=","),
    ]
    with figure("Devices", f"Share of sessions · {unit}", "Sessions by the device watched on.", "devices"):
        draw(charts.bars(found, "name", "share", ".1%", tips, charts.TEAL), "Bars of sessions by device.")


def _countries(marts: Marts, period: Period, unit: str) -> None:
    where = between("viewing_date", period.first, period.last)
    found = marts.rows(
        f"""
        select
            country as name,
            sum(sessions) as sessions,
            sum(sessions_abroad) / nullif(sum(sessions), 0)::double as abroad,
            sum(prime_time_sessions) / nullif(sum(sessions), 0)::double as prime_time
        from marts.{COUNTRIES}
        where {where.sql}
        group by country
        order by sessions desc, name
        """,
        *where.values,
    )
    tips = [
        alt.Tooltip("name:N", title="Country"),
        alt.Tooltip("sessions:Q", title="Sessions", format=","),
        alt.Tooltip("prime_time:Q", title="In prime time", format=".1%"),
        alt.Tooltip("abroad:Q", title="By viewers from abroad", format=".1%"),
    ]
    meaning = f"{marts.meaning(COUNTRIES, 'country')} All genres and kinds: this mart does not tell them apart."
    with figure("Sessions by country", f"Sessions of all titles · {unit}", meaning, "countries"):
        if found.empty:
            nothing("sessions")
            return
        shows = f"of sessions by country. The most: {found['name'].iloc[0]}."
        (bars,) = behind_map(found, "sessions", tips[1:], f"A map {shows}", ("Chart",))
        with bars:
            draw(charts.bars(found, "name", "sessions", ",.0f", tips, height=22), f"Bars {shows}")


def _titles(marts: Marts, period: Period, chosen: Condition, unit: str) -> None:
    where = between("viewing_date", period.first, period.last) & chosen
    found = marts.rows(
        f"""
        select content_id, max(title) as title, max(content_type) as content_type, max(genre) as genre, {_SUMS}
        from marts.{MART}
        where {where.sql}
        group by content_id
        order by watched_hours desc, content_id
        limit {TITLES}
        """,
        *where.values,
    )
    found = _with_means(found)
    meaning = (
        f"The {TITLES} titles most watched in these days. Stars of fewer than {FEWEST_RATINGS} ratings are left out."
    )
    with figure("Titles", unit, meaning, "titles"):
        table(
            found,
            {
                "title": st.column_config.TextColumn("Title", width="medium"),
                "content_type": "Kind",
                "genre": "Genre",
                "watched_hours": st.column_config.ProgressColumn(
                    "Hours", format="%,.0f", min_value=0, max_value=float(found["watched_hours"].max() or 1)
                ),
                "sessions": st.column_config.NumberColumn("Sessions", format="localized"),
                "completion": st.column_config.NumberColumn("Share watched", format="percent"),
                "rating": st.column_config.NumberColumn("Stars", format="%.2f"),
                "ratings": st.column_config.NumberColumn("Ratings", format="localized"),
            },
            "titles",
            "The titles most watched",
            height=420,
        )
