"""What an order is worth, by customer: the Gamma-Gamma model.

Values of a customer's orders are Gamma(p, v) distributed, and v differs between customers as Gamma(q, g): M. Colombo
and W. Jiang, "A Stochastic RFM Model", Journal of Interactive Marketing 13(3), 1999, in the form of P. S. Fader and
B. G. S. Hardie, "The Gamma-Gamma Model of Monetary Value" (2013). After n orders of z on average a customer's next is
expected to be worth p (g + n z) / (p n + q - 1): their own average, drawn towards everybody's. The value of an order is
taken to have nothing to do with how often a customer orders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from shopstream_assets.domains.shopstream.customer_value.history import evenly

NAMES = ("spend_p", "spend_q", "spend_g")
# Above two, so that the variance of a new customer's order is finite.
_LEAST_Q = 2.05
_SPREAD = 2.0
FITTED_CUSTOMERS = 20_000


@dataclass(frozen=True)
class Spend:
    """A fitted model; `g` is in the currency of the orders."""

    p: float
    q: float
    g: float

    @property
    def named(self) -> dict[str, float]:
        """The parameters by name."""
        return dict(zip(NAMES, (self.p, self.q, self.g), strict=True))

    def next_order(self, orders: np.ndarray, amount: np.ndarray) -> np.ndarray:
        """Value expected of the next order of customers who ordered `orders` times for `amount` in all."""
        return self.p * (self.g + amount) / (self.p * orders + self.q - 1)

    def next_orders(
        self, orders: np.ndarray, amount: np.ndarray, mean: np.ndarray, variance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and second moment of what the next orders come to, where their number has this mean and variance."""
        rest, grown = self.p * orders + self.q, self.g + amount
        first, second = grown / (rest - 1), grown**2 / ((rest - 1) * (rest - 2))
        return mean * self.p * first, (mean * self.p + (variance + mean**2) * self.p**2) * second


def fit(orders: np.ndarray, amount: np.ndarray) -> Spend:
    """The most likely parameters, given a weak prior, of customers with `orders` sales for `amount` in all."""
    paid = (orders > 0) & (amount > 0)
    orders, amount = orders[paid].astype(float), amount[paid].astype(float)
    if not len(orders):
        return Spend(1.0, 3.0, 0.0)
    chosen = evenly(len(orders), FITTED_CUSTOMERS)
    orders, amount = orders[chosen], amount[chosen]
    # Values vary by about as much as their mean, and customers by half of theirs.
    centre = np.log((2.0, 4.0, 1.5 * amount.sum() / orders.sum()))

    def minus(parameters: np.ndarray) -> float:
        p, q, g = np.exp(parameters)
        n = p * orders
        log_likelihood = (
            special.betaln(q, n) * -1 + q * np.log(g) + (n - 1) * np.log(amount) - (n + q) * np.log(g + amount)
        )
        return float(0.5 * (((parameters - centre) / _SPREAD) ** 2).sum() - log_likelihood.sum())

    bounds = [(-5.0, 8.0), (np.log(_LEAST_Q), 8.0), (centre[2] - 12, centre[2] + 12)]
    return Spend(*map(float, np.exp(optimize.minimize(minus, centre, method="L-BFGS-B", bounds=bounds).x)))
