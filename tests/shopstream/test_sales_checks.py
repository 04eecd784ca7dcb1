"""The sales mart against Postgres, over real services: what is a fault, what has only moved on, and what is said."""

import dataclasses
import datetime as dt
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING

import dagster as dg
import psycopg
import pytest
from emptied import empty

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.checks import equals_the_source, equals_the_source_everywhere
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.domains.shopstream.sales_comparison import Comparison, Sales, compare_sales
from shopstream_assets.domains.shopstream.tables import EXCHANGE_RATES, ORDER_ITEMS, ORDERS, PRODUCTS
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.declare.tables import postgres_ddl
from shopstream_assets.platform.lake.extraction import extract_to_lake
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.staging.loading import load_from_lake
from shopstream_assets.platform.staging.warehouse import WarehouseResource
from shopstream_assets.platform.transform.comparison_checks import window_of

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

SCHEMA = "sales_checks"
FIRST = dt.date(2026, 3, 1)
DAYS = Window(FIRST, FIRST + 8 * ONE_DAY)
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def day(number: int) -> dt.date:
    return FIRST + number * ONE_DAY


class Shop:
    """Orders 1 to 8: number n is placed on day n // 2 and changes on the next; each has a line of 10 EUR times n."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.connection = psycopg.connect(services.source.dsn, autocommit=True, options=f"-c search_path={SCHEMA}")

    def create(self) -> None:
        self.sql(f"drop schema if exists {SCHEMA} cascade; create schema {SCHEMA}")
        for table in (ORDERS, ORDER_ITEMS, PRODUCTS, EXCHANGE_RATES):
            for statement in postgres_ddl(table, SCHEMA):
                self.sql(statement)
        for number in range(1, 9):
            self.order(number, number // 2)
        empty(self.services.warehouse)

    def order(self, number: int, placed: int, discount: str = "1.00", currency: str = "EUR") -> None:
        at, changed = f"{day(placed)} 08:00+00", f"{day(placed + 1)} 09:00+00"
        self.sql(
            "insert into orders values "
            f"({number}, 1, 'paid', {currency!r}, {discount!r}, 4.90, 0, 'FR', 'card', '{at}', '{changed}')"
        )
        line = f"{number}, {number}, 1, {number}, 10.00, null, null, null, '{at}', '{at}'"
        self.sql(f"insert into order_items values ({line})")

    def sql(self, statement: str) -> None:
        self.connection.execute(statement)  # type: ignore[call-overload]

    def warehouse(self, statement: str) -> None:
        with self.services.warehouse.connection(REPORTING) as session, session.cursor() as cursor:
            cursor.execute(statement.format(database=self.services.warehouse.database))

    def refresh(self, window: Window = DAYS) -> None:
        """What a run does, but for the models that tell nothing of sales."""
        from shopstream_assets.platform.transform.build import dbt_arguments
        from shopstream_assets.platform.transform.dbt_manifest import parsed_project
        from shopstream_assets.platform.transform.dbt_run import FAILURE_EVENTS, run_dbt

        for table in (PRODUCTS, ORDERS, ORDER_ITEMS, EXCHANGE_RATES):
            extract_to_lake(self.services.source, self.services.store, table, window, FIRST)
            load_from_lake(self.services.store, self.services.warehouse, table, window)
        models = ["dim_products", "dim_exchange_rates", "fact_order_items", "fact_orders", "mart_sales_overview"]
        with tempfile.TemporaryDirectory() as target:
            arguments = dbt_arguments(SHOPSTREAM, models, window, target, full_refresh=False)
            with closing(run_dbt(arguments, parsed_project(SHOPSTREAM).parsed, self.services.warehouse)) as events:
                failed = [event["info"]["msg"] for event in events if event["info"]["name"] in FAILURE_EVENTS]
        assert not failed

    def check(self, check: dg.AssetChecksDefinition, *days: dt.date) -> dg.AssetCheckEvaluation:
        """The real check in a run over these days (first and last), or over none."""
        services = {name: getattr(self.services, name) for name in ("source", "store", "warehouse")}
        job = dg.define_asset_job("look", dg.AssetSelection.checks(*check.check_keys))
        definitions = dg.Definitions(asset_checks=[check], jobs=[job], resources=services)
        names = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
        tags = dict(zip(names, map(str, days), strict=True)) if days else {}
        run = definitions.resolve_job_def("look").execute_in_process(tags=tags, raise_on_error=False)
        (found,) = run.get_asset_check_evaluations()
        # Nothing is stopped by the clock, and nothing goes on after a fault.
        assert run.success == (found.passed or not found.blocking)
        return found


def told(found: dg.AssetCheckEvaluation) -> dict[str, object]:
    return {name: value.value for name, value in found.metadata.items() if isinstance(value.value, int | float)}


@pytest.fixture
def shop(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Everything refreshed, an order that is no number among the rest."""
    monkeypatch.setenv("SHOPSTREAM_START_DATE", FIRST.isoformat())
    source = PostgresResource(dsn=services.source.dsn, schema_name=SCHEMA)
    # dbt's manifest is that of the stack's own database.
    found = Shop(dataclasses.replace(services, source=source, warehouse=Services.of(SHOPSTREAM).warehouse))
    with closing(found.connection):
        found.create()
        found.order(9, 3, discount="NaN")
        found.refresh()
        yield found


def test_mart_and_quarantine_make_up_the_source_and_both_are_told(shop: Shop) -> None:
    for check, *days in ((equals_the_source, DAYS.first, DAYS.last), (equals_the_source_everywhere,)):
        found = shop.check(check, *days)
        assert found.passed, found.description
        assert found.description == "In quarantine, and so not in the mart: 1 orders, 90.00 EUR in all."
        figures = told(found)
        assert figures["orders"] == figures["orders_in_the_mart"] + figures["orders_in_quarantine"] == 8 + 1  # type: ignore[operator]
        # Of the order in quarantine the discount is no number, and its line counts without it.
        assert (figures["net_revenue_eur"], figures["net_revenue_in_the_mart_eur"]) == (442.0, 352.0)
        assert (figures["net_revenue_in_quarantine_eur"], figures["dates_compared"]) == (90.0, 5)


def test_an_order_in_another_currency_counts_at_its_rate_and_not_at_all_without_one(shop: Shop) -> None:
    def in_the_mart() -> tuple[object, object]:
        for check, *days in ((equals_the_source, DAYS.first, DAYS.last), (equals_the_source_everywhere,)):
            found = shop.check(check, *days)
            assert found.passed, found.description
            assert told(found)["dates_not_settled"] == 0
        figures = told(found)
        in_quarantine = figures["net_revenue_eur"] - figures["net_revenue_in_the_mart_eur"]  # type: ignore[operator]
        assert round(in_quarantine, 2) == 90.0
        return figures["orders_in_the_mart"], figures["net_revenue_in_the_mart_eur"]

    def rate(key: int, valid_from: int, worth: str, changed: int) -> None:
        at = f"{day(changed)} 15:00+00"
        shop.sql(
            f"insert into exchange_rates values ({key}, 'USD', '{day(valid_from)}', {worth}, '{at}', '{at}') "
            "on conflict (id) do update set valid_from = excluded.valid_from, eur_per_unit = excluded.eur_per_unit, "
            "updated_at = excluded.updated_at"
        )
        shop.refresh(days_of_rates)

    # On which no order or line changes: that they are built anew follows from the rates alone.
    days_of_rates = Window(day(6), day(8))

    # 10 lines of 10.00 dollars less a discount of 1.00, placed on the third day.
    shop.order(10, 3, currency="USD")
    # Alone on its date, of which then no amount is known.
    shop.order(11, 5, currency="GBP")
    shop.refresh()
    assert in_the_mart() == (8, 352.0)
    rate(1, 4, "0.5", 6)
    assert in_the_mart() == (8, 352.0)
    rate(2, 2, "0.905", 6)
    # The discount is rounded by itself: 90.50 - 0.91.
    assert in_the_mart() == (9, round(352 + 89.59, 2))
    # Corrected, then followed by another that was moved, then gone.
    rate(2, 2, "0.8", 7)
    assert in_the_mart() == (9, 352.0 + 79.2)
    rate(1, 3, "0.5", 7)
    assert in_the_mart() == (9, 352.0 + 49.5)
    shop.sql("delete from exchange_rates")
    shop.refresh(days_of_rates)
    assert in_the_mart() == (8, 352.0)


def test_what_came_back_of_a_line_is_taken_from_its_order_on_both_sides(shop: Shop) -> None:
    def net_revenue(in_quarantine: float = 90.0) -> float:
        for check, *days in ((equals_the_source, day(6), day(6)), (equals_the_source_everywhere,)):
            found = shop.check(check, *days)
            assert found.passed, found.description
            assert told(found)["dates_not_settled"] == 0
        figures = told(found)
        assert figures["net_revenue_in_quarantine_eur"] == in_quarantine
        return figures["net_revenue_in_the_mart_eur"]  # type: ignore[return-value]

    def returned(line: int, quantity: int, amount: str) -> None:
        shop.sql(
            f"update order_items set returned_quantity = {quantity}, returned_amount = {amount}, "
            f"updated_at = '{day(6)} 15:00+00' where id = {line}"
        )
        shop.refresh(Window(day(6), day(7)))

    shop.sql(f"insert into exchange_rates values (1, 'USD', '{day(1)}', 0.905, '{day(2)}', '{day(2)}')")
    shop.order(10, 3, currency="USD")
    shop.refresh()
    assert net_revenue() == round(352 + 89.59, 2)
    returned(6, 2, "19.50")
    assert net_revenue() == round(352 + 89.59 - 19.5, 2)
    # Each amount is rounded by itself: 90.50 - 0.91 - 9.06.
    returned(10, 0, "10.01")
    assert net_revenue() == round(352 + 89.59 - 19.5 - 9.06, 2)
    # Of a line of which more came back than was sold nothing counts but the discount of its order.
    returned(6, 7, "19.50")
    assert net_revenue(in_quarantine=90 + 60 - 19.5) == round(352 + 89.59 - 60 - 9.06, 2)


def test_a_rate_that_left_since_the_mart_was_built_is_no_fault(shop: Shop) -> None:
    shop.sql(f"insert into exchange_rates values (1, 'USD', '{day(1)}', 0.9, '{day(2)}', '{day(2)}')")
    shop.order(10, 3, currency="USD")
    shop.refresh()
    shop.sql("delete from exchange_rates")
    for check, *days in ((equals_the_source, DAYS.first, DAYS.last), (equals_the_source_everywhere,)):
        found = shop.check(check, *days)
        assert told(found)["dates_not_settled"] == 1, found.description
        assert "1 order dates have changed since the mart was built" in (found.description or "")
        assert found.passed or (check is equals_the_source_everywhere and found.severity == WARN)


def test_a_line_in_quarantine_is_left_out_of_its_order_and_told(shop: Shop) -> None:
    shop.sql("update order_items set quantity = 0 where id = 4")
    shop.sql(f"insert into order_items values (40, 4, 1, 1, 'NaN', null, null, null, '{day(2)}', '{day(2)}')")
    shop.refresh()
    found = shop.check(equals_the_source, DAYS.first, DAYS.last)
    assert found.passed, found.description
    assert "1 orders, and 2 lines of other orders" in (found.description or "")


def test_a_row_of_the_mart_that_was_changed_by_hand_fails_with_date_figures_and_command(shop: Shop) -> None:
    shop.warehouse(
        "update {database}.MARTS.MART_SALES_OVERVIEW set net_revenue = net_revenue + 5 where order_date = '2026-03-03'"
    )
    for check, *days in ((equals_the_source, day(3), day(3)), (equals_the_source_everywhere,)):
        found = shop.check(check, *days)
        assert (found.passed, found.severity) == (False, ERROR)
        description = found.description or ""
        assert description.startswith("1 order dates differ, though the mart was built from what the source has now.")
        assert "2026-03-03: Postgres has 2 orders and " in description
        assert "`shopstream rebuild fact_order_items`" in description
        assert "--partition-range 2026-03-04...2026-03-04`" in description
    assert "2 orders and 88.00 EUR, the mart 2 orders and 93.00 EUR" in description
    # Nothing of that date changed on the seventh day.
    assert shop.check(equals_the_source, day(6), day(6)).passed


@pytest.mark.long
def test_an_order_that_all_models_have_wrong_fails_on_the_days_on_which_it_changed(shop: Shop) -> None:
    shop.warehouse(
        "update {database}.CORE.FACT_ORDERS set order_discount = 3, net_revenue = net_revenue - 2 where order_id = 2"
    )
    shop.warehouse(
        "update {database}.MARTS.MART_SALES_OVERVIEW set net_revenue = net_revenue - 2 where order_date = '2026-03-02'"
    )
    assert "orders and -2.00 EUR, the mart 2 orders and -4.00 EUR" in (
        shop.check(equals_the_source, day(2), day(2)).description or ""
    )
    assert shop.check(equals_the_source, day(4), day(4)).passed


def test_what_changes_after_it_was_extracted_is_counted_and_fails_nothing(shop: Shop) -> None:
    shop.sql("update orders set status = 'cancelled', updated_at = now() where id = 4")
    shop.sql("update order_items set quantity = 7 where id = 6")
    for check, *days in ((equals_the_source, DAYS.first, DAYS.last), (equals_the_source_everywhere,)):
        found = shop.check(check, *days)
        assert (found.passed, told(found)["dates_not_settled"]) == (check is equals_the_source, 2), found.description
        assert "2 order dates have changed since the mart was built" in (found.description or "")
    # The line was changed without a trace in its cursor, and nobody knows when.
    assert found.severity == WARN


def test_a_change_of_this_hour_is_on_its_way_and_warns_nobody(shop: Shop) -> None:
    shop.sql("update orders set status = 'cancelled', updated_at = now() where id = 4")
    found = shop.check(equals_the_source_everywhere)
    assert (found.passed, told(found)["dates_not_settled"]) == (True, 1), found.description


def test_orders_deleted_in_the_source_are_told_by_the_clock_with_what_repairs_them(shop: Shop) -> None:
    shop.sql("delete from orders where id in (4, 5, 6, 7, 8)")
    assert shop.check(equals_the_source, DAYS.first, DAYS.last).passed
    found = shop.check(equals_the_source_everywhere)
    assert (found.passed, found.severity) == (False, WARN)
    description = found.description or ""
    assert "3 order dates have changed since the mart was built" in description
    assert "3 days of orders (2026-03-04..2026-03-06) differ from the lake" in description
    assert "--partition-range 2026-03-04...2026-03-06`" in description
    shop.refresh()
    assert shop.check(equals_the_source_everywhere).passed


class Overtaken(WarehouseResource):
    """A warehouse of which a session is asked for, and then something happens first."""

    _happens: Callable[[], None] = lambda: None

    @contextmanager
    def connection(self, warehouse: str) -> Iterator["SnowflakeConnection"]:
        self._happens()
        with super().connection(warehouse) as session:
            yield session


@pytest.mark.long
def test_a_mart_that_is_built_of_something_newer_while_it_is_compared_fails_nothing(shop: Shop) -> None:
    def happens() -> None:
        # To another date and day: the first date has nothing left that would tell.
        shop.sql(
            "update orders set created_at = '2026-03-06 08:00+00', updated_at = '2026-03-08 09:00+00' where id = 1"
        )
        shop.refresh(Window(day(7), day(8)))

    services = shop.services
    warehouse = Overtaken(**services.warehouse.model_dump())
    warehouse._happens = happens
    found = compare_sales(services.source, services.store, warehouse, FIRST)
    assert (found.faults, set(found.moving)) == ({}, {FIRST, day(5)})


def test_a_build_that_is_under_way_or_was_killed_fails_nothing(shop: Shop) -> None:
    shop.warehouse("delete from {database}.MARTS.MART_SALES_OVERVIEW where order_date = '2026-03-03'")
    shop.warehouse(
        "update {database}.CORE.BUILT_PARTITIONS set manifest_hash = 'building x ' || manifest_hash "
        "where partition_date = '2026-03-06'"
    )
    found = shop.check(equals_the_source, DAYS.first, DAYS.last)
    assert (found.passed, told(found)["dates_not_settled"]) == (True, 1)


def test_rows_that_lie_in_no_partition_count_on_neither_side(shop: Shop) -> None:
    shop.sql("insert into orders values (20, 1, 'paid', 'EUR', 1, 4.90, 0, 'FR', 'card', '2026-03-03', '2026-02-27')")
    found = compare_sales(shop.services.source, shop.services.store, shop.services.warehouse, FIRST)
    assert not found.differing
    assert found.expected(day(2)) == Sales(2, Decimal("88.00"))


def test_dates_are_compared_by_the_reporting_time_zone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    services, zone = shop.services, "Asia/Tokyo"
    monkeypatch.setenv("SHOPSTREAM_REPORTING_TIME_ZONE", zone)
    # 18:00 UTC is the next morning there.
    shop.sql("update orders set created_at = created_at + interval '10 hours'")
    shop.refresh()

    def compare(zone: str) -> Comparison:
        return compare_sales(services.source, services.store, services.warehouse, FIRST, zone=zone)

    found = compare(zone)
    assert not found.differing
    assert min(found.mart) == day(1)
    assert compare("UTC").differing, "in UTC they are of other days"
    for check, *days in ((equals_the_source, DAYS.first, DAYS.last), (equals_the_source_everywhere,)):
        assert shop.check(check, *days).passed


def test_the_days_of_a_run_are_those_of_its_tags_and_today_has_no_end() -> None:
    now = dt.datetime(2026, 3, 9, 12, tzinfo=dt.UTC)
    assert window_of({}, now) is None
    assert window_of({"dagster/partition": "2026-03-08"}, now) == Window(day(7), day(8))
    span = {"dagster/asset_partition_range_start": "2026-03-08", "dagster/asset_partition_range_end": "2026-03-09"}
    assert window_of(span, now) == Window(day(7), day(9), open_ended=True)
