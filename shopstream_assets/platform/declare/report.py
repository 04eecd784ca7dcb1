"""A page of a business's Power BI report: which metrics it shows, by what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ReportPage:
    """A page in the order of a web page: choices above, cards of metrics, their course, and bars or a table below.

    Metrics are named as in the dbt project, columns as `<mart>.<column>`. A mart's date stands for that of all.

    - `choices`: columns that the reader chooses by.
    - `cards`: metrics, a card each.
    - `course`: a metric and the date column by which it is drawn.
    - `bars`: metrics, and the column for whose values there are bars.
    - `rows`: columns and metrics of a table; its columns come first.
    """

    title: str
    choices: Sequence[str] = ()
    cards: Sequence[str] = ()
    course: tuple[str, str] | None = None
    bars: Sequence[tuple[str, str]] = field(default=())
    rows: Sequence[str] = ()
