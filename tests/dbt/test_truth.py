"""What the newest snapshot saw is what facts and marts hold, whatever the cursor says and whatever is gone."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from small_store import START, at, event, line, log_of, order, product, user

if TYPE_CHECKING:
    from conftest import Warehouse

SALES, FUNNEL, ORDERS = "MARTS.MART_SALES_OVERVIEW", "MARTS.MART_CONVERSION_FUNNEL", "CORE.FACT_ORDERS"


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def build(warehouse: Warehouse, number: int, *models: str) -> None:
    chosen = ["--select", *models] if models else []
    warehouse.run(*chosen, window=(day(number), day(number + 1)))


def gone(id: int, snapshot: str = "0002") -> dict[str, Any]:
    return {"id": id, "_snapshot": snapshot, "_deleted": True}


def dates(warehouse: Warehouse, mart: str, column: str) -> set[dt.date]:
    return {row[column] for row in warehouse.records(mart)}


@pytest.fixture
def shop(warehouse: Warehouse) -> None:
    """One customer of day 0; an order of day 1 with two lines, and an event; built."""
    versions = {
        "users": [user(1)],
        "products": [product(1)],
        "orders": [order(1, 1)],
        "order_items": [line(1, 1, 1), line(2, 1, 1)],
        "events": [event(1, "product_view", 1, product_id=1)],
    }
    warehouse.stage(log_of({table: [{**row, "_snapshot": "0001"} for row in rows] for table, rows in versions.items()}))
    warehouse.run()


@pytest.mark.usefixtures("shop")
def test_deleted_rows_leave_the_facts_and_dates_that_lose_their_last_row_leave_the_marts(warehouse: Warehouse) -> None:
    assert dates(warehouse, SALES, "order_date") == {day(1)}
    assert dates(warehouse, FUNNEL, "signup_date") == {day(0)}

    warehouse.publish("orders", day(1), [gone(1)])
    warehouse.publish("order_items", day(1), [gone(1), gone(2)])
    warehouse.publish("events", day(1), [gone(1)])
    build(warehouse, 1)
    for table in ("CORE.FACT_ORDERS", "CORE.FACT_ORDER_ITEMS", "CORE.FACT_EVENTS", SALES):
        assert warehouse.rows(table) == [], table
    assert [row["viewed"] for row in warehouse.records(FUNNEL)] == [0]

    warehouse.publish("users", day(0), [gone(1)])
    build(warehouse, 0)
    assert warehouse.rows(FUNNEL) == warehouse.rows("CORE.DIM_CUSTOMERS") == []


@pytest.mark.usefixtures("shop")
def test_a_row_that_breaks_a_rule_leaves_and_comes_back_when_it_is_corrected(warehouse: Warehouse) -> None:
    before = warehouse.rows(ORDERS)

    warehouse.publish("orders", day(1), [{"id": 1, "_snapshot": "0002", "_quarantined": True}])
    build(warehouse, 1)
    assert warehouse.rows(ORDERS) == []

    warehouse.publish("orders", day(1), [order(1, 1, _snapshot="0003")])
    build(warehouse, 1)
    assert warehouse.rows(ORDERS) == before


@pytest.mark.usefixtures("shop")
def test_a_cursor_that_moved_back_does_not_bring_the_old_version_back(warehouse: Warehouse) -> None:
    warehouse.publish("orders", day(0), [order(1, 1, status="refunded", updated_at=at(0), _snapshot="0002")])
    build(warehouse, 0)

    assert [row["status"] for row in warehouse.records(ORDERS)] == ["refunded"]


@pytest.mark.usefixtures("shop")
def test_an_order_that_is_dated_anew_leaves_its_old_date_though_the_log_has_forgotten_it(warehouse: Warehouse) -> None:
    warehouse.publish("orders", day(1), [order(1, 3, updated_at=at(1), _snapshot="0002")])
    # The fact first, by itself: the mart still learns which date the order left.
    build(warehouse, 1, "fact_orders")
    build(warehouse, 1, "mart_sales_overview")

    assert dates(warehouse, SALES, "order_date") == {day(3)}


@pytest.mark.usefixtures("shop")
def test_a_line_that_changed_hands_is_counted_once_also_when_only_its_new_order_is_built(warehouse: Warehouse) -> None:
    warehouse.publish("orders", day(2), [order(2, 2, _snapshot="0002")])
    warehouse.publish("order_items", day(1), [line(1, 1, 1, _snapshot="0002"), line(2, 2, 1, _snapshot="0002")])
    build(warehouse, 2)
    assert {row["line_id"]: row["order_id"] for row in warehouse.records("CORE.FACT_ORDER_ITEMS")} == {1: 1, 2: 1}

    build(warehouse, 1)
    assert {row["order_id"]: row["line_count"] for row in warehouse.records(ORDERS)} == {1: 1, 2: 1}


@pytest.mark.usefixtures("shop")
def test_the_ledger_says_of_each_model_which_state_of_which_day_is_in_it(warehouse: Warehouse) -> None:
    first = warehouse.loaded()
    assert warehouse.built("mart_customer_ltv") == first

    warehouse.publish("orders", day(1), [order(1, 1, status="refunded", _snapshot="0002")])
    changed = warehouse.loaded()["orders", day(1)]
    build(warehouse, 1, "fact_order_items")
    assert warehouse.built("fact_order_items")["orders", day(1)] == changed
    assert warehouse.built("fact_orders")["orders", day(1)] == first["orders", day(1)]

    # One parent, the staging table, is newer than the other, the lines of the facts, would be without their build.
    warehouse.publish("orders", day(1), [order(1, 1, status="paid", _snapshot="0003")])
    build(warehouse, 1, "fact_orders")
    assert warehouse.built("fact_orders")["orders", day(1)] == "mixed"

    build(warehouse, 1)
    for model in ("fact_orders", "mart_sales_overview", "mart_customer_ltv", "dim_date"):
        assert warehouse.built(model)["orders", day(1)] == warehouse.loaded()["orders", day(1)], model


@pytest.mark.usefixtures("shop")
def test_a_model_that_failed_is_in_the_ledger_as_not_built_and_its_table_is_as_it_was(warehouse: Warehouse) -> None:
    before = warehouse.rows("CORE.FACT_EVENTS")
    warehouse.publish("events", day(1), [gone(1)])
    # A reader that cannot be told: the transaction that replaces the rows fails.
    warehouse.execute("alter table SHOPSTREAM_DWH.CORE.UNREAD_CHANGES drop column noted_by")

    result = warehouse.dbt("run", "--select", "fact_events", "--vars", _variables(1))

    assert [str(found.status) for found in result.result if found.node.name == "fact_events"] == ["error"]  # type: ignore[union-attr]
    assert warehouse.rows("CORE.FACT_EVENTS") == before
    assert warehouse.built("fact_events")["events", day(1)].startswith("building ")

    warehouse.execute("alter table SHOPSTREAM_DWH.CORE.UNREAD_CHANGES add column noted_by varchar")
    build(warehouse, 1)
    assert warehouse.rows("CORE.FACT_EVENTS") == []
    assert warehouse.built("fact_events")["events", day(1)] == warehouse.loaded()["events", day(1)]


def _variables(number: int) -> str:
    return f'{{"partition_start": "{day(number)}", "partition_end": "{day(number + 1)}"}}'
