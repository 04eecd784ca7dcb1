"""Comments of tables and columns are written where they differ from the project's, and only there."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest
from small_store import START, line, log_of, order, product

from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.platform.transform.build import already_documented
from shopstream_assets.platform.transform.dbt_manifest import built_manifest
from shopstream_assets.platform.transform.relations import Relation, relations

if TYPE_CHECKING:
    from conftest import Warehouse

MODEL = "fact_order_items"
TABLE = "SHOPSTREAM_DWH.CORE.FACT_ORDER_ITEMS"


def documented(warehouse: Warehouse) -> bool:
    """Whether the platform takes the model for one whose comments need not be written."""
    found = relations(warehouse.cursor(), "SHOPSTREAM_DWH")
    return MODEL in already_documented(built_manifest(SHOPSTREAM), found)


def build(warehouse: Warehouse, *args: str, documented: tuple[str, ...] = ()) -> None:
    """Build the model for its first day, as a run does."""
    days = {"partition_start": str(START), "partition_end": str(START + dt.timedelta(days=1))}
    told = json.dumps({**days, "documented": documented})
    assert warehouse.dbt("run", "--select", MODEL, "--vars", told, *args).success


@pytest.fixture
def built(warehouse: Warehouse) -> Warehouse:
    """A store whose lines have been built once."""
    warehouse.stage(log_of({"products": [product(1)], "orders": [order(1)], "order_items": [line(1, 1)]}))
    assert not documented(warehouse)
    warehouse.run("--select", f"+{MODEL}")
    return warehouse


@pytest.mark.parametrize(
    "spoil",
    [f"comment on table {TABLE} is 'of an earlier version'", f"alter table {TABLE} alter line_id comment 'a number'"],
)
def test_comments_that_are_not_those_of_the_project_are_written_by_the_next_build(built: Warehouse, spoil: str) -> None:
    assert documented(built)
    built.execute(spoil)
    assert not documented(built)
    build(built)
    assert documented(built)


def test_comments_that_are_those_of_the_project_are_not_written_again(built: Warehouse) -> None:
    # What was looked up a moment ago is left alone, whatever it is now.
    built.execute(f"comment on table {TABLE} is 'of somebody else'")
    build(built, documented=(MODEL,))
    assert not documented(built)


def test_a_table_that_is_made_anew_gets_its_comments(built: Warehouse) -> None:
    build(built, "--full-refresh", documented=(MODEL,))
    assert documented(built)


def test_a_description_is_compared_as_dbt_writes_it() -> None:
    node = {"description": "Costs $5.", "columns": {"id": {"description": "Number."}}}
    assert Relation("Costs [$]5.", {"ID": "Number.", "FURTHER": ""}).has_comments_of(node)
    assert not Relation("Costs $5.", {"ID": "Number."}).has_comments_of(node)
    assert not Relation("Costs [$]5.", {}).has_comments_of(node)
