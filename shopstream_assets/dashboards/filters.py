"""What a reader chooses. Every choice is part of the address, so a view can be sent to somebody as a link."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from shopstream_assets.dashboards.periods import Period, latest

# Four whole weeks: each has every weekday, so two periods compare.
DAYS = 28


def period(extent: Period, days: int = DAYS) -> Period:
    """The days chosen, of those that the mart has; the latest `days` to begin with."""
    first, last = extent.first, extent.last
    shown = latest(extent, days)
    chosen = st.date_input(
        "Days",
        (shown.first, shown.last),
        min_value=first,
        max_value=last,
        format="YYYY-MM-DD",
        key="days",
        bind="query-params",
        help="Days as the mart counts them, both included. Compared with as many days before them.",
    )
    # While the second day is still to be chosen there is but one.
    picked = chosen if isinstance(chosen, tuple) else (chosen,)
    return Period(picked[0], picked[-1]) if picked else shown


def several(label: str, key: str, options: Sequence[str], everything: str) -> list[str]:
    """Any of the options; none chosen stands for `everything`."""
    return st.multiselect(label, list(options), key=key, bind="query-params", placeholder=everything)


def one(label: str, key: str, options: Sequence[str]) -> str:
    """One of the options, the first to begin with."""
    chosen = st.segmented_control(label, list(options), default=options[0], required=True, key=key, bind="query-params")
    return str(chosen)


def words(label: str, key: str, placeholder: str) -> str:
    """Words to look for, in lower case."""
    return str(st.text_input(label, key=key, bind="query-params", placeholder=placeholder)).strip().lower()
