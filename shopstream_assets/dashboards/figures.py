"""How a figure stands on a page: its name, its unit, what it means, as of when, and its table to take along."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from shopstream_assets.dashboards import charts
from shopstream_assets.dashboards.charts import Drawn
from shopstream_assets.dashboards.spreadsheet import csv

EURO, COUNT, SHARE = "€{:,.0f}", "{:,.0f}", "{:.1%}"
EURO_CENTS, SECONDS = "€{:,.2f}", "{:,.1f} s"


def number(value: float | None, form: str) -> str:
    """A number as people read it; a dash where there is none."""
    if value is None or pd.isna(value):
        return "–"
    written = form.format(value)
    # The minus belongs before the currency.
    return f"-€{written[2:]}" if written.startswith("€-") else written


def ratio(part: float | None, whole: float | None) -> float | None:
    """`part` of `whole`; None where there is nothing to divide."""
    if part is None or whole is None or pd.isna(part) or pd.isna(whole) or not whole:
        return None
    return float(part) / float(whole)


def ratio_and_before(here: pd.Series, earlier: pd.Series, part: str, whole: str) -> tuple[float | None, float | None]:
    """`part` of `whole` in the sums of a period, and in those of the one before, which may be empty."""
    return ratio(here[part], here[whole]), ratio(earlier.get(part), earlier.get(whole))


def rates(part: pd.Series, whole: pd.Series) -> pd.Series:
    """`part` of `whole`, row by row; not a number where there is nothing to divide."""
    return part.astype(float) / whole.astype(float).replace(0, float("nan"))


def shares(values: pd.Series) -> pd.Series:
    """Each value as a share of them all."""
    return values / (values.sum() or float("nan"))


@dataclass(frozen=True)
class Card:
    """A figure with the same of the period before, as `form` writes it.

    `meaning` is its definition. `is_share`: the change is told in percentage points, else in per cent. `good`: whether
    more of it is good news, bad news or neither. `course` is what it was over time.
    """

    label: str
    value: float | None
    form: str
    meaning: str
    before: float | None = None
    is_share: bool = False
    good: str = "more"
    course: Sequence[float] | pd.Series | None = None

    @property
    def change(self) -> str | None:
        """The change since the period before, or None where there is nothing to compare."""
        if self.value is None or self.before is None or pd.isna(self.value) or pd.isna(self.before):
            return None
        if self.is_share:
            return _signed((self.value - self.before) * 100, "{:+.1f} pp")
        return _signed(self.value / self.before - 1, "{:+.1%}") if self.before else None


def _signed(change: float, form: str) -> str:
    """A change as it is written; one that rounds to nothing has no sign."""
    written = form.format(change)
    return written if re.search("[1-9]", written) else written[1:]


def cards(shown: Sequence[Card], compared_with: str = "", key: str = "all") -> None:
    """Cards in a row, as many beside each other as the screen has room for.

    `compared_with` says what their changes are against; `key` tells several rows of a page apart.
    """
    with st.container(horizontal=True, gap="small", key=f"cards-{key}"):
        for card in shown:
            course = list(card.course) if card.course is not None and len(card.course) > 1 else None
            change = card.change
            is_judged = change is not None and change[0] in "+-" and card.good in ("more", "less")
            st.metric(
                card.label,
                number(card.value, card.form),
                change,
                delta_color=("normal" if card.good == "more" else "inverse") if is_judged else "off",
                delta_arrow="auto" if change and change[0] in "+-" else "off",
                help=card.meaning,
                border=True,
                chart_data=course,
                chart_type="area",
                height="stretch",
            )
    if compared_with and any(card.change for card in shown):
        st.caption(f"Changes are against {compared_with}.")


def figure(title: str, unit: str, meaning: str, key: str) -> AbstractContextManager[Any]:
    """A frame for a chart or a table: its title, with what it means behind the question mark, and its unit."""
    frame = st.container(border=True, key=f"figure-{key}", height="stretch")
    with frame.container(gap=None):
        st.markdown(f"**{title}**", help=meaning)
        st.caption(unit)
    return frame


def draw(chart: Drawn, describes: str) -> None:
    """A chart, and in words what it shows; it can be saved as a picture."""
    st.altair_chart(chart, width="stretch", alt=describes)


def behind_map(
    rows: pd.DataFrame, value: str, tips: Sequence[alt.Tooltip], describes: str, others: Sequence[str]
) -> Sequence[DeltaGenerator]:
    """The tabs `others`, behind one with a map of the rows, where any of them is a country, and of those it lacks.

    The column `name` has their ISO 3166 alpha-2 codes.
    """
    on_map = charts.world_map(rows, "name", value, "~s", tips)
    if on_map is None:
        return st.tabs(others)
    first, *behind = st.tabs(["Map", *others])
    with first:
        draw(on_map, describes)
        if left_out := charts.not_on_the_map(rows, "name", value):
            st.caption(left_out)
    return behind


def take_along(table: pd.DataFrame, name: str) -> None:
    """The table as a file, as it stands; made when it is asked for."""
    st.download_button(
        "CSV",
        data=lambda: csv(table),
        file_name=f"{name}.csv",
        mime="text/csv",
        icon=":material/download:",
        key=f"csv-{name}",
        on_click="ignore",
        type="tertiary",
        help=f"{len(table):,} rows, for a spreadsheet",
    )


def table(
    rows: pd.DataFrame, columns: Mapping[str, Any], name: str, describes: str, height: int | Literal["auto"] = "auto"
) -> None:
    """A table of these columns, in their order, to be sorted by a click on a heading, and to be taken along."""
    st.dataframe(
        rows,
        column_order=list(columns),
        column_config=dict(columns),
        hide_index=True,
        height=height,
        placeholder="–",
        alt=describes,
    )
    # A course within a cell is for the eye.
    courses = [column for column in rows.columns if any(isinstance(value, list) for value in rows[column])]
    take_along(rows.drop(columns=courses), name)


def nothing(of: str) -> None:
    """In the place of figures that the choice of filters leaves without a row."""
    st.info(f"No {of} in this choice. Take a filter away, or choose more days.", icon=":material/search_off:")


def ratios(days: pd.DataFrame, part: str, whole: str) -> list[float]:
    """The same by day; 0 on a day without anything to divide."""
    return list(rates(days[part], days[whole]).fillna(0.0))


def totals(days: pd.DataFrame) -> pd.Series:
    """The sums over all days; empty without any, as there is nothing to compare with then, not even zero."""
    return days.drop(columns="day").sum(min_count=1) if len(days) else pd.Series(dtype=float)


def plain(name: str) -> str:
    """A code of the data as people write it: paid_search -> Paid search."""
    return re.sub("_+", " ", name).strip().capitalize() or "Unknown"
