"""A small store and its staging log, drawn from a seed, with every figure the marts show computed in plain Python.

Nothing here knows dbt or SQL: it is the second opinion that the models are compared with.
"""

from __future__ import annotations

import datetime as dt
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Any

Row = dict[str, Any]
Log = dict[str, dict[dt.date, list[Row]]]

START = dt.date(2026, 3, 1)
DAYS = 8
SALES = ("paid", "shipped", "delivered", "refunded")
CURSOR = defaultdict(lambda: "updated_at", events="occurred_at")
CENT = Decimal("0.01")
CONTEXTS = ('{"device": "mobile"}', '{"device": "desktop", "referrer": "friend"}', "{}")


def at(day: int, seconds: int = 0) -> dt.datetime:
    """A moment `seconds` into the store's day number `day` (UTC, naive as in the warehouse)."""
    return dt.datetime.combine(START + dt.timedelta(days=day), dt.time()) + dt.timedelta(seconds=seconds)


def partition_of(table: str, row: Mapping[str, Any]) -> dt.date:
    """The day of change a row belongs to."""
    moment: dt.datetime = row[CURSOR[table]]
    return moment.date()


def user(id: int, day: int = 0, **values: Any) -> Row:
    moment = at(day)
    defaults = {
        "email": f"u{id}@example.com",
        "first_name": "Ada",
        "last_name": "L",
        "country": "FR",
        "plan": "free",
        "acquisition_channel": "organic",
        "created_at": moment,
        "updated_at": moment,
    }
    return {"id": id, **defaults, **values}


def product(id: int, day: int = 0, **values: Any) -> Row:
    moment = at(day)
    defaults = {
        "sku": f"SKU-{id}",
        "name": f"Product {id}",
        "category": "books",
        "price": Decimal("10.00"),
        "cost": Decimal("4.00"),
        "is_active": True,
        "created_at": moment,
        "updated_at": moment,
    }
    return {"id": id, **defaults, **values}


def order(id: int, day: int = 0, **values: Any) -> Row:
    moment = at(day, 3600)
    defaults = {
        "user_id": 1,
        "status": "paid",
        "currency": "EUR",
        "discount_amount": Decimal("0.00"),
        "shipping_amount": Decimal("4.90"),
        "total_amount": Decimal("0.00"),
        "shipping_country": "FR",
        "payment_method": "card",
        "created_at": moment,
        "updated_at": moment,
    }
    return {"id": id, **defaults, **values}


def line(id: int, order_id: int, day: int = 0, **values: Any) -> Row:
    moment = at(day, 3600)
    defaults = {
        "product_id": 1,
        "quantity": 1,
        "unit_price": Decimal("10.00"),
        "unit_cost": None,
        "returned_quantity": None,
        "returned_amount": None,
        "created_at": moment,
        "updated_at": moment,
    }
    return {"id": id, "order_id": order_id, **defaults, **values}


def event(id: int, kind: str, day: int = 0, **values: Any) -> Row:
    defaults = {
        "user_id": 1,
        "session_id": "s1",
        "product_id": None,
        "order_id": None,
        "properties": '{"device": "mobile"}',
        "occurred_at": at(day, 1800),
    }
    return {"id": id, "event_type": kind, **defaults, **values}


def rate(id: int, day: int = 0, **values: Any) -> Row:
    """A rate that holds from the store's day number `day` on."""
    moment = at(day)
    defaults = {
        "currency": "USD",
        "valid_from": moment.date(),
        "eur_per_unit": Decimal("0.90000000"),
        "created_at": moment,
        "updated_at": moment,
    }
    return {"id": id, **defaults, **values}


def contact(id: int, day: int = 0, **values: Any) -> Row:
    moment = at(day)
    defaults = {
        "user_id": None,
        "email": f"c{id}@example.com",
        "company": None,
        "lead_source": "web",
        "lifecycle_stage": "lead",
        "owner": "Sam",
        "created_at": moment,
        "updated_at": moment,
    }
    return {"id": id, **defaults, **values}


def log_of(versions: Mapping[str, Iterable[Row]]) -> Log:
    """The log in which every version given was extracted on its own day."""
    log: Log = {}
    for table, rows in versions.items():
        partitions = log.setdefault(table, {})
        for row in rows:
            partitions.setdefault(partition_of(table, row), []).append(row)
    return log


def latest(log: Log, table: str) -> dict[int, Row]:
    """The latest version of every row of a table."""
    rows: dict[int, Row] = {}
    for partition in log.get(table, {}).values():
        for row in partition:
            known = rows.get(row["id"])
            if known is None or row[CURSOR[table]] >= known[CURSOR[table]]:
                rows[row["id"]] = row
    return rows


def busy_store(seed: int) -> Log:
    """A few hundred rows over DAYS days with everything that makes history move.

    Status changes, refunds and cancellations on later days, lines of which some comes back, products that change
    category, customers who change country, a line that moves to another order, an order that moves to another customer,
    orders without lines, lines without orders, customers and products that are missing, orders in other currencies,
    some of them without a rate, and a rate that is corrected.
    """
    draw = random.Random(seed)
    last = DAYS - 1
    versions: dict[str, list[Row]] = defaultdict(list)

    for id in range(1, 31):
        day = draw.randrange(DAYS)
        row = user(
            id,
            day,
            country=draw.choice(["FR", "DE"]),
            acquisition_channel=draw.choice(["ads", "organic"]),
        )
        versions["users"].append(row)
        if id % 5 == 0:
            versions["users"].append({**row, "country": "IT", "updated_at": at(draw.randint(day, last), 4000)})
        if id % 6 == 0:
            versions["crm_contacts"].append(contact(id, day, user_id=id, company=f"Company {id}"))

    for id in range(1, 9):
        row = product(id, category=draw.choice(["books", "games", "tools"]), cost=Decimal(draw.randint(100, 900)) / 100)
        versions["products"].append(row)
        if id % 3 == 0:
            versions["products"].append({**row, "category": "moved", "updated_at": at(draw.randint(1, last), 4000)})

    # Pounds have none on the first two days.
    versions["exchange_rates"] = [
        rate(1),
        rate(2, 3, eur_per_unit=Decimal("0.91234567")),
        rate(2, 3, eur_per_unit=Decimal("0.88"), updated_at=at(5)),
        rate(3, 2, currency="GBP", eur_per_unit=Decimal("1.15")),
        rate(4, 4, currency="GBP", eur_per_unit=Decimal("1.16")),
    ]

    line_id = 0
    for id in range(1, 81):
        day = draw.randrange(DAYS)
        row = order(
            id,
            day,
            user_id=draw.randint(1, 32),
            status="pending",
            discount_amount=Decimal(draw.choice([0, 0, 1, 333, 1000])) / 100,
            shipping_country=draw.choice(["FR", "DE", "IT"]),
            currency=draw.choice(["EUR", "EUR", "USD", "GBP"]),
        )
        versions["orders"].append(row)
        for step, status in enumerate(draw.choice([("paid", "shipped"), ("paid", "refunded"), ("cancelled",), ()])):
            changed = at(min(last, day + draw.randint(0, 3)), 7200 + 600 * step)
            row = {**row, "status": status, "updated_at": max(changed, row["updated_at"] + dt.timedelta(seconds=1))}
            if id % 20 == 0:
                row["user_id"] = draw.randint(1, 30)
            versions["orders"].append(row)
        for _ in range(draw.choice([0, 1, 2, 3]) if id % 10 == 0 else draw.choice([1, 2, 3])):
            line_id += 1
            item = line(
                line_id,
                id,
                day,
                product_id=draw.randint(1, 9),
                quantity=draw.randint(1, 3),
                unit_price=Decimal(draw.choice([0, 1, 999, 1250, 3333])) / 100,
                unit_cost=draw.choice([None, Decimal("1.11")]),
            )
            versions["order_items"].append(item)
            if line_id % 4 == 0:
                back = draw.randint(0, item["quantity"])
                given_back = back * item["unit_price"] * draw.choice([50, 100]) / 100
                item = {
                    **item,
                    "returned_quantity": back,
                    "returned_amount": given_back.quantize(CENT, ROUND_DOWN),
                    "updated_at": at(draw.randint(day, last), 4500),
                }
                versions["order_items"].append(item)
            if line_id % 25 == 0:
                moved = {**item, "order_id": draw.randint(1, 80), "updated_at": at(last, 5000)}
                versions["order_items"].append(moved)
    versions["order_items"].append(line(line_id + 1, 9999, 2))

    for id in range(1, 201):
        kind = draw.choice(["page_view", "product_view", "product_view", "add_to_cart", "checkout", "purchase"])
        versions["events"].append(
            event(
                id,
                kind,
                draw.randrange(DAYS),
                user_id=draw.choice([None, *range(1, 32)]),
                session_id=f"s{draw.randint(1, 60)}",
                product_id=draw.randint(1, 9) if kind in ("product_view", "add_to_cart") else None,
                order_id=draw.randint(1, 80) if kind == "purchase" else None,
                properties=draw.choice(CONTEXTS),
            )
        )
    return log_of(versions)


def shares(discount: Decimal, amounts: list[Decimal]) -> list[Decimal]:
    """The discount over the lines, in order, by cumulative rounding (half a cent goes up)."""
    total = sum(amounts, Decimal(0))
    if total == 0:
        main = 0
        return [discount if index == main else Decimal(0) for index in range(len(amounts))]
    shared, result, running = Decimal(0), [], Decimal(0)
    for amount in amounts:
        running += amount
        cents = (200 * discount * running * 100 + total * 100) // (2 * total * 100)
        result.append(cents * CENT - shared)
        shared = cents * CENT
    return result


def in_eur(amount: Decimal, per_unit: Decimal) -> Decimal:
    """To the cent; half a cent goes up."""
    return (amount * per_unit).quantize(CENT, ROUND_HALF_UP)


def eur_per_unit(log: Log, currency: str, date: dt.date) -> Decimal | None:
    """The latest rate by then."""
    if currency == "EUR":
        return Decimal(1)
    of = [row for row in latest(log, "exchange_rates").values() if row["currency"] == currency]
    return max(
        ((row["valid_from"], row["id"], row["eur_per_unit"]) for row in of if row["valid_from"] <= date),
        default=(None, None, None),
    )[2]


SalesKey = tuple[dt.date, str, str]


def sales_overview(log: Log) -> dict[SalesKey, dict[str, Any]]:
    """What mart_sales_overview must hold, by (order date, country, category)."""
    orders, products = latest(log, "orders"), latest(log, "products")
    lines: dict[int, list[Row]] = defaultdict(list)
    for item in sorted(latest(log, "order_items").values(), key=lambda row: row["id"]):
        lines[item["order_id"]].append(item)

    counts = ("orders_placed", "orders", "orders_with_category", "units", "units_refunded", "units_without_cost")
    money = ("gross_revenue", "discount_amount", "refunded_amount", "net_revenue", "net_revenue_with_cost")
    figures: dict[SalesKey, dict[str, Any]] = defaultdict(
        lambda: {**dict.fromkeys(counts, 0), **dict.fromkeys(money, Decimal(0)), "margin": None}
    )
    buyers: dict[SalesKey, set[int]] = defaultdict(set)
    for id, head in orders.items():
        items = lines.get(id, [])
        per_unit = eur_per_unit(log, head["currency"], head["created_at"].date())
        sold_at = Decimal(0) if per_unit is None else per_unit
        amounts = [in_eur(item["quantity"] * item["unit_price"], sold_at) for item in items] or [Decimal(0)]
        discount = in_eur(head["discount_amount"], sold_at)
        main = max(range(len(amounts)), key=lambda index: (amounts[index], -index))
        sale = head["status"] in SALES and per_unit is not None
        seen = set()
        for index, (amount, share) in enumerate(zip(amounts, shares(discount, amounts), strict=True)):
            item = items[index] if items else {"product_id": None, "quantity": 0}
            back = item.get("returned_quantity") or 0
            given_back = in_eur(item.get("returned_amount") or Decimal(0), sold_at)
            if head["status"] == "refunded":
                back, given_back = item["quantity"], amount - share
            bought = products.get(item["product_id"], {"category": "unknown", "cost": None})
            category = bought["category"]
            cost = bought["cost"] if item.get("unit_cost") is None else item["unit_cost"]
            key = head["created_at"].date(), head["shipping_country"], category
            row = figures[key]
            row["orders_placed"] += index == main
            row["orders"] += sale and index == main
            row["orders_with_category"] += sale and category not in seen
            if sale:
                buyers[key].add(head["user_id"])
            seen.add(category)
            kept = item["quantity"] - back if sale else 0
            net = amount - share - given_back if sale else Decimal(0)
            if kept and cost is None:
                row["units_without_cost"] += kept
            else:
                row["net_revenue_with_cost"] += net
                row["margin"] = (row["margin"] or 0) + net - kept * (cost or 0)
            if sale:
                row["units"] += item["quantity"]
                row["gross_revenue"] += amount
                row["discount_amount"] += share
                row["net_revenue"] += net
                row["units_refunded"] += back
                row["refunded_amount"] += given_back
    return {key: {**row, "buyers_with_category": len(buyers[key])} for key, row in figures.items()}


Key = tuple[dt.date, str, str]


def session_funnel(log: Log) -> dict[Key, tuple[int, ...]]:
    """What mart_session_funnel must hold, by (day, device, referrer).

    Sessions; of them with a view, a cart, a checkout, a purchase; and with a cart but no purchase.
    """
    sessions: dict[str, list[Row]] = defaultdict(list)
    for seen in sorted(latest(log, "events").values(), key=lambda row: (row["occurred_at"], row["id"])):
        sessions[seen["session_id"]].append(seen)
    counts: dict[Key, list[int]] = defaultdict(lambda: [0] * 6)
    for events in sessions.values():
        said = json.loads(events[0]["properties"])
        kinds = {seen["event_type"] for seen in events}
        row = counts[events[0]["occurred_at"].date(), said.get("device", "unknown"), said.get("referrer", "unknown")]
        row[0] += 1
        for step, kind in enumerate(("product_view", "add_to_cart", "checkout", "purchase"), start=1):
            row[step] += kind in kinds
        row[5] += "add_to_cart" in kinds and "purchase" not in kinds
    return {key: tuple(row) for key, row in counts.items()}


def signup_conversion(log: Log) -> dict[Key, tuple[int, ...]]:
    """What mart_signup_conversion must hold, by (day, country, channel).

    Signed up; ordered within 7, 30, 90 days; and whether all of them have had 7, 30, 90 days.
    """
    users, orders = latest(log, "users").values(), latest(log, "orders").values()
    newest = max(row["updated_at"] for row in [*users, *orders]).date()
    counts: dict[Key, list[int]] = defaultdict(lambda: [0] * 4)
    for customer in users:
        signed_up = customer["created_at"]
        row = counts[signed_up.date(), customer["country"], customer["acquisition_channel"]]
        row[0] += 1
        after = [
            placed["created_at"] - signed_up
            for placed in orders
            if placed["user_id"] == customer["id"] and placed["created_at"] >= signed_up
        ]
        for window, days in enumerate((7, 30, 90), start=1):
            row[window] += any(passed < dt.timedelta(days=days) for passed in after)
    return {key: (*row, *(key[0] + dt.timedelta(days=n) < newest for n in (7, 30, 90))) for key, row in counts.items()}
