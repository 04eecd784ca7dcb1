"""A small chart of a mart's main figure, drawn as SVG into the metadata of its materialization.

Dagster shows Markdown of less than 1,000 characters in the page itself, and behind a click beyond that: so the SVG is
written tightly, and shows a limited number of points.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import dagster as dg

from shopstream_assets.platform.declare.chart import Chart

POINTS, BARS = 60, 7
WIDTH, LINE_HEIGHT, BAR_STEP, LABEL_WIDTH = 420, 70, 20, 180
TITLE_HEIGHT, FOOT_HEIGHT = 26, 22
# What may stand in a link of Markdown as it is. Quoting it would triple its length.
_PLAIN = "/:='+,-.;@!$&*?_~"


def drawn(chart: Chart, rows: Sequence[Sequence[Any]]) -> dict[str, dg.MetadataValue]:
    """Metadata with the chart; nothing where there are no numbers to show."""
    points = [(str(label), float(value)) for label, value in rows if value is not None]
    points = points[-POINTS:] if chart.kind == "line" else points[:BARS]
    if not points:
        return {}
    svg = _line(chart.title, points) if chart.kind == "line" else _bars(chart.title, points)
    return {"chart": dg.MetadataValue.md(f"![{chart.title}](data:image/svg+xml,{quote(svg, safe=_PLAIN)})")}


def _line(title: str, points: Sequence[tuple[str, float]]) -> str:
    values = [value for _, value in points]
    low, high = min(0.0, *values), max(values)
    heights = [TITLE_HEIGHT + round(LINE_HEIGHT * (high - value) / ((high - low) or 1)) for value in values]
    step = WIDTH // max(1, len(points) - 1)
    # Steps relative to the point before: two or three digits each instead of six.
    path = f"M0,{heights[0]}" + "".join(f"l{step},{after - before}" for before, after in pairwise(heights))
    end, floor = step * (len(points) - 1), TITLE_HEIGHT + LINE_HEIGHT
    return _svg(
        f"{title}: {_number(values[-1])} on {points[-1][0]}",
        floor + FOOT_HEIGHT,
        f"<path d='{path}V{floor}H0' fill='slateblue' fill-opacity='.2' stroke='slateblue'/>"
        f"<text y='{floor + 16}'>{escape(points[0][0])}</text>"
        f"<text y='{floor + 16}' x='{end}' text-anchor='end'>{escape(points[-1][0])}</text>",
    )


def _bars(title: str, points: Sequence[tuple[str, float]]) -> str:
    most = max(value for _, value in points) or 1
    rows = [TITLE_HEIGHT + 8 + BAR_STEP * position for position in range(len(points))]
    lengths = [max(1, round((WIDTH - LABEL_WIDTH) * max(0.0, value) / most)) for _, value in points]
    bars = "".join(f"M{LABEL_WIDTH},{row}h{length}" for row, length in zip(rows, lengths, strict=True))
    labels = "".join(
        f"<text y='{row + 4}'>{escape(label.replace('_', ' '))}: {_number(value)}</text>"
        for row, (label, value) in zip(rows, points, strict=True)
    )
    return _svg(title, rows[-1] + FOOT_HEIGHT, f"<path d='{bars}' stroke='slateblue' stroke-width='12'/>{labels}")


def _svg(title: str, height: int, drawing: str) -> str:
    # Grey can be read on the light page and on the dark one.
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' fill='gray' "
        f"style='font:12px sans-serif'><text y='12'>{escape(title)}</text>{drawing}</svg>"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.2f}"
