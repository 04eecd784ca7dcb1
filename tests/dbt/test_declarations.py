"""The dbt project agrees with the table declarations, and says of itself what Dagster needs to know."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]

from shopstream_assets.cli.generate.dbt_sources import source_yaml, sources_yaml
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.registry import domains
from shopstream_assets.platform.declare.tables import BIGINT, TEXT, TIMESTAMP, Column, SourceTable
from shopstream_assets.platform.lake.added_columns import ADDED_COLUMNS

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

PROJECT = SHOPSTREAM.project()
DECLARED = [(domain, table) for domain in domains() for table in domain.tables]


def _declared_sources(domain: Domain) -> dict[str, dict[str, Any]]:
    [source] = yaml.safe_load((domain.project() / "models" / "sources.yml").read_text(encoding="utf-8"))["sources"]
    assert source["name"] == domain.name
    return {entry["name"]: entry for entry in source["tables"]}


@pytest.mark.parametrize(
    ("domain", "table"), DECLARED, ids=[f"{domain.name}-{table.name}" for domain, table in DECLARED]
)
def test_every_declared_table_is_a_dbt_source_with_the_same_columns(domain: Domain, table: SourceTable) -> None:
    entry = _declared_sources(domain).get(table.staging_table)
    assert entry is not None, f"the sources of {domain.name} lack {table.staging_table}: run `shopstream generate`"

    types = {column["name"]: column["data_type"] for column in entry["columns"]}
    expected = {column.name: column.type.snowflake for column in table.columns}
    expected |= ADDED_COLUMNS
    assert types == expected, (
        f"{table.staging_table} differs from its declaration; it should read\n\n{source_yaml(domain, table)}"
    )
    assert entry["config"]["meta"]["dagster"]["asset_key"] == [domain.name, "staging", table.name]


def test_what_yaml_would_read_otherwise_arrives_in_the_sources_as_it_was_declared() -> None:
    values = ("no", "2024", "18-24", "65+", "Full HD", "a, b", "[x]", "it's", 'a "b"', "2026-01-01", "null", "größer")
    descriptions = ("*starred*: it has a colon.", "Ends so:", "Number #1 of all # of them.", "{braces}", "'quoted'")
    columns = (
        Column("id", BIGINT, "Key."),
        Column("size", TEXT, "Size.", values=values),
        *(Column(f"c{n}", TEXT, text) for n, text in enumerate(descriptions)),
        Column("updated_at", TIMESTAMP, "Changed."),
    )
    table = SourceTable(name="things", grain="One row per thing.", description="", owner="team:x", columns=columns)
    text = sources_yaml(dataclasses.replace(SHOPSTREAM, tables=(table,)))
    [entry] = yaml.safe_load(text)["sources"][0]["tables"]
    by_name = {column["name"]: column for column in entry["columns"]}
    assert by_name["size"]["data_tests"][0]["accepted_values"]["arguments"]["values"] == list(values)
    assert [by_name[f"c{n}"]["description"] for n in range(len(descriptions))] == list(descriptions)


def _models(manifest: Manifest) -> list[Any]:
    return [node for node in manifest.nodes.values() if node.resource_type == "model"]


def test_every_model_tells_dagster_its_key_its_group_and_its_owner(manifest: Manifest) -> None:
    for model in _models(manifest):
        layer = model.schema.lower()
        # dagster-dbt reads the key from config.meta, group and owners from meta: dbt fills both from config.meta.
        assert model.meta == model.config.meta
        dagster = model.meta["dagster"]
        assert dagster["asset_key"] == ["shopstream", layer, model.name]
        assert dagster["group"] == SHOPSTREAM.group(layer)
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


def test_a_model_that_says_what_it_reads_names_every_column_that_it_selects(manifest: Manifest) -> None:
    """Else a change of the others would never reach it."""
    said = [
        (model, parent, set(columns))
        for model in _models(manifest)
        for parent, columns in model.config.meta.get("reads", {}).items()
    ]
    assert {(model.name, parent) for model, parent, _ in said} == {
        ("fact_order_items", "dim_exchange_rates"),
        ("fact_order_items", "dim_products"),
        ("fact_orders", "dim_exchange_rates"),
        ("fact_sessions", "fact_events"),
        ("mart_product_months", "dim_products"),
        ("mart_sales_as_booked", "dim_products"),
        ("mart_sales_overview", "dim_products"),
        ("mart_session_funnel", "fact_sessions"),
        ("mart_signup_conversion", "dim_customers"),
        ("mart_signup_conversion", "fact_orders"),
    }
    for model, parent, columns in said:
        [read] = [found for found in _models(manifest) if found.name == parent]
        selects = re.findall(rf"select((?:(?!\bselect\b).)+?)from \{{\{{ ref\('{parent}'\)", model.raw_code, re.DOTALL)
        selected = {word for text in selects for word in re.findall(r"\w+", text)} & read.columns.keys()
        assert selected, (model.name, parent)
        # A rate ends where the next begins, which tells the orders from there on.
        selected -= {"valid_until_date"}
        assert selected <= columns, f"{model.name} reads {selected - columns} of {parent}, and is not told of them"
        assert columns <= read.columns.keys(), (model.name, parent)


def test_no_model_reads_the_clock_or_all_columns_whatever_they_are() -> None:
    """A rebuild must give the same table on any day, in any session's time zone."""
    forbidden = re.compile(r"current_(date|time)|getdate|sysdate|localtime|select\s+\*|timestamp_[lt]tz", re.IGNORECASE)
    for path in sorted(Path(PROJECT / "models").rglob("*.sql")):
        assert not forbidden.search(path.read_text(encoding="utf-8")), path
