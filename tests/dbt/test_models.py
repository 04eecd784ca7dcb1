"""What the models promise, tried on the embedded Snowflake with a small store."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from dbt_common.exceptions import CompilationError
from small_store import (
    DAYS,
    START,
    Log,
    at,
    busy_store,
    contact,
    event,
    latest,
    line,
    log_of,
    order,
    product,
    sales_overview,
    session_funnel,
    signup_conversion,
    user,
)

from shopstream_assets.domains.shopstream.tables import EXCHANGE_RATES, ORDER_ITEMS, ORDERS, PRODUCTS, USERS

if TYPE_CHECKING:
    from conftest import Warehouse

UNIT = "test_type:unit"
MODELS = (
    "CORE.DIM_CUSTOMERS",
    "CORE.DIM_PRODUCTS",
    "CORE.DIM_EXCHANGE_RATES",
    "CORE.DIM_DATE",
    "CORE.FACT_ORDERS",
    "CORE.FACT_ORDER_ITEMS",
    "CORE.FACT_REFUNDS",
    "CORE.FACT_EVENTS",
    "CORE.FACT_SESSIONS",
    "MARTS.MART_SALES_OVERVIEW",
    "MARTS.MART_SALES_AS_BOOKED",
    "MARTS.MART_PRODUCT_PERFORMANCE",
    "MARTS.MART_CUSTOMER_LTV",
    "MARTS.MART_SESSION_FUNNEL",
    "MARTS.MART_SIGNUP_CONVERSION",
)
DAILY_MARTS = (
    "MARTS.MART_SALES_OVERVIEW",
    "MARTS.MART_SALES_AS_BOOKED",
    "MARTS.MART_SESSION_FUNNEL",
    "MARTS.MART_SIGNUP_CONVERSION",
)
PARTITIONED = ("--select", "tag:partitioned")
ALL_DAYS = (START, START + dt.timedelta(days=DAYS))


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def window(first: int, last: int | None = None) -> tuple[dt.date, dt.date]:
    """Days `first` to `last`, both included, as the half-open window dbt is given."""
    return day(first), day((first if last is None else last) + 1)


def snapshot(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the models that are built by partition."""
    return {model: warehouse.rows(model) for model in MODELS if "FACT" in model or model in DAILY_MARTS}


def overview(warehouse: Warehouse) -> dict[tuple[Any, ...], dict[str, Any]]:
    rows = {}
    for row in warehouse.records("MARTS.MART_SALES_OVERVIEW"):
        rows[row.pop("order_date"), row.pop("shipping_country"), row.pop("product_category")] = row
    return rows


def by_key(warehouse: Warehouse, mart: str, *key: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The other columns of each row, in their order."""
    rows = warehouse.records(mart)
    return {tuple(row[name] for name in key): tuple(row[name] for name in row if name not in key) for row in rows}


def sessions(warehouse: Warehouse) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return by_key(warehouse, "MARTS.MART_SESSION_FUNNEL", "session_date", "device", "referrer")


def signups(warehouse: Warehouse) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return by_key(warehouse, "MARTS.MART_SIGNUP_CONVERSION", "signup_date", "country", "acquisition_channel")


def test_a_full_build_passes_its_own_tests_and_agrees_with_plain_python_to_the_cent(warehouse: Warehouse) -> None:
    log = busy_store(seed=1)
    warehouse.stage(log)

    result = warehouse.dbt("build")

    states = {r.node.name: str(r.status) for r in result.result}  # type: ignore[union-attr]
    well = ("success", "pass", "warn", "no-op")
    assert {r.node.name: r.message for r in result.result if str(r.status) not in well} == {}  # type: ignore[union-attr]
    warned = {name for name, state in states.items() if state == "warn"}
    assert warned == {
        "fact_orders_customer_is_known",
        "fact_orders_currency_has_a_rate",
        "fact_order_items_order_is_known",
        "fact_order_items_product_is_known",
        "fact_events_customer_is_known",
        "fact_events_product_is_known",
    }
    assert overview(warehouse) == sales_overview(log)
    assert sessions(warehouse) == session_funnel(log)
    assert signups(warehouse) == signup_conversion(log)


@pytest.mark.long
def test_partitions_in_any_order_and_more_than_once_give_what_a_full_refresh_gives(warehouse: Warehouse) -> None:
    log = busy_store(seed=2)
    windows = [window(5, 7), window(0, 1), window(2, 4)]

    for first, end in [*windows, windows[0]]:
        warehouse.stage(log, {first + dt.timedelta(days=n) for n in range((end - first).days)})
        warehouse.run(*PARTITIONED, window=(first, end))

    assert overview(warehouse) == sales_overview(log)
    assert sessions(warehouse) == session_funnel(log)
    assert signups(warehouse) == signup_conversion(log)
    played = snapshot(warehouse)
    warehouse.run(*PARTITIONED)
    assert snapshot(warehouse) == played, "an incremental run without a window differs"
    warehouse.run("--full-refresh", *PARTITIONED)
    assert snapshot(warehouse) == played, "a full refresh differs"


def test_a_window_touches_only_what_it_changed(warehouse: Warehouse) -> None:
    old, new = order(1, 1), order(2, 5)
    warehouse.stage(log_of({"orders": [old, new], "order_items": [line(1, 1, 1), line(2, 2, 5)], "users": [user(1)]}))
    warehouse.run(*PARTITIONED)
    for table in ("CORE.FACT_ORDERS", "CORE.FACT_ORDER_ITEMS", "MARTS.MART_SALES_OVERVIEW"):
        warehouse.execute(f"update SHOPSTREAM_DWH.{table} set net_revenue = -1")

    warehouse.run(*PARTITIONED, window=window(5))

    for table in ("CORE.FACT_ORDERS", "CORE.FACT_ORDER_ITEMS", "MARTS.MART_SALES_OVERVIEW"):
        revenue = {row["order_date"]: row["net_revenue"] for row in warehouse.records(table)}
        assert revenue == {day(1): -1, day(5): 10}, table


def test_the_statements_in_the_documentation_find_the_marts_figures_in_the_source(warehouse: Warehouse) -> None:
    log = busy_store(seed=3)
    warehouse.stage(log)
    warehouse.run(*PARTITIONED)
    text = (Path(__file__).parents[2] / "docs" / "marts.md").read_text(encoding="utf-8")
    in_total, in_mart, per_row = re.findall(r"```sql\n(.+?);\n(?:```|select)", text, re.DOTALL)
    # DuckDB stands in for Postgres: the statements use nothing in which the two differ.
    source = duckdb.connect()
    source.execute("set timezone = 'UTC'")
    for table in (USERS, PRODUCTS, ORDERS, ORDER_ITEMS, EXCHANGE_RATES):
        rows = latest(log, table.name).values()
        columns = ", ".join(f"{column.name} {column.type.postgres}" for column in table.columns)
        source.execute(f"create table {table.name} ({columns})")
        holes = ", ".join("?" * len(table.columns))
        values = [[row[column.name] for column in table.columns] for row in rows]
        source.executemany(f"insert into {table.name} values ({holes})", values)

    assert source.execute(in_total).fetchall() == warehouse.execute(in_mart)

    by_row = {tuple(row[:3]): tuple(row[3:]) for row in source.execute(per_row).fetchall()}
    assert by_row == {
        key: (row["orders_with_category"], row["units"], row["gross_revenue"])
        for key, row in overview(warehouse).items()
        if row["orders_with_category"]
    }


@pytest.fixture
def shop(warehouse: Warehouse) -> Log:
    """One customer, two products of different categories, and an order of day 1 with a line of each; built."""
    log = log_of(
        {
            "users": [user(1)],
            "products": [product(1, category="books"), product(2, category="games")],
            "orders": [order(1, 1, discount_amount=Decimal("1.00"))],
            "order_items": [line(1, 1, 1), line(2, 1, 1, product_id=2, unit_price=Decimal("20.00"))],
            "events": [event(1, "product_view", 1, product_id=1)],
        }
    )
    warehouse.stage(log)
    warehouse.run("--select", "tag:partitioned", "dim_date", window=ALL_DAYS)
    return log


def test_a_refund_and_a_cancellation_move_the_figures_of_the_day_the_order_was_placed(
    warehouse: Warehouse, shop: Log
) -> None:
    before = overview(warehouse)
    assert sum(row["net_revenue"] for row in before.values()) == Decimal("29.00")

    warehouse.publish(
        "orders", day(4), [order(1, 1, discount_amount=Decimal("1.00"), status="refunded", updated_at=at(4))]
    )
    warehouse.run(*PARTITIONED, window=window(4))
    refunded = overview(warehouse)
    assert refunded.keys() == before.keys()
    assert sum(row["refunded_amount"] for row in refunded.values()) == Decimal("29.00")
    assert sum(row["net_revenue"] for row in refunded.values()) == 0
    assert sum(row["orders"] for row in refunded.values()) == 1
    # As booked, the day of the order stays as it was.
    assert booked(warehouse) == {day(1): (1, 0, Decimal("29.00")), day(4): (0, 1, Decimal("-29.00"))}

    warehouse.publish("orders", day(5), [order(1, 1, status="cancelled", updated_at=at(5))])
    warehouse.run("--select", "fact_refunds", "--full-refresh")
    refunds = warehouse.records("CORE.FACT_REFUNDS")
    assert [row["refunded_date"] for row in refunds] == [day(4), day(4)], "what fact_orders still says is kept"
    warehouse.run(*PARTITIONED, window=window(5))
    cancelled = overview(warehouse)
    assert booked(warehouse) == {day(1): (0, 0, 0)}
    assert not warehouse.records("CORE.FACT_REFUNDS")
    assert {key[0] for key in cancelled} == {day(1)}
    assert {name: sum(row[name] for row in cancelled.values()) for name in ("orders", "gross_revenue")} == {
        "orders": 0,
        "gross_revenue": 0,
    }


def test_a_unit_that_comes_back_moves_the_day_of_its_order_and_is_booked_on_its_own(
    warehouse: Warehouse, shop: Log
) -> None:
    [ordered] = [row["created_at"] for row in shop["orders"][day(1)]]
    first = shop["order_items"][day(1)][0]
    back = {"returned_quantity": 1, "returned_amount": Decimal("4.50")}
    warehouse.publish("order_items", day(3), [{**first, **back, "updated_at": at(3)}])
    warehouse.run(*PARTITIONED, window=window(3))

    returned = overview(warehouse)
    assert {key[0] for key in returned} == {ordered.date()}
    assert sum(row["refunded_amount"] for row in returned.values()) == Decimal("4.50")
    assert sum(row["units_refunded"] for row in returned.values()) == 1
    assert sum(row["net_revenue"] for row in returned.values()) == Decimal("24.50")
    assert booked(warehouse) == {day(1): (1, 0, Decimal("29.00")), day(3): (0, 1, Decimal("-4.50"))}

    # The rest comes back with the whole order, which is no second refund; and the first was a mistake.
    head = order(1, 1, discount_amount=Decimal("1.00"), status="refunded", updated_at=at(4))
    warehouse.publish("orders", day(4), [head])
    warehouse.run(*PARTITIONED, window=window(4))
    assert booked(warehouse) == {
        day(1): (1, 0, Decimal("29.00")),
        day(3): (0, 1, Decimal("-4.50")),
        day(4): (0, 0, Decimal("-24.50")),
    }
    warehouse.publish("order_items", day(5), [{**first, "updated_at": at(5)}])
    warehouse.run(*PARTITIONED, window=window(5))
    assert booked(warehouse) == {day(1): (1, 0, Decimal("29.00")), day(4): (0, 1, Decimal("-29.00"))}


def booked(warehouse: Warehouse) -> dict[dt.date, tuple[int, int, Decimal]]:
    """Day -> orders, refunds and net revenue of that day."""
    rows = warehouse.execute(
        "select booked_date, sum(orders), sum(orders_refunded), sum(net_revenue) "
        "from SHOPSTREAM_DWH.MARTS.MART_SALES_AS_BOOKED group by booked_date"
    )
    return {date: (orders, refunds, net) for date, orders, refunds, net in rows}


@pytest.mark.long
def test_a_product_that_changes_category_takes_its_history_along(warehouse: Warehouse, shop: Log) -> None:
    assert {key[2] for key in overview(warehouse)} == {"books", "games"}

    warehouse.publish("products", day(5), [product(1, category="comics", updated_at=at(5))])
    warehouse.run(*PARTITIONED, window=window(5))

    assert {key[2] for key in overview(warehouse)} == {"comics", "games"}


def test_a_product_that_changes_price_or_name_leaves_every_day_as_it_is_and_one_that_changes_cost_none(
    warehouse: Warehouse, shop: Log
) -> None:
    marts = ("MART_SALES_OVERVIEW", "MART_SALES_AS_BOOKED")

    def spoil() -> None:
        for mart in marts:
            warehouse.execute(f"update SHOPSTREAM_DWH.MARTS.{mart} set net_revenue = -1")

    def revenue(mart: str) -> set[Decimal]:
        return {row["net_revenue"] for row in warehouse.records(f"MARTS.{mart}")}

    spoil()
    dearer = product(1, category="books", price=Decimal("99.00"), name="Dearer", updated_at=at(5))
    warehouse.publish("products", day(5), [dearer])
    warehouse.run(*PARTITIONED, window=window(5))
    [price] = warehouse.execute("select list_price from SHOPSTREAM_DWH.CORE.DIM_PRODUCTS where product_id = 1")
    assert price == (Decimal("99.00"),)
    assert [revenue(mart) for mart in marts] == [{Decimal(-1)}, {Decimal(-1)}]

    warehouse.publish("products", day(6), [{**dearer, "cost": Decimal("5.00"), "updated_at": at(6)}])
    warehouse.run(*PARTITIONED, window=window(6))
    assert [Decimal(-1) in revenue(mart) for mart in marts] == [False, False]


def test_a_line_that_tells_its_cost_keeps_its_margin_when_the_cost_of_its_product_changes(
    warehouse: Warehouse, shop: Log
) -> None:
    def margin() -> Decimal:
        return sum(row["margin"] for row in warehouse.records("MARTS.MART_SALES_AS_BOOKED"))

    lines = shop["order_items"][day(1)]
    before, [line, *_] = margin(), [each for each in lines if each["product_id"] == 1]
    own = {**line, "unit_cost": Decimal("1.50"), "updated_at": at(3)}
    warehouse.publish("order_items", day(3), [own])
    warehouse.run(*PARTITIONED, window=window(3))
    assert margin() == before + line["quantity"] * Decimal("2.50")

    [book] = [each for each in shop["products"][day(0)] if each["id"] == 1]
    warehouse.publish("products", day(5), [{**book, "cost": Decimal("7.00"), "updated_at": at(5)}])
    warehouse.run(*PARTITIONED, window=window(5))
    assert margin() == before + line["quantity"] * Decimal("2.50")
    # It tells it no longer: the product's counts again, as it is now.
    warehouse.publish("order_items", day(6), [{**line, "updated_at": at(6)}])
    warehouse.run(*PARTITIONED, window=window(6))
    assert margin() == before - line["quantity"] * Decimal("3.00")


@pytest.mark.parametrize("kept", [2, -1], ids=["a fee that the shop keeps", "a voucher on top"])
def test_units_that_all_came_back_for_another_amount_break_no_check_where_their_cost_is_unknown(
    warehouse: Warehouse, kept: int
) -> None:
    price = Decimal("10.00")
    back = {"returned_quantity": 1, "returned_amount": price - kept}
    # Alone in its category, and beside a line whose cost is known.
    for beside in ([], [line(2, 1, product_id=2, unit_price=price, quantity=1)]):
        unknown = line(1, 1, product_id=404, unit_price=price, quantity=1, **back)
        warehouse.reset()
        warehouse.stage(
            log_of(
                {
                    "users": [user(1)],
                    "products": [product(2, category="unknown")],
                    "orders": [order(1, discount_amount=Decimal(0))],
                    "order_items": [unknown, *beside],
                }
            )
        )
        chosen = ("+mart_sales_overview", "+mart_sales_as_booked", "+mart_product_performance")
        result = warehouse.dbt("build", "--select", *chosen, "--indirect-selection", "cautious", "--exclude", UNIT)
        failed = [f"{one.node.name}: {one.message}" for one in result.result if str(one.status) in ("fail", "error")]  # type: ignore[union-attr]
        assert not failed
        (sales,) = warehouse.records("MARTS.MART_SALES_OVERVIEW")
        assert (sales["units_without_cost"], sales["net_revenue"] - sales["net_revenue_with_cost"]) == (0, kept)


@pytest.mark.long
def test_a_line_or_an_order_that_changes_hands_corrects_both_sides(warehouse: Warehouse) -> None:
    log = log_of(
        {
            "users": [user(1, 0), user(2, 1)],
            "products": [product(1)],
            "orders": [order(1, 1, user_id=99), order(2, 2, user_id=99), order(3, 3, user_id=1)],
            "order_items": [line(1, 1, 1), line(2, 1, 1), line(3, 2, 2)],
        }
    )
    warehouse.stage(log)
    warehouse.run(*PARTITIONED)

    warehouse.publish("order_items", day(5), [line(2, 2, 1, updated_at=at(5))])
    warehouse.publish("orders", day(5), [order(3, 3, user_id=2, updated_at=at(5))])
    warehouse.run(*PARTITIONED, window=window(5))

    revenue = {row["order_id"]: row["net_revenue"] for row in warehouse.records("CORE.FACT_ORDERS")}
    assert revenue == {1: 10, 2: 20, 3: 0}
    by_day = {key[0]: row["net_revenue"] for key, row in overview(warehouse).items()}
    assert by_day == {day(1): 10, day(2): 20, day(3): 0}
    assert {key[0]: row[:4] for key, row in signups(warehouse).items()} == {day(0): (1, 0, 0, 0), day(1): (1, 1, 1, 1)}


@pytest.mark.long
def test_a_row_that_moved_on_stays_when_only_its_old_partition_was_extracted_again(
    warehouse: Warehouse, shop: Log
) -> None:
    moved = order(1, 1, status="shipped", updated_at=at(6), _snapshot="0002")
    warehouse.publish("orders", day(1), [moved])
    warehouse.run(*PARTITIONED, window=window(1))
    assert [row["status"] for row in warehouse.records("CORE.FACT_ORDERS")] == ["shipped"]

    warehouse.publish("orders", day(6), [{**moved, "_snapshot": "0003"}])
    warehouse.run(*PARTITIONED, window=window(6))
    assert [row["status"] for row in warehouse.records("CORE.FACT_ORDERS")] == ["shipped"]
    assert sum(row["net_revenue"] for row in overview(warehouse).values()) == Decimal("30.00")


def test_what_has_no_parent_is_kept_as_unknown_and_finds_it_when_it_arrives(warehouse: Warehouse) -> None:
    warehouse.stage(
        log_of(
            {
                "orders": [order(1, 1, user_id=77), order(2, 1, user_id=77)],
                "order_items": [line(1, 1, 1, product_id=88), line(2, 99, 1)],
                "events": [event(1, "product_view", 1, user_id=77, product_id=88)],
            }
        )
    )
    warehouse.run(window=window(1))

    assert overview(warehouse).keys() == {(day(1), "FR", "unknown")}
    assert sum(row["net_revenue"] for row in overview(warehouse).values()) == Decimal("10.00")
    assert sum(row["orders"] for row in overview(warehouse).values()) == 2
    lines = {row["line_id"]: row for row in warehouse.records("CORE.FACT_ORDER_ITEMS")}
    assert (lines[2]["order_status"], lines[2]["is_sale"], lines[2]["line_amount"]) == ("unknown", False, None)
    [customer] = warehouse.records("MARTS.MART_CUSTOMER_LTV")
    assert (customer["customer_id"], customer["country"], customer["net_revenue"]) == (77, "unknown", 10)
    products = {row["product_id"]: row for row in warehouse.records("MARTS.MART_PRODUCT_PERFORMANCE")}
    assert (products[88]["product_category"], products[88]["views"]) == ("unknown", 1)

    warehouse.stage(
        log_of({"users": [user(77, 0)], "products": [product(88, 0)], "orders": [order(99, 2, user_id=77)]})
    )
    warehouse.run(*PARTITIONED, window=window(0, 2))

    assert {key[2] for key in overview(warehouse)} == {"books", "unknown"}
    assert sum(row["net_revenue"] for row in overview(warehouse).values()) == Decimal("20.00")
    assert signups(warehouse) == {(day(0), "FR", "organic"): (1, 1, 1, 1, False, False, False)}


def test_empty_staging_gives_empty_models_and_a_calendar(warehouse: Warehouse) -> None:
    result = warehouse.dbt("build", "--exclude", "test_type:unit")

    assert {str(r.status) for r in result.result} <= {"success", "pass", "no-op"}  # type: ignore[union-attr]
    filled = {model for model in MODELS if warehouse.rows(model)}
    assert filled == {"CORE.DIM_DATE"}


def test_the_calendar_has_every_day_of_whole_years_from_the_data_to_the_year_after_it(
    warehouse: Warehouse, shop: Log
) -> None:
    days = [row["date_day"] for row in warehouse.records("CORE.DIM_DATE")]

    assert (min(days), max(days), len(set(days))) == (dt.date(2026, 1, 1), dt.date(2027, 12, 31), len(days))
    assert len(days) == 730


def test_a_customer_shows_the_crm_contact_that_changed_last_and_no_personal_data(warehouse: Warehouse) -> None:
    warehouse.stage(
        log_of(
            {
                "users": [user(1), user(2)],
                "crm_contacts": [
                    contact(1, 1, user_id=1, company="Old"),
                    contact(2, 2, user_id=1, company="New"),
                    contact(3, 2, company="Nobody's"),
                ],
            }
        )
    )
    warehouse.run("--select", "dim_customers")

    rows = {row["customer_id"]: row for row in warehouse.records("CORE.DIM_CUSTOMERS")}
    assert {id: (row["crm_contact_id"], row["crm_company"]) for id, row in rows.items()} == {
        1: (2, "New"),
        2: (None, None),
    }
    assert not {"email", "first_name", "last_name"} & rows[1].keys()


def test_a_window_with_one_end_or_the_wrong_way_round_is_refused_with_what_to_do(
    warehouse: Warehouse, shop: Log
) -> None:
    for given in (
        '{"partition_start": "2026-03-01"}',
        '{"partition_start": "2026-03-02", "partition_end": "2026-03-02"}',
    ):
        with pytest.raises(CompilationError, match=r"start before end \(half-open\)"):
            warehouse.dbt("run", "--select", "fact_events", "--vars", given)
