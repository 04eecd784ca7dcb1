"""Orders after the first: who is still a customer, and how often they will buy.

The Pareto/NBD model: D. C. Schmittlein, D. G. Morrison and R. Colombo, "Counting Your Customers: Who Are They and What
Will They Do Next?", Management Science 33(1), 1987. While a customer lives they buy at random at a rate of their own,
Gamma(r, alpha) distributed over customers; they live for an exponential time whose rate is Gamma(s, beta) distributed.
Here the rate of buying is multiplied by the shop's pace (market.py), added up to A(t) since the customer's first order.
With x repeats, the last after t_x of T days, the likelihood is, but for the pace at the purchases,

    G(r+x)/G(r) alpha^r [ S(T) (alpha + A(T))^-(r+x) + integral over t in (t_x, T) of f(t) (alpha + A(t))^-(r+x) ]

where S(t) = (beta / (beta + t))^s is the share that lives t days, and f its density. The integral, the customer's death
after the last order, is taken numerically, on a scale on which the integrand is smooth (Gauss-Legendre).

Who takes long from sign-up to the first order buys slowly afterwards, too. So a customer's alpha is that of everybody
plus `wait_weight` times the wait (at the shop's pace): time in which they bought nothing, as in a Poisson process that
begins at sign-up, but with a weight that the data tell. Where customers begin with their first order it plays no part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from shopstream_assets.domains.shopstream.customer_value.history import Buyers, evenly
from shopstream_assets.domains.shopstream.customer_value.market import Calendar, Pace

NAMES = ("r", "alpha", "s", "beta", "wait_weight")
# Before anything is known: customers who order once a month and stay for two, give or take a factor of twenty. Some
# dozen repeats outweigh it.
PRIOR = np.log((1.0, 30.0, 1.0, 60.0, 0.3))
PRIOR_SD = np.array((3.0, 3.0, 3.0, 3.0, 1.5))
BOUND = (-8.0, 10.0)
PACE_BOUND = (-3.0, 3.0)
# A fit to more customers than that would be no better than what they do by chance.
FITTED_CUSTOMERS = 10_000
_NODES, _WEIGHTS = (np.polynomial.legendre.leggauss(24)[0] + 1) / 2, np.polynomial.legendre.leggauss(24)[1] / 2
_CORE = len(NAMES)
# Customers projected at a time: 20,000 x 53 weeks of float64 are 8 MB an array.
_CHUNK = 20_000
WEEK = 7.0


@dataclass(frozen=True)
class Counted:
    """What is expected of customers over a horizon (k each): purchases, their variance, and their distribution.

    `low` and `high`: the 10 % and 90 % quantiles; `none`: the probability of none.
    """

    mean: np.ndarray
    variance: np.ndarray
    none: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Repeats:
    """A fitted model.

    `parameters`: logarithms of r, alpha (days), s, beta (days) and wait_weight, then the pace's coefficients;
    `covariance`: of these; `log_likelihood`: of the customers fitted to.
    """

    calendar: Calendar
    parameters: np.ndarray
    covariance: np.ndarray
    log_likelihood: float
    customers: int

    @property
    def named(self) -> dict[str, float]:
        """The parameters by name."""
        core = zip(NAMES, np.exp(self.parameters[:_CORE]), strict=True)
        return {**dict(core), **dict(zip(self.calendar.names, self.parameters[_CORE:], strict=True))}

    def pace(self, days_ahead: float) -> Pace:
        """The shop's pace, until so many days from now."""
        return Pace(self.calendar, self.parameters[_CORE:], days_ahead)

    def alive(self, buyers: Buyers) -> np.ndarray:
        """Probability that each buyer is still a customer now."""
        return np.concatenate([_alive(self.parameters, self.calendar, part) for part in _parts(buyers)] or [_NOBODY])

    def expected(self, buyers: Buyers, days: float, parameters: np.ndarray | None = None) -> np.ndarray:
        """Purchases expected of each buyer within `days` from now."""
        given = self.parameters if parameters is None else parameters
        pace = Pace(self.calendar, given[_CORE:], days)
        parts = (
            _alive(given, self.calendar, part) * _rate(given, pace, part) * _exposure(given, pace, part.age, days)
            for part in _parts(buyers)
        )
        return np.concatenate([*parts] or [_NOBODY])

    def counted(self, buyers: Buyers, days: float) -> Counted:
        """The purchases of each buyer within `days` from now, with their distribution."""
        pace = self.pace(days)
        found = []
        for part in _parts(buyers):
            weights, exposures = _deaths(self.parameters, pace, part.age, self.calendar.now, days)
            weights *= _alive(self.parameters, self.calendar, part)[:, None]
            shape, scale = np.exp(self.parameters[0]) + part.repeats, _scale(self.parameters, pace, part)
            found.append(mixed(weights, shape[:, None], scale[:, None], exposures))
        return joined(found)

    def counted_from_first(self, signed_up: np.ndarray, first: np.ndarray, chances: np.ndarray, end: float) -> Counted:
        """The purchases until `end` of customers who signed up (n) and buy first at one of the moments `first` (m).

        `chances` (n, m): that they do so then. Moments are later than now.
        """
        pace = self.pace(end - self.calendar.now)
        lives = [_deaths(self.parameters, pace, np.zeros(1), moment, end - moment) for moment in first]
        exposures = np.concatenate([exposure for _, exposure in lives])
        r, alpha, *_, wait_weight = np.exp(self.parameters[:_CORE])
        found = []
        for start in range(0, len(signed_up), _CHUNK // 10):
            span = slice(start, start + _CHUNK // 10)
            waited = pace.until(first) - pace.until(signed_up[span])[:, None]
            weights = np.concatenate([chances[span, n, None] * one for n, (one, _) in enumerate(lives)], axis=1)
            scale = np.repeat(alpha + wait_weight * waited, [len(exposure) for _, exposure in lives], axis=1)
            found.append(mixed(weights, np.array([[r]]), scale, exposures, before=1))
        return joined(found)


_NOBODY = np.zeros(0)


def joined(found: Sequence[Counted]) -> Counted:
    """Customers of several parts, in order."""
    parts = [(one.mean, one.variance, one.none, one.low, one.high) for one in found] or [(_NOBODY,) * 5]
    return Counted(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _parts(buyers: Buyers) -> Iterator[Buyers]:
    for start in range(0, len(buyers.row), _CHUNK):
        yield buyers.some(slice(start, start + _CHUNK))


def fit(buyers: Buyers, calendar: Calendar) -> Repeats:
    """The most likely parameters, given the weak prior; the covariance is that of the customers' own scores.

    Deterministic. Of more than FITTED_CUSTOMERS, so many are taken, spread evenly.
    """
    buyers = buyers.some(evenly(len(buyers.row), FITTED_CUSTOMERS))
    # How the pace at the purchases changes with its coefficients, summed by customer.
    terms = calendar.terms(buyers.moment)
    at_purchases = np.stack(
        [np.bincount(buyers.who, terms[:, n], minlength=len(buyers.row)) for n in range(terms.shape[1])], axis=1
    )
    centre = np.concatenate((PRIOR, np.zeros(terms.shape[1])))
    spread = np.concatenate((PRIOR_SD, calendar.prior))

    def each(parameters: np.ndarray) -> np.ndarray:
        pace = Pace(calendar, parameters[_CORE:])
        return _log_likelihood(parameters, pace, buyers) + at_purchases @ parameters[_CORE:]

    def minus(parameters: np.ndarray) -> float:
        # By purchase, so that the first step of the search is as long in a large shop as in a small one.
        purchases = len(buyers.row) + len(buyers.who)
        return float(0.5 * (((parameters - centre) / spread) ** 2).sum() - each(parameters).sum()) / max(purchases, 1)

    bounds = [BOUND] * _CORE + [PACE_BOUND] * terms.shape[1]
    found = optimize.minimize(minus, centre, method="L-BFGS-B", bounds=bounds).x
    step = 1e-4
    scores = np.stack(
        [(each(found + move) - each(found - move)) / (2 * step) for move in step * np.eye(len(found))], axis=1
    )
    covariance = np.linalg.inv(scores.T @ scores + np.diag(spread**-2.0))
    return Repeats(calendar, found, covariance, float(each(found).sum()), len(buyers.row))


def _dying(parameters: np.ndarray, pace: Pace, buyers: Buyers) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the two parts of the likelihood: having died since the last order (k, nodes), and living on (k)."""
    r, _, s, beta, _ = np.exp(parameters[:_CORE])
    shape, since, alpha = r + buyers.repeats, pace.until(buyers.first), _alpha(parameters, pace, buyers)
    last = buyers.first + buyers.recency
    # Of the size of the integrand's decline at its beginning.
    unit = 1 / (shape * pace.at(last) / (alpha + pace.until(last) - since) + (s + 1) / (beta + buyers.recency))
    furthest = np.log1p(np.maximum(buyers.age - buyers.recency, 0) / unit)
    node = furthest[:, None] * _NODES
    death = buyers.recency[:, None] + unit[:, None] * np.expm1(node)
    added = pace.until(buyers.first[:, None] + death) - since[:, None]
    log_f = np.log(s) + s * np.log(beta) - (s + 1) * np.log(beta + death)
    with np.errstate(divide="ignore"):
        width = np.log(unit * furthest)
    dead = log_f - shape[:, None] * np.log(alpha[:, None] + added) + width[:, None] + node + np.log(_WEIGHTS)
    now = alpha + pace.until(buyers.first + buyers.age) - since
    return dead, -s * np.log1p(buyers.age / beta) - shape * np.log(now)


def _log_likelihood(parameters: np.ndarray, pace: Pace, buyers: Buyers) -> np.ndarray:
    """Of each buyer, but for the pace at the purchases."""
    r, alpha = np.exp(parameters[0]), _alpha(parameters, pace, buyers)
    dead, living = _dying(parameters, pace, buyers)
    either = special.logsumexp(np.column_stack((dead, living)), axis=1)
    return special.gammaln(r + buyers.repeats) - special.gammaln(r) + r * np.log(alpha) + either


def _alpha(parameters: np.ndarray, pace: Pace, buyers: Buyers) -> np.ndarray:
    """The scale of each buyer's rate, at the first purchase (k)."""
    return np.exp(parameters[1]) + np.exp(parameters[4]) * (pace.until(buyers.first) - pace.until(buyers.signed_up))


def _scale(parameters: np.ndarray, pace: Pace, buyers: Buyers) -> np.ndarray:
    """The scale of each buyer's rate now (k)."""
    seen = pace.until(buyers.first + buyers.age) - pace.until(buyers.first)
    return _alpha(parameters, pace, buyers) + seen


def _alive(parameters: np.ndarray, calendar: Calendar, buyers: Buyers) -> np.ndarray:
    dead, living = _dying(parameters, Pace(calendar, parameters[_CORE:]), buyers)
    return special.expit(living - special.logsumexp(dead, axis=1))


def _rate(parameters: np.ndarray, pace: Pace, buyers: Buyers) -> np.ndarray:
    """Purchases a day at the pace of one, expected of a buyer who lives."""
    return (np.exp(parameters[0]) + buyers.repeats) / _scale(parameters, pace, buyers)


def _exposure(parameters: np.ndarray, pace: Pace, age: np.ndarray, days: float) -> np.ndarray:
    """Days of the horizon at the pace of one that a customer who lives now is expected to live."""
    s, beta = np.exp(parameters[2:4])
    edges = _weeks(days)
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    surviving = ((beta + age[:, None]) / (beta + age[:, None] + middle)) ** s
    return surviving @ (pace.at(pace.calendar.now + middle) * width)


def _weeks(days: float, length: float = WEEK) -> np.ndarray:
    return np.append(np.arange(0.0, days, length), days)


def _deaths(
    parameters: np.ndarray, pace: Pace, age: np.ndarray, begin: float, days: float
) -> tuple[np.ndarray, np.ndarray]:
    """When customers of this age who live at `begin` die within `days`, or that they do not.

    Weights (k, deaths), and the days at the pace of one that they buy until then (deaths).
    """
    s, beta = np.exp(parameters[2:4])
    edges = _weeks(days, 4 * WEEK)
    surviving = ((beta + age[:, None]) / (beta + age[:, None] + edges)) ** s
    weights = np.column_stack((-np.diff(surviving, axis=1), surviving[:, -1]))
    ends = begin + np.append((edges[1:] + edges[:-1]) / 2, days)
    return weights, pace.until(ends) - pace.until(np.array([begin]))


def mixed(weights: np.ndarray, shape: np.ndarray, scale: np.ndarray, exposures: np.ndarray, before: int = 0) -> Counted:
    """A mixture of negative binomial counts, each after `before`, with weights (k, d); the missing weight counts none.

    Given an exposure e (of d) a count is Poisson with a Gamma(shape, scale) rate (k or 1, d or 1) times e: at most n
    with probability I(shape, n + 1) at scale / (scale + e), the regularised incomplete beta function.
    """
    each = shape / scale * exposures
    some = weights.sum(axis=1)
    follow = (weights * each).sum(axis=1)
    second = follow + (weights * each**2 * (1 + 1 / shape)).sum(axis=1)
    mean = before * some + follow
    variance = before**2 * some + 2 * before * follow + second - mean**2
    at = scale / (scale + exposures)

    def at_most(count: np.ndarray, rows: np.ndarray) -> np.ndarray:
        reached = np.maximum(count - before, -1)[:, None] + 1.0
        share = special.betainc(_of(shape, rows), np.maximum(reached, 1e-300), _of(at, rows))
        return 1 - some[rows] + (weights[rows] * np.where(reached > 0, share, 0.0)).sum(axis=1)

    everybody = np.arange(len(mean))
    none = at_most(np.zeros(len(mean)), everybody)
    top = np.ceil(mean + 5 * np.sqrt(np.maximum(variance, 0)) + 5)
    low, high = np.zeros(len(mean)), np.zeros(len(mean))
    for level, found in ((0.1, low), (0.9, high)):
        more = np.flatnonzero(none < level)
        found[more] = _quantile(at_most, level, top[more], more)
    return Counted(mean, variance, none, low, high)


def _of(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows of an array that has all of them, or one for all."""
    return values[rows] if len(values) > 1 else values


def _quantile(
    at_most: Callable[[np.ndarray, np.ndarray], np.ndarray], level: float, top: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """The smallest whole number with at least `level` of the distribution at most there, by bisection below `top`."""
    low, high = np.zeros(len(top)), top
    while (high - low > 1).any():
        middle = np.floor((low + high) / 2)
        enough = at_most(middle, rows) >= level
        high, low = np.where(enough, middle, high), np.where(enough, low, middle)
    return high
