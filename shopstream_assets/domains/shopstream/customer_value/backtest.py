"""How well the projection would have done: fitted to the past, compared with what came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shopstream_assets.domains.shopstream.customer_value.history import SEGMENTS, Shop, segments
from shopstream_assets.domains.shopstream.customer_value.market import SEASON_FROM_DAYS
from shopstream_assets.domains.shopstream.customer_value.model import HORIZON_DAYS, CustomerValue

# The part that comes after: a third of what is known, a year at most.
SHARE = 3
# What is judged: before that nobody can tell a season from a trend, and few orders tell nothing but chance.
JUDGED_ORDERS = 200
TOTAL_WITHIN, SEGMENT_WITHIN = 0.10, 0.25
# Of a rate per customer: one order in the first minute would be half a million a year.
LEAST_DAYS = 30.0
ALL = "all"


@dataclass(frozen=True)
class Compared:
    """Orders of one segment, or of all: expected, come, and what two simpler ways would have expected.

    `last_period`: everybody orders as often as in the same time before. `flat_rate`: everybody goes on at their own
    rate since they came.
    """

    segment: str
    customers: int
    predicted: float
    came: int
    last_period: float
    flat_rate: float

    def error(self, predicted: float) -> float | None:
        """By how much a figure is too high, as a share of what came; None where nothing came."""
        return predicted / self.came - 1 if self.came else None


@dataclass(frozen=True)
class Backtest:
    """A comparison over `days` (the last of the history); `error` is the standard error of the total."""

    history_days: float
    days: float
    compared: tuple[Compared, ...]
    standard_error: float

    @property
    def total(self) -> Compared:
        """All customers together."""
        return self.compared[0]

    @property
    def is_judged(self) -> bool:
        """Whether a whole year lay before what was predicted."""
        return self.history_days - self.days >= SEASON_FROM_DAYS

    @property
    def faults(self) -> list[str]:
        """What is further off than it may be; nothing where the history is too short to say."""
        if not self.is_judged:
            return []
        total, found = self.total, []
        error, chance = total.predicted - total.came, 2 * self.standard_error
        if abs(error) > max(TOTAL_WITHIN * total.came, chance):
            found.append(
                f"{total.predicted:,.0f} orders were predicted and {total.came:,} came, further apart than "
                f"{TOTAL_WITHIN:.0%} and than chance ({chance:,.0f})"
            )
        for one in self.compared[1:]:
            if one.came >= JUDGED_ORDERS and abs(one.predicted - one.came) > SEGMENT_WITHIN * one.came:
                found.append(
                    f"{one.segment}: {one.predicted:,.0f} were predicted and {one.came:,} came, further apart than "
                    f"{SEGMENT_WITHIN:.0%}"
                )
        for name, simpler in (("the last period again", total.last_period), ("a flat rate", total.flat_rate)):
            if abs(simpler - total.came) < abs(error) and total.came >= JUDGED_ORDERS:
                found.append(f"{name} ({simpler:,.0f}) would have been nearer to the {total.came:,} that came")
        return found


def backtest(shop: Shop) -> Backtest | None:
    """Fit to all but the last third (a year at most), and compare; None where there is not even a week to predict."""
    history = shop.until - shop.begin
    days = min(HORIZON_DAYS, np.floor(history / SHARE))
    if days < 7:
        return None
    past = shop.at(shop.until - days)
    model = CustomerValue.fit(past)
    projection = model.project(past, days)
    _, error = model.total(past, projection, days)
    came = _by_customer(shop, past.until, shop.until, past.customer_ids)
    last_period = _by_customer(shop, past.until - days, past.until, past.customer_ids)
    known_since = np.fmin(past.signed_up, past.first_order)
    flat_rate = past.orders / np.maximum(past.until - known_since, LEAST_DAYS) * days
    segment = segments(past)
    compared = [
        Compared(
            name,
            int(those.sum()),
            float(projection.orders[those].sum()),
            int(came[those].sum()),
            float(last_period[those].sum()),
            float(flat_rate[those].sum()),
        )
        for name, those in ((ALL, np.ones(len(segment), dtype=bool)), *((name, segment == name) for name in SEGMENTS))
        if those.any()
    ]
    return Backtest(history, days, tuple(compared), error) if compared else None


def _by_customer(shop: Shop, begin: float, end: float, ids: np.ndarray) -> np.ndarray:
    """Sales of these customers within [begin, end]."""
    within = (
        (shop.ordered >= begin) & (shop.ordered <= end)
        if end >= shop.until
        else ((shop.ordered >= begin) & (shop.ordered < end))
    )
    return np.bincount(shop.buyer[within], minlength=len(shop.customer_ids))[np.searchsorted(shop.customer_ids, ids)]
