"""Real input: two years of orders that nobody here made, from Postgres to the marts, against pandas on the files.

olist.py says how Olist's files become the shop's tables. What is expected is computed here, from the files themselves.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import olist
import pandas as pd
import pytest
from shop import Report, Shop, open_shop

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.checks import figures
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.domains.shopstream.sales_comparison import compare_sales

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "olist"
FIRST_DAY, LAST_DAY = "2016-09-04", "2018-10-17"
# The younger days first: many an order of theirs has its customer or product, and many a line its order, in the others.
LATE, EARLY = ("2018-01-11", LAST_DAY), (FIRST_DAY, "2018-01-10")
NO_SALE, REFUNDED = ("created", "canceled"), "unavailable"
MONEY = ["gross_revenue", "discount_amount", "refunded_amount", "net_revenue"]
CELL = ["month", "shipping_country", "product_category"]

pytestmark = [pytest.mark.skipif(not DATA.is_dir(), reason=f"Olist's data is not in {DATA}"), pytest.mark.long]


@pytest.fixture(scope="module")
def files() -> olist.Files:
    return olist.Files.read(DATA)


@pytest.fixture(scope="module")
def rows(files: olist.Files) -> Mapping[str, pd.DataFrame]:
    return olist.tables(files)


@dataclass(frozen=True)
class Result:
    """The shop after its whole history was materialized, its days out of order, and what the last run says."""

    shop: Shop
    report: Report


@pytest.fixture(scope="module")
def whole(rows: Mapping[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Result]:
    with open_shop(tmp_path_factory.mktemp("whole"), rows, FIRST_DAY) as shop:
        _, report = shop.backfill(LATE, EARLY)
        yield Result(shop, report)


@pytest.fixture(scope="module")
def lines(files: olist.Files) -> pd.DataFrame:
    """The files joined: a row per line, and one per order without lines; amounts in whole cents."""
    price = olist.cents(files.items["price"])
    position = files.items["order_item_id"].astype("int64")
    priced = files.items.assign(line_cents=price, position=position, gross_revenue=price, units=1)
    found = files.orders.merge(files.customers, on="customer_id").merge(priced, on="order_id", how="left")
    found[["gross_revenue", "units"]] = found[["gross_revenue", "units"]].fillna(0).astype("int64")
    is_sale, is_refunded = ~found["order_status"].isin(NO_SALE), found["order_status"] == REFUNDED
    found["is_sale"] = is_sale
    found["gross_revenue"] *= is_sale
    found["units"] *= is_sale
    found["units_refunded"] = found["units"] * is_refunded
    found["discount_amount"] = 0
    found["refunded_amount"] = found["gross_revenue"] * is_refunded
    found["net_revenue"] = found["gross_revenue"] - found["refunded_amount"]
    found["order_date"] = pd.to_datetime(found["order_purchase_timestamp"]).dt.date
    found["month"] = found["order_purchase_timestamp"].str[:7]
    found["shipping_country"] = found["customer_state"]
    found["product_category"] = found["product_id"].map(files.categories).fillna(olist.UNKNOWN)
    return found


def in_cents(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its amounts as whole cents."""
    return table.assign(**{name: table[name].map(lambda amount: int(amount * 100)) for name in MONEY})


def totals(table: pd.DataFrame, by: list[str], measures: list[str]) -> pd.DataFrame:
    return table.groupby(by)[measures].sum().astype("int64").sort_index()


def test_sales_per_month_state_and_category_are_those_of_the_files(whole: Result, lines: pd.DataFrame) -> None:
    mart = in_cents(whole.shop.table("MARTS.MART_SALES_OVERVIEW"))
    mart["month"] = mart["order_date"].map(lambda day: f"{day:%Y-%m}")
    counts = ["orders_placed", "orders", "orders_with_category"]
    found = totals(mart, CELL, [*counts, "units", "units_refunded", *MONEY])

    # An order counts once, in the category of its dearest line; as `with` in each category that it has a line in.
    counted = lines.sort_values(["line_cents", "position"], ascending=[False, True])
    counted["orders_placed"] = (~counted.duplicated("order_id")).astype("int64")
    counted["orders"] = counted["orders_placed"] * counted["is_sale"]
    counted["orders_with_category"] = ~counted.duplicated(["order_id", "product_category"]) & counted["is_sale"]
    expected = totals(counted, CELL, [*counts, "units", "units_refunded", *MONEY])
    pd.testing.assert_frame_equal(found, expected, check_names=False)
    assert len(expected) > 3_000
    assert (expected[["orders", "units_refunded", "net_revenue"]].sum() > 0).all()


def test_an_order_in_several_categories_counts_once_in_the_number_of_orders(whole: Result, lines: pd.DataFrame) -> None:
    mart = whole.shop.table("MARTS.MART_SALES_OVERVIEW")
    found = totals(mart, ["order_date", "shipping_country"], ["orders"])["orders"]

    orders = lines.drop_duplicates("order_id")
    expected = orders.groupby(["order_date", "shipping_country"])["is_sale"].sum().sort_index()
    pd.testing.assert_series_equal(found, expected, check_names=False)


def test_sales_of_every_product_are_those_of_the_files(whole: Result, lines: pd.DataFrame, files: olist.Files) -> None:
    mart = in_cents(whole.shop.table("MARTS.MART_PRODUCT_PERFORMANCE")).set_index("sku")
    found = mart[["product_category", "orders", "units", "units_refunded", *MONEY]].sort_index()

    sold = lines.dropna(subset="product_id")
    orders = sold[sold["is_sale"]].groupby("product_id")["order_id"].nunique()
    expected = totals(sold, ["product_id"], ["units", "units_refunded", *MONEY])
    expected.insert(0, "product_category", files.categories)
    expected.insert(1, "orders", orders.reindex(expected.index, fill_value=0))
    pd.testing.assert_frame_equal(found, expected, check_names=False)


def test_every_customer_has_the_orders_and_the_revenue_of_the_files(whole: Result, lines: pd.DataFrame) -> None:
    mart = whole.shop.table("MARTS.MART_CUSTOMER_LTV").set_index("customer_id").sort_index()
    found = pd.DataFrame(
        {
            "orders": mart["orders"],
            "net_revenue": mart["net_revenue"].map(lambda amount: int(amount * 100)),
            "first_order_date": mart["first_order_date"],
            "last_order_date": mart["last_order_date"],
        }
    )

    sales = lines[lines["is_sale"]].groupby("customer_unique_id")
    customers = pd.Index(sorted(lines["customer_unique_id"].unique()))
    expected = pd.DataFrame(
        {
            "orders": sales["order_id"].nunique(),
            "net_revenue": sales["net_revenue"].sum(),
            "first_order_date": sales["order_date"].min(),
            "last_order_date": sales["order_date"].max(),
        }
    ).reindex(customers)
    expected[["orders", "net_revenue"]] = expected[["orders", "net_revenue"]].fillna(0).astype("int64")
    # Customers are numbered by their hash.
    expected.index = pd.RangeIndex(1, len(customers) + 1)
    missing = expected["first_order_date"].isna()
    expected = expected.astype(object).mask(expected.isna(), None)
    pd.testing.assert_frame_equal(
        found.astype(object).mask(found.isna(), None), expected, check_names=False, check_index_type=False
    )
    assert 0 < missing.sum() < len(expected)
    assert set(mart["country"]) == {"BR"}


def test_no_row_is_lost_or_added_on_the_way_to_the_facts(whole: Result, files: olist.Files) -> None:
    orders, items = whole.shop.table("CORE.FACT_ORDERS"), whole.shop.table("CORE.FACT_ORDER_ITEMS")
    sizes = {name: len(whole.shop.table(f"CORE.{name}")) for name in ("DIM_CUSTOMERS", "DIM_PRODUCTS", "FACT_EVENTS")}
    freight = olist.cents(files.items["freight_value"]).sum()
    price = olist.cents(files.items["price"]).sum()

    assert (len(orders), orders["order_id"].nunique()) == (len(files.orders),) * 2
    assert (len(items), items["line_id"].nunique()) == (len(files.items),) * 2
    assert sizes == {
        "DIM_CUSTOMERS": files.customers["customer_unique_id"].nunique(),
        "DIM_PRODUCTS": len(files.products),
        "FACT_EVENTS": 0,
    }
    assert int(orders["shipping_amount"].sum() * 100) == freight
    assert int(orders["items_amount"].sum() * 100) == int(items["line_amount"].sum() * 100) == price
    assert int(orders["total_amount"].sum() * 100) == price + freight
    statuses = files.orders["order_status"].map(olist.STATUSES).value_counts().to_dict()
    assert orders["status"].value_counts().to_dict() == statuses


def test_all_checks_pass_but_freshness_which_warns_of_an_old_shop(whole: Result) -> None:
    checks = whole.report["checks"]
    assert sorted(checks) == sorted(whole.report["planned_checks"])

    failed = {name: check for name, check in checks.items() if not check["passed"]}
    tables = ("users", "products", "orders", "order_items", "events", "crm_contacts", "exchange_rates")
    late = {name for name in checks if name.endswith(": newest_day_arrived")}
    assert set(failed) == {f"postgres/{table}: fresh" for table in tables} | late
    assert late
    assert all(check["warns"] and not check["blocking"] for check in failed.values())
    assert failed["postgres/events: fresh"]["description"] == "the table is empty"
    assert "days" in failed["postgres/orders: fresh"]["description"]


def test_the_sales_mart_equals_postgres_on_every_date(
    whole: Result, lines: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = whole.report["checks"]["marts/mart_sales_overview: equals_the_source"]
    assert check["passed"]
    assert check["blocking"]
    for name, value in whole.shop.variables.items():
        monkeypatch.setenv(name, value)
    services = Services.of(SHOPSTREAM)
    found = compare_sales(services.source, services.store, services.warehouse, dt.date.fromisoformat(FIRST_DAY))

    assert not found.faults
    orders = lines.drop_duplicates("order_id")
    sales, revenue = int(orders["is_sale"].sum()), pytest.approx(lines["net_revenue"].sum() / 100)
    assert figures(found) == {
        "orders": sales,
        "orders_in_the_mart": sales,
        "orders_in_quarantine": 0,
        "lines_in_quarantine": 0,
        "net_revenue_eur": revenue,
        "net_revenue_in_the_mart_eur": revenue,
        "net_revenue_in_quarantine_eur": 0,
        "dates_compared": orders["order_date"].nunique(),
        "dates_not_settled": 0,
    }
