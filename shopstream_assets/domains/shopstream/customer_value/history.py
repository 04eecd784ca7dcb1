"""What a shop knows of its customers at a moment: when they signed up, what they bought and when."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Orders of one customer less than an hour apart are one purchase, told in several orders: a basket that was split, or
# something forgotten. No model of separate purchases describes them (in Olist's sample a quarter of all repeats).
ONE_PURCHASE_DAYS = 1 / 24

SEGMENTS = ("champions", "loyal", "new_or_promising", "needs_attention", "at_risk", "hibernating", "no_orders")


@dataclass(frozen=True)
class Shop:
    """Customers and their sales. Times are days since 1970-01-01 00:00 UTC, as floats; amounts are of one currency.

    - `customer_ids` (n): ascending; `signed_up` (n): nan where it is unknown.
    - of each sale, by time within a customer (m): `buyer`, its customer's row; `ordered`, when; `amount`, what was
      ordered less discount; `kept`, what of that was not refunded.
    - `until`: the moment up to which all of it is known.
    - `margin_rate`: margin per net revenue; nan where no cost is known.
    """

    customer_ids: np.ndarray
    signed_up: np.ndarray
    buyer: np.ndarray
    ordered: np.ndarray
    amount: np.ndarray
    kept: np.ndarray
    until: float
    margin_rate: float = float("nan")

    @classmethod
    def of(
        cls,
        customers: tuple[np.ndarray, np.ndarray],
        sales: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
        until: float,
        margin_rate: float = float("nan"),
    ) -> Shop:
        """From customers (id, signed up) and sales (customer id, ordered, amount, kept), in any order.

        A customer of a sale who is not among the customers is one of unknown sign-up.
        """
        ids, signed_up = customers
        who, ordered, amount, kept = sales
        all_ids = np.union1d(ids, who).astype(np.int64)
        known = np.full(len(all_ids), np.nan)
        known[np.searchsorted(all_ids, ids)] = signed_up
        buyer = np.searchsorted(all_ids, who)
        by_time = np.lexsort((amount, ordered, buyer))
        return cls(
            all_ids,
            known,
            buyer[by_time],
            ordered[by_time],
            amount[by_time],
            kept[by_time],
            until,
            margin_rate,
        )

    def at(self, moment: float) -> Shop:
        """What was known at an earlier moment: the customers who had come by then, and the sales before it."""
        then = self.ordered < moment
        here = self.signed_up < moment
        here[self.buyer[then]] = True
        row = np.cumsum(here) - 1
        return Shop(
            self.customer_ids[here],
            np.where(self.signed_up < moment, self.signed_up, np.nan)[here],
            row[self.buyer[then]],
            self.ordered[then],
            self.amount[then],
            self.kept[then],
            moment,
            self.margin_rate,
        )

    @property
    def begin(self) -> float:
        """The first midnight (UTC) of which anything is known."""
        moments = np.concatenate((self.signed_up[~np.isnan(self.signed_up)], self.ordered, [self.until]))
        return float(np.floor(moments.min()))

    @property
    def orders(self) -> np.ndarray:
        """Sales of each customer (n)."""
        return np.bincount(self.buyer, minlength=len(self.customer_ids))

    @property
    def amounts(self) -> np.ndarray:
        """What each customer ordered in all (n)."""
        return np.bincount(self.buyer, self.amount, minlength=len(self.customer_ids))

    @property
    def first_order(self) -> np.ndarray:
        """When each customer ordered first (n); inf where they have not."""
        first = np.full(len(self.customer_ids), np.inf)
        np.minimum.at(first, self.buyer, self.ordered)
        return first

    @cached_property
    def buyers(self) -> Buyers:
        """The customers with a sale."""
        return Buyers.of(self)


@dataclass(frozen=True)
class Buyers:
    """The purchases of those who bought, each counted from the first: what the models of repeats are fitted to.

    - `row` (k): the customer's row in the shop; `first` (k): when they bought first (days since 1970).
    - `repeats` (k): purchases after the first; `recency` (k): days from the first to the last; `age` (k): days from the
      first until now. In the literature's letters: x, t_x and T.
    - `signed_up` (k): when they signed up, where that was before the first purchase; else the moment of the first.
    - of each repeat (j): `who`, its position among the buyers; `moment`, when (days since 1970).
    - `orders_per_purchase`: of the whole shop.
    """

    row: np.ndarray
    first: np.ndarray
    repeats: np.ndarray
    recency: np.ndarray
    age: np.ndarray
    signed_up: np.ndarray
    who: np.ndarray
    moment: np.ndarray
    orders_per_purchase: float

    @classmethod
    def of(cls, shop: Shop) -> Buyers:
        """The buyers of a shop."""
        begins = np.ones(len(shop.buyer), dtype=bool)
        begins[1:] = (shop.buyer[1:] != shop.buyer[:-1]) | (np.diff(shop.ordered) >= ONE_PURCHASE_DAYS)
        buyer, moment = shop.buyer[begins], shop.ordered[begins]
        row, start, count = np.unique(buyer, return_index=True, return_counts=True)
        first, last = moment[start], moment[start + count - 1]
        again = np.ones(len(buyer), dtype=bool)
        again[start] = False
        return cls(
            row=row,
            first=first,
            repeats=(count - 1).astype(float),
            recency=last - first,
            age=shop.until - first,
            signed_up=np.fmin(shop.signed_up[row], first),
            who=np.repeat(np.arange(len(row)), count)[again],
            moment=moment[again],
            orders_per_purchase=len(shop.buyer) / len(buyer) if len(buyer) else 1.0,
        )

    def some(self, chosen: np.ndarray | slice) -> Buyers:
        """Those at these positions (ascending)."""
        place = np.full(len(self.row), -1)
        place[chosen] = np.arange(len(self.row[chosen]))
        kept = place[self.who] >= 0
        return Buyers(
            row=self.row[chosen],
            first=self.first[chosen],
            repeats=self.repeats[chosen],
            recency=self.recency[chosen],
            age=self.age[chosen],
            signed_up=self.signed_up[chosen],
            who=place[self.who[kept]],
            moment=self.moment[kept],
            orders_per_purchase=self.orders_per_purchase,
        )


def evenly(count: int, most: int) -> np.ndarray:
    """Positions of at most so many of `count`, ascending and spread evenly."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def segments(shop: Shop) -> np.ndarray:
    """The RFM segment of each customer (n), as mart_customer_ltv has it: by quintiles of last order day and orders."""
    found = np.full(len(shop.customer_ids), "no_orders", dtype="<U20")
    buyers = np.flatnonzero(shop.orders)
    if not len(buyers):
        return found
    last = np.zeros(len(shop.customer_ids))
    np.maximum.at(last, shop.buyer, np.floor(shop.ordered))
    recency, frequency = (_quintile(values[buyers]) for values in (last, shop.orders))
    found[buyers] = np.select(
        [
            (recency >= 4) & (frequency >= 4),
            (recency >= 3) & (frequency >= 3),
            recency >= 4,
            recency == 3,
            frequency >= 3,
        ],
        ["champions", "loyal", "new_or_promising", "needs_attention", "at_risk"],
        "hibernating",
    )
    return found


def _quintile(values: np.ndarray) -> np.ndarray:
    rank = np.searchsorted(np.sort(values), values)
    return 1 + 5 * rank // len(values)
