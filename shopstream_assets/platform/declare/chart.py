"""The main figure of a mart, as its page in Dagster shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Chart:
    """What to draw of a mart.

    `sql` yields rows of (label, number) from `{table}`, in the order in which they are drawn: a `line` over time, of
    which the last 60 rows are shown, or `bars` by category, of which the first 7 are.
    """

    title: str
    kind: Literal["line", "bars"]
    sql: str
