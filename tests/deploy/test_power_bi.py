"""The Power BI projects: everything that a page shows is in the model, and all of the model in the marts' contracts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from npm_packages import installed

from shopstream_assets.cli.generate.power_bi.model import METRICS, Model
from shopstream_assets.cli.generate.power_bi.pages import report_files
from shopstream_assets.cli.generate.power_bi.project import power_bi_files
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.registry import domains
from shopstream_assets.platform.declare.report import ReportPage
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.transform.dbt_manifest import built_manifest

POWER_BI = Path(__file__).parents[2] / "powerbi"
REPORTED = [domain for domain in domains() if domain.report]
TOOLS = Path(__file__).parent / "power_bi_tools"
SECONDS = 120
DATES = {("Date", "Date"), ("Date", "Month")}
COLUMN = r"^\t/// (.+)(?:\n\t///.*)*\n\tcolumn (\w+)\n\t\tdataType: (\w+)"


@pytest.fixture(scope="module", params=REPORTED, ids=lambda domain: domain.name)
def reported(request: pytest.FixtureRequest) -> Domain:
    return request.param


@pytest.fixture(scope="module")
def model(reported: Domain) -> Model:
    return Model.of(built_manifest(reported))


def fields(content: Any) -> Iterator[tuple[str, str, str]]:
    """(kind, entity, property) of each field that a visual names."""
    if isinstance(content, dict):
        for kind in ("Measure", "Column"):
            if kind in content:
                yield kind, content[kind]["Expression"]["SourceRef"]["Entity"], content[kind]["Property"]
        for value in content.values():
            yield from fields(value)
    elif isinstance(content, list):
        for value in content:
            yield from fields(value)


def tables(domain: Domain) -> dict[str, str]:
    """Table -> its TMDL, as it is in the repository."""
    folder = POWER_BI / f"{domain.title}.SemanticModel" / "definition" / "tables"
    return {path.stem: path.read_text("utf-8") for path in folder.glob("*.tmdl")}


def test_the_model_has_every_column_of_every_mart_as_the_contract_has_it(reported: Domain) -> None:
    marts = {
        node["name"]: node["columns"]
        for node in built_manifest(reported)["nodes"].values()
        if node["resource_type"] == "model" and node["schema"] == "MARTS"
    }
    written = tables(reported)
    assert written.keys() == marts.keys() | {"Date", METRICS}
    for name, columns in marts.items():
        found = re.findall(
            r"^\t/// (.+)(?:\n\t///.*)*\n\tcolumn (\w+)\n\t\tdataType: (\w+)", written[name], re.MULTILINE
        )
        assert [column for _, column, _ in found] == list(columns)
        for said, column, kind in found:
            assert columns[column]["description"].startswith(said)
            assert (kind == "int64") == (columns[column]["data_type"] == "number(38,0)"), (name, column, kind)
        assert f'Name = "{name.upper()}"' in written[name]


def test_every_metric_over_the_marts_is_a_measure_with_its_description(reported: Domain, model: Model) -> None:
    manifest, written = built_manifest(reported), tables(reported)[METRICS]
    assert model.measures.keys() == {
        name for name in (metric["name"] for metric in manifest["metrics"].values()) if name != "buyers"
    }
    assert len(re.findall(r"^\tmeasure ", written, re.MULTILINE)) == len(model.measures)
    for metric in manifest["metrics"].values():
        if metric["name"] in model.measures:
            assert f"\t/// {metric['description']}\n\tmeasure '{metric['label']}' = " in written
    for measure in model.measures.values():
        for mart, column in re.findall(r"'(\w+)'\[(\w+)\]", measure.dax):
            assert (mart, column) in DATES or column in model.marts[mart].columns, measure
    # A mean of 1 to 5 stars is no share of anything.
    assert "0.0%" not in [model.measures[name].form for name in ("average_rating",) if name in model.measures]


def test_every_field_of_a_visual_is_in_the_model(reported: Domain) -> None:
    written = tables(reported)
    visuals = sorted((POWER_BI / f"{reported.title}.Report").rglob("visual.json"))
    assert len(visuals) >= 4 * len(reported.report)
    for path in visuals:
        found = list(fields(json.loads(path.read_text("utf-8"))))
        assert found, path
        for kind, entity, what in found:
            declared = f"\tmeasure '{what}' = " if kind == "Measure" else f"\tcolumn {what}\n"
            assert declared in written[entity], (path, kind, entity, what)


def test_a_page_that_shows_what_is_not_there_is_refused(reported: Domain, model: Model) -> None:
    import dataclasses

    wrong = dataclasses.replace(reported, report=(ReportPage("Wrong", cards=("no_such_metric",)),))
    with pytest.raises(Problem, match="the page 'Wrong' shows no_such_metric"):
        list(report_files(wrong, model))


def test_no_visual_lies_over_another_or_beyond_its_page(reported: Domain) -> None:
    for page in sorted((POWER_BI / f"{reported.title}.Report" / "definition" / "pages").glob("*/page.json")):
        size = json.loads(page.read_text("utf-8"))
        boxes = [json.loads(path.read_text("utf-8"))["position"] for path in page.parent.rglob("visual.json")]
        for box in boxes:
            assert 0 <= box["x"] <= box["x"] + box["width"] <= size["width"]
            assert 0 <= box["y"] <= box["y"] + box["height"] <= size["height"]
            for other in boxes:
                apart = (
                    box["x"] + box["width"] <= other["x"]
                    or other["x"] + other["width"] <= box["x"]
                    or box["y"] + box["height"] <= other["y"]
                    or other["y"] + other["height"] <= box["y"]
                )
                assert box is other or apart, (page, box, other)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Microsoft's own packages, from the npm registry."""
    return installed(TOOLS, tmp_path_factory.mktemp("tools"), "Microsoft's validators")


def loaded(tools: Path, folder: Path) -> dict[str, Any]:
    """What Microsoft's tabular object model says of a semantic model's folder."""
    [server] = (tools / "@microsoft").glob("powerbi-modeling-mcp-*/dist/powerbi-modeling-mcp*")
    calls: list[dict[str, Any]] = [
        {
            "method": "initialize",
            "params": {
                "protocolVersion": "2024-11-05",
                "capabilities": {},
                "clientInfo": {"name": "tests", "version": "1"},
            },
            "id": 1,
        },
        {"method": "notifications/initialized", "params": {}},
        {
            "method": "tools/call",
            "params": {
                "name": "connection_operations",
                "arguments": {"request": {"operation": "ConnectFolder", "folderPath": str(folder)}},
            },
            "id": 2,
        },
    ]
    # It has no need of ICU, which a slim machine lacks.
    environment = {**os.environ, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}
    with subprocess.Popen(
        [server, "--start"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        for call in calls:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **call}) + "\n")
        process.stdin.flush()
        answers = (json.loads(line) for line in process.stdout)
        answer = next(answer for answer in answers if answer.get("id") == 2)
        process.kill()
    [content] = answer["result"]["content"]
    found: dict[str, Any] = json.loads(content["text"])
    return found


@pytest.mark.long
def test_microsofts_object_model_loads_the_semantic_model(
    reported: Domain, model: Model, tools: Path, tmp_path: Path
) -> None:
    found = loaded(tools, POWER_BI / f"{reported.title}.SemanticModel")
    assert found["data"]["tablesLoaded"] == len(model.marts) + 2
    assert found["data"]["measuresLoaded"] == len(model.measures)
    assert found["data"]["relationshipsLoaded"] == sum(mart.date is not None for mart in model.marts.values())

    for path, text in power_bi_files(reported):
        if path.startswith(f"{reported.title}.SemanticModel/"):
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text.replace("dataType: int64", "dataType: whole"), encoding="utf-8")
    assert "data" not in loaded(tools, tmp_path / f"{reported.title}.SemanticModel"), "a broken model was loaded"


@pytest.mark.long
def test_microsofts_validator_finds_nothing_in_the_report(reported: Domain, tools: Path, tmp_path: Path) -> None:
    shutil.copytree(POWER_BI, tmp_path, dirs_exist_ok=True)

    def validated() -> dict[str, Any]:
        command = [str(tools / ".bin" / "powerbi-report-author"), "validate", "--no-schema", f"{reported.title}.pbip"]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
        found: dict[str, Any] = json.loads(said.stdout)
        return found

    found = validated()["data"]
    assert (found["result"], found["errorCount"], found["warningCount"]) == ("succeeded", 0, 0), found
    visual = next((tmp_path / f"{reported.title}.Report").rglob("visual.json"))
    visual.write_text(visual.read_text("utf-8").replace('"slicer"', '"slicker"').replace('"Values"', '"Nonsense"'))
    assert validated().get("data", {}).get("result") != "succeeded", "a broken visual was taken"
