"""The dbt project agrees with the table declarations, and says of itself what Dagster needs to know."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]
from source_declarations import SOURCES_FILE, source_yaml, sources_yaml

from shopstream_assets.domains.shopstream.tables import TABLES
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.lake.added_columns import ADDED_COLUMNS

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

PROJECT = SOURCES_FILE.parents[1]


def _declared_sources() -> dict[str, dict[str, Any]]:
    [source] = yaml.safe_load(SOURCES_FILE.read_text(encoding="utf-8"))["sources"]
    return {entry["name"]: entry for entry in source["tables"]}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_declared_table_is_a_dbt_source_with_the_same_columns(table: SourceTable) -> None:
    entry = _declared_sources().get(table.staging_table)
    assert entry is not None, f"{SOURCES_FILE} lacks {table.staging_table}; add under `tables:`\n\n{source_yaml(table)}"

    types = {column["name"]: column["data_type"] for column in entry["columns"]}
    expected = {column.name: column.type.snowflake for column in table.columns}
    expected |= ADDED_COLUMNS
    assert types == expected, (
        f"{table.staging_table} differs from its declaration; it should read\n\n{source_yaml(table)}"
    )
    assert entry["config"]["meta"]["dagster"]["asset_key"] == ["shopstream", "staging", table.name]


def test_sources_yml_is_exactly_what_the_declarations_give() -> None:
    assert SOURCES_FILE.read_text(encoding="utf-8") == sources_yaml(), (
        "descriptions, accepted values or a removed table differ: run `python tests/dbt/source_declarations.py`"
    )


def _models(manifest: Manifest) -> list[Any]:
    return [node for node in manifest.nodes.values() if node.resource_type == "model"]


def test_every_model_tells_dagster_its_key_its_group_and_its_owner(manifest: Manifest) -> None:
    for model in _models(manifest):
        layer = model.schema.lower()
        # dagster-dbt reads the key from config.meta, group and owners from meta: dbt fills both from config.meta.
        assert model.meta == model.config.meta
        dagster = model.meta["dagster"]
        assert dagster["asset_key"] == ["shopstream", layer, model.name]
        assert dagster["group"] == f"shopstream_{layer}"
        assert all(owner.startswith("team:") for owner in dagster["owners"])
        assert (model.database, model.schema) == ("SHOPSTREAM_DWH", {"core": "CORE", "marts": "MARTS"}[model.fqn[1]])


def test_every_model_says_its_grain_first_and_describes_every_column(manifest: Manifest) -> None:
    for model in _models(manifest):
        assert model.description.startswith("One row per "), model.name
        for name, column in model.columns.items():
            assert column.description, f"{model.name}.{name} has no description"
            assert column.data_type, f"{model.name}.{name} has no data type"
        if model.schema == "MARTS":
            assert model.config.contract.enforced, model.name


def test_every_test_belongs_to_one_model_or_source(manifest: Manifest) -> None:
    """A dbt test that is attached to nothing would be no check in Dagster."""
    tests: list[Any] = [node for node in manifest.nodes.values() if node.resource_type == "test"]
    assert len(tests) <= 60
    for test in tests:
        sources = [name for name in test.depends_on.nodes if name.startswith("source.")]
        assert test.attached_node or len(sources) == 1, test.name


def test_no_model_reads_the_clock_or_all_columns_whatever_they_are() -> None:
    """A rebuild must give the same table on any day, in any session's time zone."""
    forbidden = re.compile(r"current_(date|time)|getdate|sysdate|localtime|select\s+\*|timestamp_[lt]tz", re.IGNORECASE)
    for path in sorted(Path(PROJECT / "models").rglob("*.sql")):
        assert not forbidden.search(path.read_text(encoding="utf-8")), path
