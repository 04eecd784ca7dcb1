"""What users of the simulated store rely on. Windows are half-open, days are UTC."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import os
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from shops import eur_per_unit

from shopstream_assets.domains.shopstream.simulator import Simulator
from shopstream_assets.domains.shopstream.tables import EVENT_TYPES, ORDER_STATUSES, PLANS, TABLES
from shopstream_assets.platform.declare.tables import MONEY, arrow_schema

START = dt.date(2024, 1, 1)
TABLE = {table.name: table for table in TABLES}
NAMES = tuple(TABLE)


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


@functools.cache
def quarter(scale: float = 1.0, seed: int = 42, start: dt.date = START) -> dict[str, pa.Table]:
    """The first 90 days of every table."""
    simulator = Simulator(start, seed, scale)
    return {name: simulator.changes(name, start, start + dt.timedelta(days=90)) for name in NAMES}


def frame(table: pa.Table) -> pd.DataFrame:
    """Exact values in pandas: identifiers stay integers and money becomes integer cents."""
    for index, field in enumerate(table.schema):
        if field.type == MONEY.arrow:
            cents = pc.cast(pc.multiply(pc.cast(table[field.name], pa.decimal128(18, 2)), 100), pa.int64())
            table = table.set_column(index, field.name, cents)
    return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)


@functools.cache
def frames(scale: float = 1.0) -> dict[str, pd.DataFrame]:
    return {name: frame(table) for name, table in quarter(scale).items()}


def play(simulator: Simulator, name: str, windows: list[tuple[int, int]]) -> dict[int, tuple]:
    """What Postgres holds after upserting the windows in this order, where the cursor is newer."""
    cursor = TABLE[name].cursor
    state: dict[int, tuple] = {}
    for first, last in windows:
        table = simulator.changes(name, day(first), day(last))
        where = table.schema.names.index(cursor)
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if row[0] not in state or row[where] > state[row[0]][where]:
                state[row[0]] = row
    return state


@pytest.mark.parametrize("name", NAMES)
def test_any_order_of_days_repeated_or_as_ranges_ends_in_the_same_state(name: str) -> None:
    in_order = [(d, d + 1) for d in range(45)]
    shuffled = in_order + in_order
    random.Random(7).shuffle(shuffled)
    ranges = [(30, 45), (0, 20), (10, 31), (44, 45)]
    expected = play(Simulator(START, scale=0.2), name, in_order)
    assert expected
    assert play(Simulator(START, scale=0.2), name, shuffled) == expected
    assert play(Simulator(START, scale=0.2), name, ranges) == expected
    assert play(Simulator(START, scale=0.2), name, [(0, 45)]) == expected


@pytest.mark.parametrize("name", ["orders", "events", "users"])
def test_a_later_day_is_the_same_whether_the_days_before_were_asked_for_or_not(name: str) -> None:
    # Volumes are reckoned for 90 days at first, then in blocks of 32.
    played = Simulator(START, scale=0.05, growth=2.0)
    in_order = {number: played.changes(name, day(number), day(number + 1)) for number in range(131)}
    for number in (31, 32, 88, 89, 90, 91, 95, 96, 97, 127, 128, 129):
        alone = Simulator(START, scale=0.05, growth=2.0).changes(name, day(number), day(number + 1))
        assert alone.equals(in_order[number]), number


@pytest.mark.parametrize("name", NAMES)
def test_batches_end_in_the_same_state_as_one_window(name: str) -> None:
    simulator = Simulator(START, scale=0.2)
    batches = list(simulator.batches(name, day(0), day(40), rows=300))
    state: dict[int, dict] = {}
    for row in pa.concat_tables(batches).to_pylist():  # batches come in the order of time
        state[row["id"]] = row
    assert sorted(state) == sorted(simulator.changes(name, day(0), day(40))["id"].to_pylist())
    assert all(state[row["id"]] == row for row in simulator.changes(name, day(0), day(40)).to_pylist())


def test_a_day_reads_the_same_in_another_process_whatever_the_hash_seed() -> None:
    script = (
        "import datetime as dt, hashlib, sys\n"
        "from shopstream_assets.domains.shopstream.simulator import Simulator\n"
        "s, d = Simulator(dt.date(2024, 1, 1), scale=0.5), dt.date(2024, 2, 10)\n"
        "for name in sys.argv[1:]:\n"
        "    rows = s.changes(name, d, d + dt.timedelta(days=2)).to_pylist()\n"
        "    print(hashlib.sha256(repr(rows).encode()).hexdigest())\n"
    )
    simulator, date = Simulator(START, scale=0.5), dt.date(2024, 2, 10)
    # This instance played other days before, the other process none.
    simulator.changes("orders", day(3), day(30))
    here = [
        hashlib.sha256(repr(simulator.changes(n, date, date + dt.timedelta(days=2)).to_pylist()).encode()).hexdigest()
        for n in NAMES
    ]
    environment = os.environ | {"PYTHONHASHSEED": "4711"}
    there = subprocess.run(
        [sys.executable, "-c", script, *NAMES], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert there.stdout.split() == here


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_tells_another_story(name: str) -> None:
    assert not quarter()[name].equals(quarter(seed=43)[name])


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_is_the_declared_one_and_required_columns_are_filled(name: str) -> None:
    table = quarter()[name]
    assert table.schema.equals(arrow_schema(TABLE[name]))
    table.validate(full=True)
    assert not [f.name for f in table.schema if not f.nullable and table[f.name].null_count]
    assert Simulator(START).changes(name, day(-9), day(0)).equals(arrow_schema(TABLE[name]).empty_table())
    assert Simulator(START).changes(name, day(5), day(5)).num_rows == 0


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_unique_sorted_and_their_cursor_lies_in_the_window(name: str) -> None:
    cursor = TABLE[name].cursor
    table = Simulator(START).changes(name, day(20), day(33))
    assert table.num_rows
    low, high = (pd.Timestamp(day(n), tz="UTC") for n in (20, 33))
    assert pc.all(pc.and_(pc.greater_equal(table[cursor], low), pc.less(table[cursor], high))).as_py()
    keys = list(zip(table[cursor].to_pylist(), table["id"].to_pylist(), strict=True))
    assert keys == sorted(keys)
    assert len(set(table["id"].to_pylist())) == table.num_rows
    if cursor == "updated_at":
        assert pc.all(pc.less_equal(table["created_at"], table["updated_at"])).as_py()


def test_an_id_starts_with_its_day_of_creation() -> None:
    for name, rows in frames().items():
        created = rows["occurred_at" if name == "events" else "created_at"]
        date = created.dt.year * 10_000 + created.dt.month * 100 + created.dt.day
        assert (rows["id"] // 10_000_000 == date).all(), name


@pytest.mark.parametrize(("start", "scale"), [(START, 1.0), (dt.date(2025, 10, 1), 1.0), (START, 10.0)])
def test_the_first_ninety_days_hold_the_reference_volumes(start: dt.date, scale: float) -> None:
    rows = {name: table.num_rows / scale for name, table in quarter(scale, 42, start).items()}
    assert rows["users"] == pytest.approx(1_000, rel=0.02)
    assert rows["products"] * scale**0.5 == pytest.approx(400, rel=0.02)
    assert rows["orders"] == pytest.approx(10_000, rel=0.02)
    assert rows["order_items"] == pytest.approx(30_000, rel=0.02)
    assert rows["events"] == pytest.approx(20_000, rel=0.02)
    assert rows["crm_contacts"] == pytest.approx(500, rel=0.02)


def test_a_small_world_works_as_well() -> None:
    simulator = Simulator(START, scale=0.01)
    for name in NAMES:
        assert simulator.changes(name, day(0), day(90)).num_rows > 0


def test_a_total_is_items_minus_discount_plus_shipping_to_the_cent() -> None:
    orders, items = frames()["orders"].set_index("id"), frames()["order_items"]
    lines = (items["unit_price"] * items["quantity"]).groupby(items["order_id"]).sum().reindex(orders.index)
    assert (orders["total_amount"] == lines - orders["discount_amount"] + orders["shipping_amount"]).all()
    assert (orders["discount_amount"] <= lines).all()
    assert (orders["discount_amount"] > 0).mean() == pytest.approx(0.20, abs=0.02)
    assert orders["shipping_amount"][orders["currency"] == "EUR"].nunique() == 4


def test_every_reference_finds_its_row_when_all_days_are_played() -> None:
    ids = {name: set(rows["id"]) for name, rows in frames().items()}
    for name, rows in frames().items():
        for column in TABLE[name].columns:
            if column.references:
                parent = column.references.split(".")[0]
                assert set(rows[column.name].dropna()) <= ids[parent], f"{name}.{column.name}"


def test_nothing_precedes_the_signup_or_the_launch_it_refers_to() -> None:
    users, products = (frames()[name].set_index("id")["created_at"] for name in ("users", "products"))
    for name, cursor in (("orders", "created_at"), ("events", "occurred_at"), ("crm_contacts", "created_at")):
        rows = frames()[name].dropna(subset="user_id")
        assert (rows[cursor].to_numpy() >= users[rows["user_id"]].to_numpy()).all(), name
    for name, cursor in (("order_items", "created_at"), ("events", "occurred_at")):
        rows = frames()[name].dropna(subset="product_id")
        assert (rows[cursor].to_numpy() > products[rows["product_id"]].to_numpy()).all(), name


def test_a_line_is_sold_at_the_price_and_the_cost_that_the_catalogue_then_had() -> None:
    simulator = Simulator(START)
    listed = pd.concat([frame(simulator.changes("products", day(d), day(d + 1))) for d in range(90)])
    sold = _as_listed(frames()["order_items"].sort_values("created_at"), listed)
    assert len(sold) == len(frames()["order_items"])
    currency = frames()["orders"].set_index("id")["currency"]
    paid_in = sold["order_id"].map(currency)
    worth = eur_per_unit(sold.assign(currency=paid_in), frames()["exchange_rates"])
    in_eur = sold["unit_price"].astype(float) * worth
    assert (sold["unit_price"] == sold["price"])[paid_in == "EUR"].all()
    # Half a cent of the currency.
    assert ((in_eur - sold["price"].astype(float)).abs() <= 0.501 * worth).all()
    assert sold["is_active"].all()
    assert (sold["unit_cost"] == sold["cost"]).all()
    now = frames()["products"].set_index("id")["cost"].reindex(sold["product_id"]).to_numpy()
    assert 0.1 < (sold["unit_cost"] != now).mean() < 0.6, "of many products another cost was known later"


def _as_listed(items: pd.DataFrame, listed: pd.DataFrame) -> pd.DataFrame:
    listed = listed.rename(columns={"id": "product_id"})[["product_id", "updated_at", "price", "cost", "is_active"]]
    listed["product_id"] = listed["product_id"].astype("int64")
    items = items.assign(product_id=items["product_id"].astype("int64"))
    return pd.merge_asof(
        items.rename(columns={"updated_at": "line_updated_at"}),
        listed.sort_values("updated_at"),
        left_on="created_at",
        right_on="updated_at",
        by="product_id",
    ).dropna(subset="price")


def test_orders_move_through_their_statuses_on_later_days() -> None:
    simulator = Simulator(START)
    seen = pd.concat([frame(simulator.changes("orders", day(d), day(d + 1))) for d in range(40)])
    assert set(seen["status"]) == set(ORDER_STATUSES)
    history = seen[seen["created_at"] < pd.Timestamp(day(10), tz="UTC")].groupby("id")
    assert history["status"].nunique().ge(3).mean() > 0.9
    assert history["updated_at"].is_monotonic_increasing.all()
    for fixed in ("user_id", "total_amount", "created_at"):
        assert (history[fixed].nunique() == 1).all()
    delivered = seen[seen["status"] == "delivered"]
    days = (delivered["updated_at"] - delivered["created_at"]).dt.total_seconds() / 86400
    assert days.between(3, 11).all()


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("users", "plan"),
        ("users", "email"),
        ("users", "last_name"),
        ("products", "price"),
        ("products", "cost"),
        ("products", "is_active"),
        ("crm_contacts", "lifecycle_stage"),
    ],
)
def test_users_products_and_contacts_change_after_their_creation(name: str, column: str) -> None:
    simulator = Simulator(START)
    seen = pd.concat([frame(simulator.changes(name, day(d), day(d + 1))) for d in range(90)])
    assert (seen.groupby("id")[column].nunique() > 1).sum() >= 3


def test_refunds_and_cancellations_stay_in_proportion() -> None:
    share = frames()["orders"]["status"].value_counts(normalize=True)
    assert 0.02 <= share["refunded"] <= 0.05
    assert share["cancelled"] == pytest.approx(0.03, abs=0.007)
    simulator = Simulator(START, scale=0.5)
    orders = simulator.changes("orders", day(0), day(365)).to_pandas()
    assert 0.02 <= (orders["status"] == "refunded").mean() <= 0.05


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_seven_sessions_in_a_hundred_add_to_the_cart_and_seven_carts_in_ten_are_abandoned(scale: float) -> None:
    events = frames(scale)["events"]
    assert set(events["event_type"]) == set(EVENT_TYPES)
    sessions = {kind: set(rows["session_id"]) for kind, rows in events.groupby("event_type")}
    everyone = events["session_id"].nunique()
    assert len(sessions["add_to_cart"]) / everyone == pytest.approx(0.07, abs=0.005)
    assert 1 - len(sessions["purchase"]) / len(sessions["add_to_cart"]) == pytest.approx(0.70, abs=0.04)
    assert sessions["purchase"] <= sessions["checkout"] <= sessions["add_to_cart"] <= sessions["product_view"]
    assert events.groupby("session_id")["user_id"].first().isna().mean() == pytest.approx(0.5, abs=0.03)


def test_a_purchase_belongs_to_an_order_of_its_user_whose_product_was_viewed_and_carted() -> None:
    events, orders, items = (frames(5.0)[name] for name in ("events", "orders", "order_items"))
    bought = events[events["event_type"] == "purchase"].merge(orders, left_on="order_id", right_on="id")
    assert len(bought) == (events["event_type"] == "purchase").sum() > 500
    assert bought["order_id"].is_unique
    assert (bought["user_id_x"] == bought["user_id_y"]).all()
    assert (bought["occurred_at"] - bought["created_at"] == pd.Timedelta(seconds=1)).all()
    lines = set(zip(items["order_id"], items["product_id"], strict=True))
    order_of = dict(zip(bought["session_id"], bought["order_id"], strict=True))
    steps = events[events["session_id"].isin(order_of)]
    for kind in ("add_to_cart", "product_view"):
        touched = steps[steps["event_type"] == kind]
        of_order = [
            (order_of[s], p) in lines for s, p in zip(touched["session_id"], touched["product_id"], strict=True)
        ]
        assert set(touched["session_id"][of_order]) == set(order_of)
    last = steps.sort_values("occurred_at").groupby("session_id")["event_type"].last()
    assert (last == "purchase").all()


def test_every_user_has_one_signup_event_at_the_moment_of_creation() -> None:
    events, users = frames()["events"], frames()["users"].set_index("id")
    signups = events[events["event_type"] == "signup"].set_index("user_id")
    assert signups.index.is_unique
    assert set(signups.index) == set(users.index)
    assert (signups["occurred_at"] == users["created_at"].reindex(signups.index)).all()
    first = events.groupby("session_id")["event_type"].first()
    assert (first[signups["session_id"]] == "signup").all()


def test_a_session_has_one_visitor_a_uuid_and_does_not_cross_midnight() -> None:
    sessions = frames()["events"].groupby("session_id")
    assert (sessions["user_id"].nunique(dropna=False) == 1).all()
    assert (sessions["occurred_at"].min().dt.date == sessions["occurred_at"].max().dt.date).all()
    assert (
        pd.Series(list(sessions.groups))
        .str.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
        .all()
    )


def test_properties_are_json_with_device_referrer_and_page() -> None:
    for text in frames()["events"]["properties"].head(3000):
        properties = json.loads(text)
        assert set(properties) == {"device", "referrer", "page"}
        assert properties["page"].startswith("/")


def test_emails_and_skus_are_unique_and_addresses_reach_nobody() -> None:
    rows = frames(5.0)
    assert rows["users"]["email"].is_unique
    assert rows["crm_contacts"]["email"].is_unique
    assert rows["products"]["sku"].is_unique
    for name in ("users", "crm_contacts"):
        assert rows[name]["email"].str.fullmatch(r"[a-z0-9.\-]+@example\.(com|org|net)").all()


def test_categories_of_values_are_the_declared_ones() -> None:
    users, orders = frames()["users"], frames()["orders"]
    assert set(users["plan"]) == set(PLANS)
    assert {"FR", "US", "DE", "ES", "GB"} <= set(users["country"])
    assert users["country"].str.fullmatch("[A-Z]{2}").all()
    country = orders["user_id"].map(users.set_index("id")["country"])
    expected = country.map({"CA": "CAD", "CH": "CHF", "GB": "GBP", "US": "USD"}).fillna("EUR")
    assert (orders["currency"] == expected).mean() > 0.99
    assert set(orders["currency"]) == {"EUR", "CAD", "CHF", "GBP", "USD"}


@pytest.mark.parametrize("start", [START, dt.date(2024, 1, 6), dt.date(2024, 1, 7)])
def test_a_rate_of_each_currency_holds_on_every_day_and_moves_by_little(start: dt.date) -> None:
    rates = frame(Simulator(start).changes("exchange_rates", start, start + dt.timedelta(days=90)))
    dates = pd.to_datetime(rates["valid_from"])
    assert not rates.duplicated(["currency", "valid_from"]).any()
    # The first holds before the store's first day, in zones behind UTC too; the others from the day after.
    assert dates.min() < pd.Timestamp(start)
    later = rates[dates > pd.Timestamp(start)]
    made = later["created_at"].dt.tz_localize(None).dt.normalize()
    assert (pd.to_datetime(later["valid_from"]) == made + pd.Timedelta(days=1)).all()
    assert (made.dt.weekday < 5).all()
    for _, of in rates.groupby("currency"):
        moves = np.diff(np.log(of.sort_values("valid_from")["eur_per_unit"].astype(float)))
        assert 0 < np.abs(moves).max() < 0.02


def test_few_products_and_few_customers_make_most_of_the_sales() -> None:
    orders, items = frames()["orders"], frames()["order_items"]
    by_product = items.groupby("product_id").size().sort_values(ascending=False)
    assert 0.5 < by_product.head(80).sum() / len(items) < 0.85
    by_customer = orders.groupby("user_id").size().sort_values(ascending=False)
    assert 0.5 < by_customer.head(200).sum() / len(orders) < 0.8


def test_most_first_orders_come_hours_to_weeks_after_signing_up() -> None:
    users: Any = frames(5.0)["users"].set_index("id")
    orders: Any = frames(5.0)["orders"]
    first = orders.groupby("user_id")["created_at"].min()
    waited = (first - users["created_at"].reindex(first.index)) / pd.Timedelta(hours=1)
    assert waited.min() > 0
    assert waited.quantile(0.25) > 2
    assert 8 < waited.median() < 72
    assert waited.quantile(0.9) > 7 * 24


def test_customers_buy_less_as_they_age() -> None:
    rows = frames(5.0)
    users = rows["users"].set_index("id")["created_at"]
    month = users[users < pd.Timestamp(day(30), tz="UTC")]
    orders = rows["orders"][rows["orders"]["user_id"].isin(month.index)]
    age = (orders["created_at"].to_numpy() - month[orders["user_id"]].to_numpy()) / pd.Timedelta(days=1)
    first, second, third = ((age >= low) & (age < low + 20) for low in (0, 20, 40))
    assert first.sum() > second.sum() > third.sum() > 0


def test_costs_stay_below_prices_and_start_at_forty_to_seventy_five_percent() -> None:
    products = frames(5.0)["products"]
    assert (products["cost"] < products["price"]).all()
    new = products[products["created_at"] == products["updated_at"]]
    assert (new["cost"] / new["price"]).between(0.39, 0.75).all()
    assert products["category"].nunique() == 9


def test_orders_follow_the_season_and_the_week() -> None:
    simulator = Simulator(START)
    orders = simulator.changes("order_items", day(0), day(366)).to_pandas()
    daily = orders.groupby(orders["created_at"].dt.date)["order_id"].nunique()
    november = daily[[dt.date(2024, 11, 20) + dt.timedelta(days=n) for n in range(14)]].mean()
    august = daily[[dt.date(2024, 8, 5) + dt.timedelta(days=n) for n in range(14)]].mean()
    assert november > 1.4 * august
    by_weekday = daily.groupby([date.weekday() for date in daily.index]).mean()
    assert by_weekday[0] > by_weekday[4]


@functools.cache
def year(growth: float = 1.0) -> dict[str, Any]:
    """A year of twice the reference volume."""
    simulator = Simulator(START, scale=2.0, growth=growth)
    names = ("users", "products", "orders", "order_items")
    rows: dict[str, Any] = {name: simulator.changes(name, day(0), day(366)).to_pandas() for name in names}
    categories = rows["products"].set_index("id")["category"]
    rows["order_items"]["category"] = rows["order_items"]["product_id"].map(categories)
    return rows


def per_day(rows: Any, first: int, last: int) -> float:
    created = rows["created_at"]
    return float(created.between(*(pd.Timestamp(day(n), tz="UTC") for n in (first, last))).sum()) / (last - first)


def test_orders_follow_the_customers_and_no_single_day_brings_most_of_them() -> None:
    orders, users = year()["orders"], year()["users"]
    assert per_day(orders, 0, 3) < 0.6 * per_day(orders, 60, 90)
    assert per_day(users, 0, 1) < 6 * per_day(users, 60, 90)
    assert per_day(users, 0, 7) > per_day(users, 7, 14) > per_day(users, 30, 60)


def test_growth_brings_so_many_times_the_customers_a_year_later_and_their_orders() -> None:
    same, grown = year(), year(growth=3.0)
    assert len(grown["users"]) == pytest.approx(1.5 * len(same["users"]), rel=0.15)
    more = [per_day(grown[name], 340, 366) / per_day(same[name], 340, 366) for name in ("users", "orders")]
    assert more[0] == pytest.approx(3.0 / 1.13, rel=0.1)  # the first 90 days hold the same, of 1.13 as many a day
    assert 1.3 < more[1] < more[0]


def test_each_category_has_its_season() -> None:
    sold = year()["order_items"]
    share: Any = pd.crosstab(sold["created_at"].dt.month, sold["category"], normalize="index")
    assert share.loc[12, "Toys"] > 1.7 * share.loc[7, "Toys"]
    assert share.loc[5, "Garden"] > 1.7 * share.loc[10, "Garden"]
    assert share.loc[1, "Sports"] > 1.2 * share.loc[5, "Sports"]
    november = sold[sold["created_at"].dt.date.between(dt.date(2024, 11, 24), dt.date(2024, 11, 30))]
    assert (november["category"] == "Electronics").mean() > 1.4 * share.loc[5, "Electronics"]


def test_refunds_differ_by_category_and_stay_the_same_in_the_whole() -> None:
    orders = year()["orders"].set_index("id")
    lines = year()["order_items"]
    refunded = (orders["status"] == "refunded").reindex(lines["order_id"]).to_numpy()
    by_category: Any = pd.Series(refunded).groupby(lines["category"].to_numpy()).mean()
    assert by_category.idxmax() == "Fashion"
    assert by_category["Fashion"] > 1.8 * by_category["Grocery"]
    assert 0.03 < (orders["status"] == "refunded").mean() < 0.04


def test_some_lines_of_an_order_that_is_kept_come_back_by_themselves() -> None:
    orders, lines = year()["orders"].set_index("id"), year()["order_items"]
    status = orders["status"].reindex(lines["order_id"]).to_numpy()
    is_first = ~lines.sort_values("id").duplicated("order_id").reindex(lines.index)
    back = lines["returned_quantity"] > 0
    assert 0.01 < back[~is_first].mean() < 0.03
    assert not back[is_first].any(), "something of each order is kept"
    assert set(status[back]) == {"delivered"}
    amount = lines["quantity"] * lines["unit_price"]
    assert (lines["returned_quantity"] <= lines["quantity"]).all()
    assert (lines["returned_amount"][back] <= amount[back]).all()
    assert (lines["returned_amount"] > 0)[back & (amount > 0)].all()
    assert not lines["returned_amount"][~back].any()
    discounted = orders["discount_amount"].reindex(lines["order_id"]).to_numpy() > 0
    price = lines["returned_quantity"] * lines["unit_price"]
    assert (lines["returned_amount"] == price)[back & ~discounted].all()
    assert (lines["returned_amount"] < price)[back & discounted].all()
    by_category = back.groupby(lines["category"]).mean()
    assert by_category["Fashion"] > 1.5 * by_category["Grocery"]
    # A line changes once, when it comes back, and is told of then.
    assert ((lines["updated_at"] > lines["created_at"]) == back).all()


def test_a_basket_holds_more_of_one_category_than_chance_would() -> None:
    lines = year()["order_items"]
    two = lines.groupby("order_id")["category"].agg(["first", "nunique", "size"]).query("size == 2")
    by_chance = (lines["category"].value_counts(normalize=True) ** 2).sum()
    assert (two["nunique"] == 1).mean() > by_chance + 0.25


def test_promotions_bring_discounts_on_their_days() -> None:
    orders = year()["orders"]
    dates, discounted = orders["created_at"].dt.date, orders["discount_amount"] > 0
    for first, last in ((dt.date(2024, 1, 8), dt.date(2024, 1, 17)), (dt.date(2024, 11, 25), dt.date(2024, 12, 2))):
        assert discounted[dates.between(first, last)].mean() == pytest.approx(0.55, abs=0.03)
    assert discounted[dates.between(dt.date(2024, 3, 1), dt.date(2024, 5, 31))].mean() == pytest.approx(0.16, abs=0.01)


def test_people_pay_as_their_country_does() -> None:
    orders = year()["orders"]
    paid: Any = pd.crosstab(orders["shipping_country"], orders["payment_method"], normalize="index")
    assert paid.loc["DE", "invoice"] > 0.15 > 0.05 > paid.loc["FR", "invoice"]
    assert paid.loc["FR", "card"] > 0.55 > 0.3 > paid.loc["DE", "card"]
    assert paid.loc["BE", "bank_transfer"] > 5 * paid.loc["ES", "bank_transfer"]


def test_people_shop_by_their_own_clocks() -> None:
    users, orders = year()["users"].set_index("id")["country"], year()["orders"]
    for country, zone in (("FR", "Europe/Paris"), ("US", "America/Chicago")):
        of_country = orders[(users.reindex(orders["user_id"]) == country).to_numpy()]
        hours = of_country["created_at"].dt.tz_convert(zone).dt.hour.value_counts(normalize=True)
        assert hours[[2, 3, 4]].sum() < 0.03
        assert hours[[18, 19, 20]].sum() > 0.17


def test_a_day_of_outage_comes_in_every_quarter_of_a_year() -> None:
    daily = year()["orders"].groupby(year()["orders"]["created_at"].dt.date).size()
    usual = daily.rolling(15, center=True, min_periods=8).median()
    out = [date for date, share in (daily / usual).items() if share < 0.5]
    assert len([date for date in out if date > day(10)]) == 4


def test_a_table_the_store_does_not_have_is_named_in_the_error() -> None:
    with pytest.raises(KeyError, match=r"invoices.*orders"):
        Simulator(START).changes("invoices", day(0), day(1))


@pytest.mark.parametrize(
    ("seed", "scale", "growth"), [(-1, 1.0, 1.0), (1, 0.0, 1.0), (1, float("nan"), 1.0), (1, 1.0, 0.0)]
)
def test_impossible_settings_are_refused(seed: int, scale: float, growth: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        Simulator(START, seed, scale, growth)
