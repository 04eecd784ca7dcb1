"""The report in PBIR, Microsoft's text form of Power BI pages: a file for each page and each of its visuals."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from shopstream_assets.cli.generate.power_bi.model import DATE, DATES, METRICS, Model
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.report import ReportPage
from shopstream_assets.platform.errors import Problem

SCHEMAS = "https://developer.microsoft.com/json-schemas/fabric/item/report"
WIDTH, HEIGHT, GAP = 1280, 720, 16
# Of a page from above: its choices, its cards, and what is left for charts.
CHOICES, CARDS = 72, 104
# A theme that comes with Power BI.
THEME = {"name": "CY24SU10", "reportVersionAtImport": "5.59", "type": "SharedResources"}

Box = tuple[float, float, float, float]
"""x, y, width and height in pixels."""


def report_files(domain: Domain, model: Model) -> Iterator[tuple[str, Any]]:
    """Path in the report's folder, and content, of each of its files.

    Raises Problem where a page shows a metric or a column that the model does not have.
    """
    pages = [(f"page{number:02}", page) for number, page in enumerate(domain.report, 1)]
    yield (
        "definition.pbir",
        {
            "$schema": f"{SCHEMAS}/definitionProperties/2.0.0/schema.json",
            "version": "4.0",
            "datasetReference": {"byPath": {"path": f"../{domain.title}.SemanticModel"}},
        },
    )
    yield (
        "definition/version.json",
        {"$schema": f"{SCHEMAS}/definition/versionMetadata/1.0.0/schema.json", "version": "2.0.0"},
    )
    yield (
        "definition/report.json",
        {"$schema": f"{SCHEMAS}/definition/report/2.0.0/schema.json", "themeCollection": {"baseTheme": THEME}},
    )
    yield (
        "definition/pages/pages.json",
        {
            "$schema": f"{SCHEMAS}/definition/pagesMetadata/1.0.0/schema.json",
            "pageOrder": [name for name, _ in pages],
            "activePageName": pages[0][0],
        },
    )
    for name, page in pages:
        folder = f"definition/pages/{name}"
        yield (
            f"{folder}/page.json",
            {
                "$schema": f"{SCHEMAS}/definition/page/1.0.0/schema.json",
                "name": name,
                "displayName": page.title,
                "displayOption": "FitToPage",
                "height": HEIGHT,
                "width": WIDTH,
            },
        )
        for number, (kind, box, roles) in enumerate(_visuals(page)):
            visual = f"visual{number:02}"
            yield f"{folder}/visuals/{visual}/visual.json", _visual(domain, model, page, visual, kind, box, roles)


def _visuals(page: ReportPage) -> Iterator[tuple[str, Box, dict[str, Sequence[str]]]]:
    """Type, place and fields by role of each visual, in the order in which a keyboard reaches them."""
    top = float(GAP)
    if page.choices:
        for box, column in zip(_row(len(page.choices), top, CHOICES), page.choices, strict=True):
            yield "slicer", box, {"Values": [column]}
        top += CHOICES + GAP
    if page.cards:
        for box, metric in zip(_row(len(page.cards), top, CARDS), page.cards, strict=True):
            yield "card", box, {"Values": [metric]}
        top += CARDS + GAP
    rows = [each for each in (page.course, page.bars, page.rows) if each]
    height = (HEIGHT - top - GAP * len(rows)) / max(len(rows), 1)
    if page.course:
        metric, date = page.course
        yield "lineChart", (GAP, top, WIDTH - 2 * GAP, height), {"Category": [date], "Y": [metric]}
        top += height + GAP
    if page.bars:
        for box, (metric, column) in zip(_row(len(page.bars), top, height), page.bars, strict=True):
            yield "clusteredBarChart", box, {"Category": [column], "Y": [metric]}
        top += height + GAP
    if page.rows:
        yield "tableEx", (GAP, top, WIDTH - 2 * GAP, height), {"Values": page.rows}


def _row(count: int, top: float, height: float) -> Iterator[Box]:
    width = (WIDTH - GAP * (count + 1)) / count
    yield from ((GAP + place * (width + GAP), top, width, height) for place in range(count))


def _visual(
    domain: Domain, model: Model, page: ReportPage, name: str, kind: str, box: Box, roles: dict[str, Sequence[str]]
) -> dict[str, Any]:
    x, y, width, height = (round(each, 2) for each in box)
    order = int(name.removeprefix("visual"))
    return {
        "$schema": f"{SCHEMAS}/definition/visualContainer/2.0.0/schema.json",
        "name": name,
        "position": {"x": x, "y": y, "z": order, "height": height, "width": width, "tabOrder": order},
        "visual": {
            "visualType": kind,
            "query": {
                "queryState": {
                    role: {"projections": [_field(domain, model, page, each) for each in fields]}
                    for role, fields in roles.items()
                }
            },
            "drillFilterOtherVisuals": True,
        },
    }


def _field(domain: Domain, model: Model, page: ReportPage, name: str) -> dict[str, Any]:
    """A metric, or `<mart>.<column>`, as a visual names it."""
    mart, _, column = name.partition(".")
    if measure := model.measures.get(name):
        kind, entity, what = "Measure", METRICS, measure.title
    elif mart in model.marts and column == model.marts[mart].date:
        # The one that every mart's dates are related to: a choice of days is one for the whole page.
        kind, entity, what = "Column", DATES, DATE
    elif mart in model.marts and column in model.marts[mart].columns:
        kind, entity, what = "Column", mart, column
    else:
        raise Problem(
            f"generating the Power BI report of {domain.name}: the page {page.title!r} shows {name}, which is neither "
            "a metric over the marts nor a column of one.",
            "correct the page, or declare the metric in the dbt project.",
        )
    field = {kind: {"Expression": {"SourceRef": {"Entity": entity}}, "Property": what}}
    return {"field": field, "queryRef": f"{entity}.{what}", "nativeQueryRef": what}


def written(content: Any) -> str:
    """JSON as Power BI Desktop writes it."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
