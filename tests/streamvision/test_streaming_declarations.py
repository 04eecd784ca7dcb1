"""StreamVision's dbt project agrees with its table declarations, and says of itself what Dagster needs to know."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]
from streaming_road import PROJECT

from shopstream_assets.domains.streamvision.charts import CHARTS
from shopstream_assets.domains.streamvision.checks import SUBJECTS
from shopstream_assets.domains.streamvision.domain import STREAMVISION
from shopstream_assets.domains.streamvision.simulator.calendar import COUNTRIES
from shopstream_assets.domains.streamvision.tables import TABLES
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.lake.added_columns import ADDED_COLUMNS

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest


def models(manifest: Manifest) -> list[Any]:
    return [node for node in manifest.nodes.values() if node.resource_type == "model"]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_declared_table_is_a_source_of_the_project_with_the_same_columns(table: SourceTable) -> None:
    [source] = yaml.safe_load((PROJECT / "models" / "sources.yml").read_text(encoding="utf-8"))["sources"]
    [entry] = [entry for entry in source["tables"] if entry["name"] == table.staging_table]
    types = {column["name"]: column["data_type"] for column in entry["columns"]}
    assert types == {column.name: column.type.snowflake for column in table.columns} | ADDED_COLUMNS
    personal = {column["name"] for column in entry["columns"] if "config" in column}
    assert personal == {column.name for column in table.columns if column.pii}
    assert entry["config"]["meta"]["dagster"]["asset_key"] == ["streamvision", "staging", table.name]
    assert len(source["tables"]) == len(TABLES)


def test_every_model_tells_its_key_its_grain_and_every_column(streaming_manifest: Manifest) -> None:
    found = models(streaming_manifest)
    assert len(found) == 16
    for model in found:
        layer = model.schema.lower()
        dagster = model.config.meta["dagster"]
        assert dagster["asset_key"] == ["streamvision", layer, model.name]
        assert dagster["group"] == STREAMVISION.group(layer)
        assert all(owner.startswith("team:") for owner in dagster["owners"])
        assert model.database == "STREAMVISION_WH"
        assert model.description.startswith("One row per "), model.name
        assert all(column.description and column.data_type for column in model.columns.values()), model.name
        assert model.config.contract.enforced == (layer == "marts")


def test_facts_and_marts_are_built_by_what_changed(streaming_manifest: Manifest) -> None:
    for model in models(streaming_manifest):
        if model.name.startswith(("fact_", "mart_")):
            assert model.config.materialized == "incremental"
            assert model.config.get("incremental_strategy") == "replace_touched"
            assert "partitioned" in model.tags


def test_no_personal_column_is_named_in_a_model(streaming_manifest: Manifest) -> None:
    personal = {column.name for table in TABLES for column in table.columns if column.pii}
    assert personal == {"email", "username", "first_name", "last_name", "comment"}
    for model in models(streaming_manifest):
        assert not personal & set(model.columns), model.name


def test_no_model_reads_the_clock_or_all_columns_whatever_they_are() -> None:
    forbidden = re.compile(r"current_(date|time)|getdate|sysdate|localtime|select\s+\*|timestamp_[lt]tz", re.IGNORECASE)
    for path in sorted((PROJECT / "models").rglob("*.sql")):
        assert not forbidden.search(path.read_text(encoding="utf-8")), path


def test_charts_and_checks_are_of_marts_that_exist(streaming_manifest: Manifest) -> None:
    names = {model.name for model in models(streaming_manifest)}
    assert set(CHARTS) == {name for name in names if name.startswith("mart_")}
    assert {name for subject in SUBJECTS for name in (subject.mart, subject.fact)} <= names


def test_the_clocks_of_the_simulator_and_of_the_models_are_the_same() -> None:
    text = (PROJECT / "macros" / "geography.sql").read_text(encoding="utf-8")
    zones = dict(re.findall(r"\['([A-Z]{2})', '[^']+', '[^']+', '([^']+)'\]", text))
    assert zones == {code: zone for code, _, zone, _ in COUNTRIES}
