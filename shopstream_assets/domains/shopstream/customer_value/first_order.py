"""From sign-up to the first order, for customers who have none yet.

Many people sign up in order to buy: a share orders within the first day. The others wait for a time that is exponential
with a Gamma(shape, scale) distributed rate (Lomax, or Pareto II), and a share of them waits for ever: a duration model
of a split population, P. Schmidt and A. D. Witte, "Predicting Criminal Recidivism Using 'Split Population' Survival
Time Models", Journal of Econometrics 40(1), 1989. Of those who signed up t days ago (t of a day or more)

    (1 - first day) (never + (1 - never) (scale / (scale + t - 1))^shape)

have not ordered. Days after the first are those of the shop's pace (`market.Pace`): who waits is in less of a hurry in
August, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from shopstream_assets.domains.shopstream.customer_value.history import Shop
from shopstream_assets.domains.shopstream.customer_value.market import Pace

NAMES = ("first_day", "never", "wait_shape", "wait_scale")
# Before anything is known: half of those who do not order at once never do, the others within a month or so.
_CENTRE = np.array([0.0, 0.0, np.log(30.0)])
_SPREAD = np.array([2.0, 2.0, 2.0])


@dataclass(frozen=True)
class FirstOrder:
    """A fitted model: shares, and the shape and the scale (days at the pace of one) of the wait."""

    first_day: float
    never: float
    shape: float
    scale: float

    @property
    def named(self) -> dict[str, float]:
        """The parameters by name."""
        return dict(zip(NAMES, (self.first_day, self.never, self.shape, self.scale), strict=True))

    def waiting(self, age: np.ndarray) -> np.ndarray:
        """The share that has not ordered of those who have `waited` so long."""
        later = self.never + (1 - self.never) * (self.scale / (self.scale + np.maximum(age - 1, 0))) ** self.shape
        return (1 - self.first_day * np.clip(age, 0, 1)) * later

    def will_order(self, age: np.ndarray) -> np.ndarray:
        """Probability that one who has `waited` so long without an order ever will."""
        return 1 - (1 - self.first_day) * self.never / self.waiting(age)


def waited(pace: Pace, signed_up: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Days from sign-ups to moments, those after the first day at the pace of one; 0 to moments before."""
    first_day = np.clip(moments - signed_up, 0, 1)
    return first_day + np.maximum(pace.until(moments) - pace.until(signed_up + 1), 0)


def waits(shop: Shop, pace: Pace) -> tuple[np.ndarray, np.ndarray]:
    """Days waited from sign-up to the first order, or until now; and whether it came.

    Of customers who signed up before it.
    """
    first = shop.first_order
    # False where the sign-up is unknown, too.
    signed_up_first = shop.signed_up < np.minimum(first, shop.until)
    ordered = np.isfinite(first)[signed_up_first]
    return waited(pace, shop.signed_up[signed_up_first], np.minimum(first, shop.until)[signed_up_first]), ordered


def fit(shop: Shop, pace: Pace) -> FirstOrder:
    """The most likely parameters, given a weak prior."""
    days, ordered = waits(shop, pace)
    day_over = (days >= 1) | ordered
    at_once = int((ordered & (days < 1)).sum())
    # One customer of each kind as a prior.
    first_day = (at_once + 1) / (day_over.sum() + 2)
    later, came = days[days >= 1] - 1, ordered[days >= 1]

    def minus(parameters: np.ndarray) -> float:
        never, shape, scale = special.expit(parameters[0]), np.exp(parameters[1]), np.exp(parameters[2])
        # Logarithms of the share that still waits, of those who will order, and of the density of orders.
        still = -shape * np.log1p(later / scale)
        density = np.log1p(-never) + np.log(shape / scale) + still - np.log1p(later / scale)
        log_likelihood = np.where(came, density, np.log(never + (1 - never) * np.exp(still)))
        return float(0.5 * (((parameters - _CENTRE) / _SPREAD) ** 2).sum() - log_likelihood.sum())

    bounds = [(-8.0, 8.0), (-4.0, 4.0), (-4.0, 9.0)]
    found = optimize.minimize(minus, _CENTRE, method="L-BFGS-B", bounds=bounds).x
    return FirstOrder(float(first_day), float(special.expit(found[0])), *map(float, np.exp(found[1:])))
