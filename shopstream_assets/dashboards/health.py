"""Data health: whether the figures of the other pages can be trusted now. The same page for every domain."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import streamlit as st

from shopstream_assets.dashboards.figures import COUNT, SECONDS, Card, cards, figure, plain, table
from shopstream_assets.dashboards.marts import Marts, built
from shopstream_assets.dashboards.operations import LOOK_SECONDS, REFRESHES, Operations, operations
from shopstream_assets.dashboards.periods import elapsed
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.refresh.change_sensor import INTERVAL_SECONDS

SHORT = {"day": "d", "hour": "h", "minute": "min"}


def show(marts: Marts) -> None:
    """Draw the page."""
    with st.spinner("Asking Dagster…"):
        _live(marts)


@st.fragment(run_every=LOOK_SECONDS)
def _live(marts: Marts) -> None:
    domain = marts.domain.name
    try:
        found = operations(domain)
    except Problem as problem:
        st.error(f"**Only the marts can be shown:** {problem.found}", icon=":material/cloud_off:")
        st.markdown(f"Next: {problem.next_step}")
        _marts(domain)
        return
    unit = f"as of {found.at:%H:%M:%S} UTC"
    _verdict(found)
    _cards(found)
    left, right = st.columns([3, 2])
    with left:
        _layers(found, unit)
    with right:
        _marts(domain)
    _checks(found, unit)
    _repairs(found, unit)


def _verdict(found: Operations) -> None:
    failed, warned = _count(found, "failed"), _count(found, "warned")
    days = int(found.layers["days_to_repair"].sum())
    if failed or days or found.runs:
        what = [
            _told(failed, "check fails", "checks fail"),
            _told(days, "day of an asset is to be repaired", "days of assets are to be repaired"),
            _told(len(found.runs), "run failed", "runs failed"),
        ]
        st.error(
            f"**Not well:** {'; '.join(part for part in what if part)}. What to do stands below.",
            icon=":material/error:",
        )
    elif warned:
        st.warning(
            f"**Well, with {_told(warned, 'warning', 'warnings')}.** They keep nothing from going on.",
            icon=":material/warning:",
        )
    else:
        st.success(
            "**All is well.** Every check passed, and every complete day is in every layer.",
            icon=":material/check_circle:",
        )


def _told(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}" if count else ""


def _count(found: Operations, outcome: str) -> int:
    return int((found.checks["outcome"] == outcome).sum())


def _cards(found: Operations) -> None:
    cards(
        [
            Card("Checks passed", _count(found, "passed"), COUNT, "Latest result of each check of every asset."),
            Card("Checks failed", _count(found, "failed"), COUNT, "Checks whose latest result is an error."),
            Card("Warnings", _count(found, "warned"), COUNT, "Checks that warn: nothing waits for them."),
            Card(
                "Rows quarantined",
                found.checks["rows_in_quarantine"].sum(),
                COUNT,
                "Rows that broke a rule of their table, in the days that were extracted last.",
            ),
            Card("Days to repair", found.layers["days_to_repair"].sum(), COUNT, "Complete days failed or missing."),
            *([] if found.refresh_seconds is None else [_latency(found.refresh_seconds)]),
        ]
    )


def _latency(seconds: float) -> Card:
    meaning = (
        "From the moment that a change in the source was found to the end of the refresh that it asked for, checks "
        f"included: the median of the latest {REFRESHES}. A change is looked for every {INTERVAL_SECONDS} seconds."
    )
    return Card("Change to marts", seconds, SECONDS, meaning)


def _layers(found: Operations, unit: str) -> None:
    meaning = "The way of a row, from the source to the marts: when each layer was materialized last, and its checks."
    shown = found.layers.assign(
        name=found.layers["layer"].map(plain), ago=[_ago(found.at, moment) for moment in found.layers["refreshed"]]
    )
    with figure("Layers", f"Times in UTC · {unit}", meaning, "layers"):
        table(
            shown,
            {
                "name": "Layer",
                "ago": "Refreshed",
                "refreshed": st.column_config.DatetimeColumn("At", format="D MMM, HH:mm:ss"),
                "assets": st.column_config.NumberColumn("Assets"),
                "passed": st.column_config.NumberColumn("Passed"),
                "warned": st.column_config.NumberColumn("Warned"),
                "failed": st.column_config.NumberColumn("Failed"),
                "days_to_repair": st.column_config.NumberColumn(
                    "To repair", help="Complete days that failed or are missing"
                ),
            },
            "layers",
            "When each layer was refreshed, and how its checks stand",
        )


def _marts(domain: str) -> None:
    now = built(domain)
    shown = pd.DataFrame([{"mart": name.removeprefix("mart_"), "at": at} for name, at in now.at])
    shown["ago"] = [_ago(dt.datetime.now(dt.UTC), at) for at in shown["at"]]
    shown["mart"] = shown["mart"].map(plain)
    unit = "Times in UTC" + (" · a mart is being built now" if now.is_building else "")
    with figure("Marts", unit, "When dbt built each mart last, as its ledger in the warehouse says.", "marts"):
        table(
            shown,
            {
                "mart": "Mart",
                "ago": "Built",
                "at": st.column_config.DatetimeColumn("At", format="D MMM, HH:mm:ss"),
            },
            "marts",
            "When each mart was built",
        )


def _checks(found: Operations, unit: str) -> None:
    bad = found.checks[found.checks["outcome"].isin(["failed", "warned"])].sort_values(["outcome", "layer", "asset"])
    with figure(
        "Checks that did not pass",
        f"Latest result of each · {unit}",
        "A failed check stops what is made from its asset; a warning stops nothing.",
        "checks",
    ):
        if bad.empty:
            st.markdown(":green-badge[:material/check: none]")
            return
        table(
            bad.assign(of=bad["layer"] + "/" + bad["asset"]),
            {
                "outcome": st.column_config.TextColumn("Result", width="small"),
                "of": "Asset",
                "check": "Check",
                "says": st.column_config.TextColumn("What it found", width="large"),
                "at": st.column_config.DatetimeColumn("At (UTC)", format="YYYY-MM-DD HH:mm"),
            },
            "checks",
            "Checks that did not pass",
        )


def _repairs(found: Operations, unit: str) -> None:
    if found.repairs.empty and not found.runs:
        return
    meaning = "Complete days (UTC) of assets that failed or are missing, and runs that nothing has made good."
    with figure("To repair", unit, meaning, "repairs"):
        if not found.repairs.empty:
            table(
                found.repairs,
                {
                    "asset": "Asset",
                    "failed": st.column_config.NumberColumn("Failed days"),
                    "missing": st.column_config.NumberColumn("Missing days"),
                    "days": st.column_config.TextColumn("Which", width="large"),
                },
                "repairs",
                "Days to repair by asset",
            )
        for run in found.runs[:5]:
            st.markdown(f"- {run}")
        if found.commands:
            st.caption("These commands materialize those days again:")
            st.code("\n".join(found.commands[:10]), language="bash", wrap_lines=True)


def _ago(now: dt.datetime, moment: dt.datetime | None) -> str:
    if moment is None or pd.isna(moment):
        return "never"
    count, unit = elapsed((now.replace(tzinfo=None) - moment).total_seconds())
    return f"{count} {SHORT[unit]} ago" if count else "just now"
