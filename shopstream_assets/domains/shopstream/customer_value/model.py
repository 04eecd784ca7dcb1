"""The models together: fitted to a shop, and projected over the year to come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from shopstream_assets.domains.shopstream.customer_value import first_order, repeats, spend
from shopstream_assets.domains.shopstream.customer_value.first_order import FirstOrder, waited
from shopstream_assets.domains.shopstream.customer_value.history import Shop
from shopstream_assets.domains.shopstream.customer_value.market import Calendar
from shopstream_assets.domains.shopstream.customer_value.repeats import Counted, Repeats
from shopstream_assets.domains.shopstream.customer_value.spend import Spend

HORIZON_DAYS = 365
# Intervals reach from the 10 % to the 90 % quantile.
LEVEL = 0.8
_SIGMAS = float(special.ndtri(0.5 + LEVEL / 2))
# A first order still to come is taken to come in the middle of so many days.
FIRST_ORDER_STEP = 14.0
# Refunds come within weeks: orders younger than that have not had theirs.
REFUNDED_WITHIN_DAYS = 30.0


@dataclass(frozen=True)
class Projection:
    """What is expected of each customer (n, as in the shop) within the horizon, from the shop's `until` on.

    `alive`: probability that they are still a customer; without an order yet, that they ever will be one. `low` and
    `high`: the interval that holds `LEVEL`. Margin is nan where the shop knows no costs.
    """

    alive: np.ndarray
    orders: np.ndarray
    orders_variance: np.ndarray
    orders_low: np.ndarray
    orders_high: np.ndarray
    revenue: np.ndarray
    margin: np.ndarray
    margin_low: np.ndarray
    margin_high: np.ndarray


@dataclass(frozen=True)
class CustomerValue:
    """The fitted models of a shop; `kept`: share of what was ordered that was not refunded."""

    repeats: Repeats
    first: FirstOrder
    spend: Spend
    orders_per_purchase: float
    kept: float

    @classmethod
    def fit(cls, shop: Shop) -> CustomerValue:
        """Fit everything to a shop. Deterministic; a shop that is nearly empty has the priors."""
        settled = shop.ordered < shop.until - REFUNDED_WITHIN_DAYS
        if not shop.amount[settled].sum():
            settled = np.ones(len(shop.ordered), dtype=bool)
        ordered = shop.amount[settled].sum()
        again = repeats.fit(shop.buyers, Calendar(shop.begin, shop.until))
        return cls(
            repeats=again,
            first=first_order.fit(shop, again.pace(0.0)),
            spend=spend.fit(shop.orders, shop.amounts),
            orders_per_purchase=shop.buyers.orders_per_purchase,
            kept=float(shop.kept[settled].sum() / ordered) if ordered else 1.0,
        )

    @property
    def named(self) -> dict[str, float]:
        """All parameters by name."""
        own = {"orders_per_purchase": self.orders_per_purchase, "kept": self.kept}
        return {**self.repeats.named, **self.first.named, **self.spend.named, **own}

    def project(self, shop: Shop, days: float = HORIZON_DAYS) -> Projection:
        """What each customer of the shop that the models were fitted to will order within `days`."""
        count = len(shop.customer_ids)
        orders, buyers = shop.orders, shop.buyers
        alive, mean, variance, none, low, high = (np.zeros(count) for _ in range(6))
        alive[buyers.row] = self.repeats.alive(buyers)
        counted = self.repeats.counted(buyers, days)
        waiting = np.flatnonzero(orders == 0)
        now = np.full(len(waiting), shop.until)
        alive[waiting] = self.first.will_order(waited(self.repeats.pace(0.0), shop.signed_up[waiting], now))
        for rows, found in (
            (buyers.row, counted),
            (waiting, self._beginning(shop.signed_up[waiting], shop.until, days)),
        ):
            mean[rows], variance[rows], none[rows] = found.mean, found.variance, found.none
            low[rows], high[rows] = found.low, found.high
        # The mean by weeks, where the distribution has months.
        mean[buyers.row] = self.repeats.expected(buyers, days)
        per_purchase = self.orders_per_purchase
        mean, variance = mean * per_purchase, variance * per_purchase**2
        revenue, second = self.spend.next_orders(orders, shop.amounts, mean, variance)
        money_low, money_high = _money_interval(none, revenue, second)
        margin = self.kept * shop.margin_rate
        ends = (margin * money_low, margin * money_high)
        return Projection(
            alive=alive,
            orders=mean,
            orders_variance=variance,
            orders_low=np.round(low * per_purchase),
            orders_high=np.round(high * per_purchase),
            revenue=self.kept * revenue,
            margin=margin * revenue,
            margin_low=np.minimum(*ends),
            margin_high=np.maximum(*ends),
        )

    def total(self, shop: Shop, projection: Projection, days: float = HORIZON_DAYS) -> tuple[float, float]:
        """Orders expected of all customers together, and the standard error of that figure.

        It holds what customers do by chance, how well the data tell the parameters of the repeats (to first order),
        and, before a year has been seen, that the season is unknown; not that the shop may change its ways.
        """
        step = 1e-3
        slope = np.array(
            [
                sum(
                    sign * self.repeats.expected(shop.buyers, days, self.repeats.parameters + sign * move).sum()
                    for sign in (1, -1)
                )
                for move in step * np.eye(len(self.repeats.parameters))
            ]
        ) * (self.orders_per_purchase / (2 * step))
        total = float(projection.orders.sum())
        variance = projection.orders_variance.sum() + slope @ self.repeats.covariance @ slope
        variance += (total * self.repeats.calendar.unknown_season) ** 2
        return total, float(np.sqrt(variance))

    def _beginning(self, signed_up: np.ndarray, now: float, days: float) -> Counted:
        """Purchases of customers who have not bought yet: the first, and its repeats."""
        edges = np.append(np.arange(0.0, days, FIRST_ORDER_STEP), days)
        waiting = self.first.waiting(waited(self.repeats.pace(days), signed_up[:, None], now + edges))
        waiting /= waiting[:, :1]
        middle = now + (edges[1:] + edges[:-1]) / 2
        return self.repeats.counted_from_first(signed_up, middle, -np.diff(waiting, axis=1), now + days)


def _money_interval(none: np.ndarray, mean: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 10 % and 90 % quantiles of an amount that is 0 with probability `none`, else Gamma.

    `mean` and `second` moment are those of the amount. The Gamma is an approximation: of a sum of some Gammas.
    """
    some = np.maximum(1 - none, 1e-12)
    centre = mean / some
    variance = np.maximum(second / some - centre**2, 1e-12 * np.maximum(centre, 1e-12) ** 2)
    shape = np.clip(np.divide(centre**2, variance), 1e-6, 1e9)

    def quantile(level: float) -> np.ndarray:
        above = np.clip((level - none) / some, 0, 1)
        return np.where(above > 0, special.gammaincinv(shape, above) * centre / shape, 0.0)

    return quantile((1 - LEVEL) / 2), quantile((1 + LEVEL) / 2)


def interval(total: float, error: float) -> tuple[float, float]:
    """The interval that holds LEVEL around a total with this standard error; never below 0."""
    return max(total - _SIGMAS * error, 0.0), total + _SIGMAS * error
