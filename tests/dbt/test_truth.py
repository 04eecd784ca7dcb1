"""What the newest snapshot saw is what facts and marts hold, whatever the cursor says and whatever is gone."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from small_store import START, at, event, line, log_of, order, product, user

if TYPE_CHECKING:
    from conftest import Warehouse

SALES, ORDERS = "MARTS.MART_SALES_OVERVIEW", "CORE.FACT_ORDERS"
SESSIONS, SIGNUPS = "MARTS.MART_SESSION_FUNNEL", "MARTS.MART_SIGNUP_CONVERSION"


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
    assert dates(warehouse, SESSIONS, "session_date") == {day(1)}
    assert [row["ordered_within_7d"] for row in warehouse.records(SIGNUPS)] == [1]

    warehouse.publish("orders", day(1), [gone(1)])
    warehouse.publish("order_items", day(1), [gone(1), gone(2)])
    warehouse.publish("events", day(1), [gone(1)])
    build(warehouse, 1)
    facts = [f"CORE.FACT_{name}" for name in ("ORDERS", "ORDER_ITEMS", "EVENTS", "SESSIONS")]
    for table in (*facts, SALES, SESSIONS):
        assert warehouse.rows(table) == [], table
    assert [row["ordered_within_7d"] for row in warehouse.records(SIGNUPS)] == [0]

    warehouse.publish("users", day(0), [gone(1)])
    build(warehouse, 0)
    assert warehouse.rows(SIGNUPS) == warehouse.rows("CORE.DIM_CUSTOMERS") == []


@pytest.mark.usefixtures("shop")
def test_a_row_that_breaks_a_rule_leaves_and_comes_back_when_it_is_corrected(warehouse: Warehouse) -> None:
    before = warehouse.rows(ORDERS)

    warehouse.publish("orders", day(1), [{"id": 1, "_snapshot": "0002", "_quarantined": True}])
    build(warehouse, 1)
    assert warehouse.rows(ORDERS) == []

    warehouse.publish("orders", day(1), [order(1, 1, _snapshot="0003")])
    build(warehouse, 1)
    assert warehouse.rows(ORDERS) == before


@pytest.mark.long
@pytest.mark.usefixtures("shop")
def test_a_cursor_that_moved_back_does_not_bring_the_old_version_back(warehouse: Warehouse) -> None:
    warehouse.publish("orders", day(0), [order(1, 1, status="refunded", updated_at=at(0), _snapshot="0002")])
    build(warehouse, 0)

    assert [row["status"] for row in warehouse.records(ORDERS)] == ["refunded"]


@pytest.mark.long
@pytest.mark.usefixtures("shop")
def test_an_order_that_is_dated_anew_leaves_its_old_date_though_the_log_has_forgotten_it(warehouse: Warehouse) -> None:
    warehouse.publish("orders", day(1), [order(1, 3, updated_at=at(1), _snapshot="0002")])
    # The fact first, by itself: the mart still learns which date the order left.
    build(warehouse, 1, "fact_orders")
    build(warehouse, 1, "mart_sales_overview")

    assert dates(warehouse, SALES, "order_date") == {day(3)}


@pytest.mark.long
@pytest.mark.usefixtures("shop")
def test_a_line_that_changed_hands_is_counted_once_also_when_only_its_new_order_is_built(warehouse: Warehouse) -> None:
    warehouse.publish("orders", day(2), [order(2, 2, _snapshot="0002")])
    warehouse.publish("order_items", day(1), [line(1, 1, 1, _snapshot="0002"), line(2, 2, 1, _snapshot="0002")])
    build(warehouse, 2)
    assert {row["line_id"]: row["order_id"] for row in warehouse.records("CORE.FACT_ORDER_ITEMS")} == {1: 1, 2: 1}

    build(warehouse, 1)
    assert {row["order_id"]: row["line_count"] for row in warehouse.records(ORDERS)} == {1: 1, 2: 1}


@pytest.mark.long
def test_a_session_across_midnight_is_of_the_day_it_began_whatever_day_brings_or_loses_an_event(
    warehouse: Warehouse,
) -> None:
    late = [event(2, "add_to_cart", 2, session_id="a"), event(3, "purchase", 2, session_id="a")]
    early, other = event(1, "product_view", 1, session_id="a"), event(4, "product_view", 2, session_id="b")
    warehouse.stage(log_of({"events": [*late, other]}))
    warehouse.run()
    assert dates(warehouse, SESSIONS, "session_date") == {day(2)}

    def steps() -> dict[dt.date, tuple[int, ...]]:
        names = ("sessions", "sessions_with_view", "sessions_with_cart", "sessions_with_purchase", "carts_abandoned")
        return {row["session_date"]: tuple(row[name] for name in names) for row in warehouse.records(SESSIONS)}

    # The first event comes last, and takes the session along to its day.
    warehouse.publish("events", day(1), [{**early, "_snapshot": "0002"}])
    build(warehouse, 1)
    assert steps() == {day(1): (1, 1, 1, 1, 0), day(2): (1, 1, 0, 0, 0)}

    # Of the second day, the purchase goes, and an event changes hands: nothing of it lies on the day of its session.
    moved = {**late[0], "session_id": "b"}
    warehouse.publish("events", day(2), [{**row, "_snapshot": "0003"} for row in (moved, other)] + [gone(3, "0003")])
    # The facts one by one, as when a run is cancelled between them: what they were is told all the same.
    build(warehouse, 2, "fact_events")
    build(warehouse, 2, "fact_sessions")
    build(warehouse, 2, "mart_session_funnel")
    assert steps() == {day(1): (1, 1, 0, 0, 0), day(2): (1, 1, 1, 0, 1)}

    warehouse.publish("events", day(1), [gone(1, "0004")])
    build(warehouse, 1)
    assert steps() == {day(2): (1, 1, 1, 0, 1)}


@pytest.mark.long
@pytest.mark.usefixtures("shop")
def test_a_cohort_is_complete_when_the_data_has_gone_past_its_window_though_nothing_of_it_changed(
    warehouse: Warehouse,
) -> None:
    def complete() -> tuple[bool, ...]:
        [row] = warehouse.records(SIGNUPS)
        return tuple(row[f"is_complete_{days}d"] for days in (7, 30, 90))

    assert complete() == (False, False, False)
    for number, expected in (
        (7, (False, False, False)),
        (8, (True, False, False)),
        (31, (True, True, False)),
        (91, (True, True, True)),
    ):
        warehouse.publish("orders", day(number), [order(number, number, user_id=99, _snapshot="0001")])
        build(warehouse, number)
        assert complete() == expected, number

    # An order dated in the future was a mistake: the windows are open again.
    for number in (31, 91):
        warehouse.publish("orders", day(number), [gone(number)])
        build(warehouse, number)
    assert complete() == (True, False, False)


def test_a_refresh_rebuilds_the_cohorts_and_the_session_days_that_it_can_change_and_no_others(
    warehouse: Warehouse,
) -> None:
    users = [user(1, 0), user(2, 10), user(3, 90), user(4, 91), user(5, 92)]
    seen = [event(1, "product_view", 10), event(2, "product_view", 90), event(4, "product_view", 100)]
    seen = [{**row, "session_id": f"s{row['id']}"} for row in seen]
    orders = [order(4, 93, user_id=4), order(5, 93, user_id=5), order(9, 101, user_id=9)]
    warehouse.stage(log_of({"users": users, "events": seen, "orders": orders}))
    warehouse.run()
    for mart, count in ((SIGNUPS, "signed_up"), (SESSIONS, "sessions")):
        warehouse.execute(f"update SHOPSTREAM_DWH.{mart} set {count} = -1")

    # On day 100 the customer of day 0 is out of every window, and the one of day 10 on the last day of it. That of day
    # 91 orders again, the first order of that of day 92 is shipped, and another plan changes no cohort either.
    shipped = order(5, 93, user_id=5, status="shipped", updated_at=at(100))
    warehouse.publish(
        "orders", day(100), [*(order(id, 100, user_id=id) for id in (1, 2)), order(6, 100, user_id=4), shipped]
    )
    warehouse.publish("users", day(100), [user(3, 90, plan="pro", updated_at=at(100))])
    # An event in the session of day 90; customers who are seen on the site change no cohort. Event 4 is as it was.
    also = event(3, "add_to_cart", 100, user_id=3, session_id="s2")
    warehouse.publish("events", day(100), [seen[2], also])
    build(warehouse, 100)

    assert {row["signup_date"]: row["signed_up"] for row in warehouse.records(SIGNUPS)} == {
        day(0): -1,
        day(10): 1,
        day(90): -1,
        day(91): -1,
        day(92): -1,
    }
    assert {row["session_date"]: row["sessions"] for row in warehouse.records(SESSIONS)} == {
        day(10): -1,
        day(90): 1,
        day(100): -1,
    }


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
