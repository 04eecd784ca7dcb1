"""Orders and their lines: who buys what, what it comes to, and how an order moves from pending to its end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from shopstream_assets.domains.shopstream.simulator.calendar import events, is_promotion
from shopstream_assets.domains.shopstream.simulator.catalogue import Catalogue
from shopstream_assets.domains.shopstream.simulator.currencies import CODES, CURRENCY_OF_COUNTRY, Currencies
from shopstream_assets.domains.shopstream.simulator.people import People
from shopstream_assets.domains.shopstream.tables import ORDER_ITEMS, ORDERS
from shopstream_assets.simulation import arrow
from shopstream_assets.simulation.names import COUNTRIES, COUNTRY_CODES
from shopstream_assets.simulation.world import (
    CLOSING,
    DAY,
    HOUR,
    MINUTE,
    NEVER,
    SECOND,
    Columns,
    Volume,
    World,
    choose,
    choose_by,
    concatenated,
    latest,
    rows_of,
)

ORDERS_PER_90_DAYS = 10_000
# Lines of a basket (mean 3.0) and units of a line (mean 1.2). Of the further lines so many are of the first one's
# category: people come for something.
LINE_SHARES = (0.23, 0.24, 0.20, 0.14, 0.08, 0.06, 0.03, 0.02)
SAME_CATEGORY = 0.35
QUANTITY_SHARES = (0.84, 0.12, 0.04)
# Of the orders in a promotion, and of the others.
DISCOUNTED, DISCOUNTED_IN_PROMOTION = 0.16, 0.55
DISCOUNT_PERCENTS = np.array([5, 10, 15, 20, 30])
FREE_SHIPPING_FROM = 80_00
# Shipping in cents up to so many units; beyond, the last.
SHIPPING_UNITS, SHIPPING_CENTS = np.array([2, 5]), np.array([4_90, 6_90, 9_90])
GIFT = 0.03
PAYMENT_METHODS = ("card", "paypal", "bank_transfer", "apple_pay", "invoice")
# Where people pay by invoice or PayPal rather than by card; the others pay as in the first line.
PAYMENT_SHARES = (0.64, 0.20, 0.04, 0.10, 0.02)
PAYMENT_SHARES_OF = {
    "DE": (0.18, 0.42, 0.12, 0.06, 0.22),
    "AT": (0.24, 0.38, 0.12, 0.06, 0.20),
    "CH": (0.36, 0.18, 0.08, 0.10, 0.28),
    "US": (0.66, 0.16, 0.01, 0.17, 0.00),
    "GB": (0.60, 0.22, 0.02, 0.16, 0.00),
    "BE": (0.38, 0.18, 0.34, 0.08, 0.02),
}
_PAYMENTS = np.array([PAYMENT_SHARES_OF.get(code, PAYMENT_SHARES) for code in COUNTRY_CODES])

CANCELLED = 0.03
REFUNDED = 0.037
# Of the lines of an order that is kept, but for its first, which people came for.
RETURNED = 0.02
# Days an order keeps changing at most: paid within 1, shipped within 3, delivered within 7, refunded within 14.
LIFETIME_DAYS = 25
STATUSES = ("pending", "paid", "cancelled", "shipped", "delivered", "refunded")
DELIVERED, REFUNDED_AT = STATUSES.index("delivered"), STATUSES.index("refunded")


@dataclass(frozen=True)
class DayOrders:
    """The orders created on one day, by time, and their lines; a line names its order by position."""

    orders: Columns
    items: Columns


class Orders:
    """The orders of a world. The days last generated are kept, as many as an order lives and a little more."""

    _KEPT_DAYS = 2 * LIFETIME_DAYS

    def __init__(self, world: World, people: People, catalogue: Catalogue, currencies: Currencies) -> None:
        self._world = world
        self._people = people
        self._catalogue = catalogue
        self._currencies = currencies
        self._volume = Volume(
            world,
            "orders",
            ORDERS_PER_90_DAYS * world.scale,
            moved_by=lambda days: people.demand(days) * events(world, days),
        )
        self._kept: dict[int, DayOrders] = {}

    def created_on(self, day: int) -> DayOrders:
        """The orders placed on `day`."""
        if day not in self._kept:
            while len(self._kept) >= self._KEPT_DAYS:
                del self._kept[next(iter(self._kept))]
            self._kept[day] = self._make(day)
        return self._kept[day]

    def _make(self, day: int) -> DayOrders:
        rng = self._world.rng("orders", day)
        n = self._volume.on(day)
        who = self._people.shoppers(rng, day, n)
        created = self._people.visit_times(rng, day, who, CLOSING)
        by_time = np.argsort(created, kind="stable")
        who, created = who[by_time], created[by_time]
        users = self._people.cohorts.until(day)

        home = users["country"][who]
        currency = CURRENCY_OF_COUNTRY[home]
        items = self._baskets(rng, day, created, currency)
        starts = np.searchsorted(items["order"], np.arange(n))
        items_total = np.add.reduceat(items["quantity"] * items["price"], starts) if n else np.zeros(0, np.int64)
        units = np.add.reduceat(items["quantity"], starts) if n else np.zeros(0, np.int64)
        discounted = DISCOUNTED_IN_PROMOTION if is_promotion(self._world.date_of(day)) else DISCOUNTED
        percent = np.where(rng.random(n) < discounted, rng.choice(DISCOUNT_PERCENTS, n), 0)
        discount = items_total * percent // 100
        shipping = self._currencies.in_cents(SHIPPING_CENTS[np.searchsorted(SHIPPING_UNITS, units)], currency, day)
        free_from = self._currencies.in_cents(np.full(n, FREE_SHIPPING_FROM), currency, day)
        shipping = np.where(items_total - discount >= free_from, 0, shipping)
        elsewhere = rng.integers(len(COUNTRIES), size=n)
        # An order comes back as often as its lines do in the mean.
        comes_back = np.add.reduceat(self._catalogue.refunds(day, items["product"]), starts) if n else np.zeros(0)
        lines = np.diff(np.append(starts, len(items["order"])))
        moments = _life(rng, created, REFUNDED * comes_back / lines)
        items |= self._returns(day, items, moments, percent)
        orders: Columns = {
            "id": self._world.ids(day, n),
            "user": who,
            "user_id": users["id"][who],
            "created": created,
            "currency": currency,
            "moments": moments,
            "discount": discount,
            "shipping": shipping,
            "total": items_total - discount + shipping,
            "country": np.where(rng.random(n) < GIFT, elsewhere, home).astype(np.int8),
            "payment": choose_by(rng, _PAYMENTS, home).astype(np.int8),
        }
        return DayOrders(orders, items)

    def _baskets(self, rng: np.random.Generator, day: int, created: np.ndarray, currency: np.ndarray) -> Columns:
        """Lines of the day's orders, each order's products distinct, at their price then, in its currency.

        The cost is in EUR, in cents as the price is.
        """
        n, widest = len(created), len(LINE_SHARES)
        lines = choose(rng, LINE_SHARES, n) + 1
        products = self._catalogue.sold(rng, day, n * widest).reshape(n, widest)
        order, line = np.nonzero(rng.random((n, widest - 1)) < SAME_CATEGORY)
        products[order, line + 1] = self._catalogue.sold_beside(rng, day, products[order, 0])
        for _ in range(4):
            order, line = np.nonzero(_repeated(products))
            products[order, line] = self._catalogue.sold(rng, day, len(order))
        # What still repeats after four redraws (a few lines in a million, or a nearly empty catalogue) is left out.
        order, line = np.nonzero((np.arange(widest) < lines[:, None]) & ~_repeated(products))
        product = products[order, line]
        price, cost = self._catalogue.prices_and_costs(day, product, created[order])
        return {
            "id": self._world.ids(day, len(order)),
            "order": order,
            "product": product,
            "quantity": choose(rng, QUANTITY_SHARES, len(order)) + 1,
            "price": self._currencies.in_cents(price, currency[order], day),
            "cost": cost,
        }

    def _returns(self, day: int, items: Columns, moments: np.ndarray, percent: np.ndarray) -> Columns:
        """Units of each line that come back by themselves, what is given back for them, and when; `NEVER` for most."""
        rng = self._world.rng("returns", day)
        n, order = len(items["order"]), items["order"]
        back_after = rng.integers(DAY, 14 * DAY, size=n)
        units = np.minimum(items["quantity"], rng.integers(1, 3, size=n))
        is_first = np.diff(order, prepend=-1) != 0
        delivered, refunded = moments[order, DELIVERED], moments[order, REFUNDED_AT]
        chosen = rng.random(n) < RETURNED * self._catalogue.refunds(day, items["product"])
        comes_back = chosen & ~is_first & (delivered < NEVER) & (refunded == NEVER)
        return {
            "returned": np.where(comes_back, np.where(comes_back, delivered, 0) + back_after, NEVER),
            "returned_quantity": units,
            "returned_amount": units * items["price"] * (100 - percent[order]) // 100,
        }

    def changes(self, first: int, last: int) -> pa.Table:
        """Orders placed or moved on days `first` to `last` excluded, as they stood at the end."""
        low, high = self._world.midnight(first), self._world.midnight(last)
        parts = []
        for day in range(max(0, first - LIFETIME_DAYS), last):
            orders = self.created_on(day).orders
            updated = latest(orders["moments"], high)
            parts.append(rows_of(orders | {"updated": updated}, np.flatnonzero(updated >= low)))
        rows = concatenated(parts)
        rows = rows_of(rows, arrow.order(rows["updated"], rows["id"]))
        status = np.argmax(rows["moments"] == rows["updated"][:, None], axis=1)
        return arrow.table(
            ORDERS,
            {
                "id": rows["id"],
                "user_id": rows["user_id"],
                "status": arrow.picked(STATUSES, status),
                "currency": arrow.picked(CODES, rows["currency"]),
                "discount_amount": arrow.money(rows["discount"]),
                "shipping_amount": arrow.money(rows["shipping"]),
                "total_amount": arrow.money(rows["total"]),
                "shipping_country": arrow.picked(COUNTRY_CODES, rows["country"]),
                "payment_method": arrow.picked(PAYMENT_METHODS, rows["payment"]),
                "created_at": arrow.timestamps(rows["created"]),
                "updated_at": arrow.timestamps(rows["updated"]),
            },
        )

    def item_changes(self, first: int, last: int) -> pa.Table:
        """Lines placed or returned on days `first` to `last` excluded, as they stood at the end."""
        low, high = self._world.midnight(first), self._world.midnight(last)
        parts = []
        for day in range(max(0, first - LIFETIME_DAYS), last):
            made = self.created_on(day)
            order = made.items["order"]
            created = made.orders["created"][order]
            is_back = made.items["returned"] < high
            placed = {
                "order_id": made.orders["id"][order],
                "product": self._catalogue.ids(day, made.items["product"]),
                "created": created,
                "updated": np.where(is_back, made.items["returned"], created),
                "is_back": is_back,
            }
            parts.append(rows_of(made.items | placed, np.flatnonzero(placed["updated"] >= low)))
        rows = concatenated(parts)
        rows = rows_of(rows, arrow.order(rows["updated"], rows["id"]))
        return arrow.table(
            ORDER_ITEMS,
            {
                "id": rows["id"],
                "order_id": rows["order_id"],
                "product_id": rows["product"],
                "quantity": rows["quantity"].astype(np.int32),
                "unit_price": arrow.money(rows["price"]),
                "unit_cost": arrow.money(rows["cost"]),
                "returned_quantity": np.where(rows["is_back"], rows["returned_quantity"], 0).astype(np.int32),
                "returned_amount": arrow.money(np.where(rows["is_back"], rows["returned_amount"], 0)),
                "created_at": arrow.timestamps(rows["created"]),
                "updated_at": arrow.timestamps(rows["updated"]),
            },
        )


def _repeated(products: np.ndarray) -> np.ndarray:
    """Which cells of a (orders, lines) matrix repeat a product of an earlier line of their order."""
    repeated = np.zeros(products.shape, dtype=bool)
    for line in range(1, products.shape[1]):
        repeated[:, line] = (products[:, :line] == products[:, [line]]).any(axis=1)
    return repeated


def _life(rng: np.random.Generator, created: np.ndarray, refunded_share: np.ndarray) -> np.ndarray:
    """When an order enters each of `STATUSES`, as a matrix of moments, `NEVER` for those it skips.

    Paid minutes to hours later (log-normal, median 12 min), shipped 1 to 3 days after that, delivered 2 to 7 days after
    shipping. 3 % are cancelled, half of them for want of payment; each is refunded with the chance `refunded_share`, 1
    to 14 days after delivery. In the mean that is 3.7 %, so that 2 to 5 % of all orders are refunded even when the
    youngest are still on their way.
    """
    n = len(created)
    fate = rng.random(n)
    unpaid, called_off = fate < CANCELLED / 2, (fate >= CANCELLED / 2) & (fate < CANCELLED)
    cancelled, refunded = unpaid | called_off, fate >= 1 - refunded_share
    paid = created + np.clip(rng.lognormal(np.log(12 * MINUTE), 1.3, n), 20 * SECOND, DAY).astype(np.int64)
    shipped = paid + rng.integers(DAY, 3 * DAY, size=n)
    delivered = shipped + rng.integers(2 * DAY, 7 * DAY, size=n)
    given_back = delivered + rng.integers(DAY, 14 * DAY, size=n)
    given_up = np.where(
        unpaid, created + rng.integers(HOUR, 2 * DAY, size=n), paid + rng.integers(30 * MINUTE, 20 * HOUR, size=n)
    )
    return np.stack(
        (
            created,
            np.where(unpaid, NEVER, paid),
            np.where(cancelled, given_up, NEVER),
            np.where(cancelled, NEVER, shipped),
            np.where(cancelled, NEVER, delivered),
            np.where(refunded, given_back, NEVER),
        ),
        axis=1,
    )
