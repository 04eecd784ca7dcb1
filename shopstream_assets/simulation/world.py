"""Time, chance and volume: what every part of the simulated store shares.

Days are counted from `start_date` (day 0); times are microseconds since 1970-01-01 UTC in int64, and `NEVER` stands for
a moment that does not come. Rows travel as `Columns`: equally long arrays by name.
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

Columns = dict[str, np.ndarray]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NEVER = np.iinfo(np.int64).max

REFERENCE_DAYS = 90
IDS_PER_DAY = 10_000_000

# The store is quiet around midnight. Keeping sign-ups, orders and sessions this far from it lets a whole session,
# from the visit to the purchase, fall into one day, and lets day 0 build its catalogue before its first customer.
CATALOGUE_READY = 10 * MINUTE
OPENING = 20 * MINUTE
LAST_SIGNUP = 23 * HOUR
LAST_SESSION = 23 * HOUR + 25 * MINUTE
CLOSING = 23 * HOUR + 50 * MINUTE

# Share of a day's activity by the hour on a shopper's clocks: a night trough, a lunch shoulder, an evening peak.
_HOURLY = (12, 8, 5, 4, 4, 7, 15, 28, 42, 52, 57, 58, 60, 56, 52, 52, 54, 60, 70, 80, 82, 70, 46, 24)
_HOURLY_EDGES = np.arange(25) * float(HOUR)
# The share of it before each hour of UTC, where clocks are 0, 1, 2 … 23 hours ahead.
_BEFORE_HOUR = tuple(np.concatenate(([0.0], np.cumsum(np.roll(_HOURLY, -ahead)) / sum(_HOURLY))) for ahead in range(24))

# Monday first. Shoppers come back on Sunday evening and Monday; salespeople do not work at weekends.
SHOP_WEEK = (1.08, 1.03, 1.00, 0.97, 0.92, 0.93, 1.07)
OFFICE_WEEK = (1.25, 1.35, 1.30, 1.25, 1.05, 0.45, 0.35)


def season(day_of_year: np.ndarray) -> np.ndarray:
    """Yearly demand around 1: a winter swell, an August dip, Black Friday (late November) and Christmas bumps."""
    doy = day_of_year.astype(float)
    swell = 1 + 0.12 * np.cos(2 * np.pi * (doy - 345) / 365.25)
    august = -0.10 * np.exp(-0.5 * ((doy - 225) / 15) ** 2)
    black_friday = 0.45 * np.exp(-0.5 * ((doy - 331) / 5) ** 2)
    christmas = 0.30 * np.exp(-0.5 * ((doy - 349) / 8) ** 2)
    return swell + august + black_friday + christmas


@dataclass(frozen=True)
class World:
    """The values that decide everything: when the store opened, the seed, how large it is and becomes.

    `growth`: how many times as much comes anew (customers, visits) a year later.
    """

    start_date: dt.date
    seed: int
    scale: float
    growth: float = 1.0

    def rng(self, what: str, day: int = 0) -> np.random.Generator:
        """The stream of chance of one kind of row on one day.

        PCG64 seeded by (seed, CRC-32 of `what`, the date's ordinal): no day consumes another day's randomness and
        nothing depends on PYTHONHASHSEED, so days can be generated in any order, by any number of processes.
        """
        return np.random.default_rng([self.seed, zlib.crc32(what.encode()), self.start_date.toordinal() + day])

    def day_of(self, date: dt.date) -> int:
        """Days from the start of the world to `date`."""
        return (date - self.start_date).days

    def date_of(self, day: int) -> dt.date:
        """The calendar date of a day of this world."""
        return self.start_date + dt.timedelta(days=day)

    def midnight(self, day: int) -> int:
        """The first microsecond of `day`."""
        return (self.date_of(day) - dt.date(1970, 1, 1)).days * DAY

    def grown(self, days: int) -> np.ndarray:
        """How much larger than at the start the world is on each of its first `days` days."""
        return self.growth ** (np.arange(days) / 365)

    def ids(self, day: int, count: int) -> np.ndarray:
        """Identifiers of the `count` rows created on `day`: YYYYMMDD followed by a 7-digit sequence from 1.

        They depend on no other day, grow with time, and stay below 2**53 (exact in JSON and in a double).
        """
        if count >= IDS_PER_DAY:
            raise ValueError(
                f"{self.date_of(day)}: {count:,} rows of one table in one day, identifiers allow {IDS_PER_DAY - 1:,}; "
                f"lower the scale ({self.scale:g})"
            )
        return int(self.date_of(day).strftime("%Y%m%d")) * IDS_PER_DAY + np.arange(1, count + 1, dtype=np.int64)


class Volume:
    """How many rows of one kind appear on each day.

    Expected volume is week x year x day-to-day noise (log-normal, sigma 8 %) x what it is `moved_by` (a weight for each
    of so many first days; the world's growth where nothing is given), normalised so that the first 90 days hold exactly
    `per_90_days` rows whatever the start date; later windows follow. Counts are differences of the rounded running
    total rather than Poisson draws, whose spread (3 % of 1,000 users) would move the totals.
    """

    # More days are reckoned than are asked for, so that playing day after day does not begin anew each time.
    _BLOCK = 32

    def __init__(
        self,
        world: World,
        what: str,
        per_90_days: float,
        week: Sequence[float] = SHOP_WEEK,
        moved_by: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        self._world = world
        self._what = what
        self._per_90_days = per_90_days
        self._week = np.array(week)
        self._moved_by = moved_by or world.grown
        self._counts = np.zeros(0, dtype=np.int64)

    def on(self, day: int) -> int:
        """Rows created on `day`."""
        if day >= len(self._counts):
            self._counts = self._first(max((day // self._BLOCK + 1) * self._BLOCK, REFERENCE_DAYS))
        return int(self._counts[day])

    def _first(self, days: int) -> np.ndarray:
        # One stream for all days: its beginning is the same however many days are drawn.
        noise = np.exp(0.08 * self._world.rng(f"{self._what}/volume").standard_normal(days))
        dates = np.datetime64(self._world.start_date, "D") + np.arange(days)
        weekday = (dates.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
        day_of_year = (dates - dates.astype("datetime64[Y]")).astype(np.int64) + 1
        weight = self._week[weekday] * season(day_of_year) * noise * self._moved_by(days)
        total = self._per_90_days * np.cumsum(weight) / weight[:REFERENCE_DAYS].sum()
        return np.diff(np.floor(total + 0.5), prepend=0).astype(np.int64)


def clock(
    rng: np.random.Generator,
    count: int,
    opening: int = OPENING,
    closing: int = CLOSING,
    ahead: np.ndarray | None = None,
) -> np.ndarray:
    """Times of day between two moments, in microseconds after midnight UTC, following the hours of an online shop.

    Its hours are those on each row's own clocks, which are so far `ahead` of UTC (microseconds; None: they show UTC).
    """
    chance, drawn = rng.random(count), np.empty(count)
    hours = np.zeros(count, dtype=np.int64) if ahead is None else ahead // HOUR % 24
    for hour in np.unique(hours):
        rows, before = hours == hour, _BEFORE_HOUR[hour]
        low, high = np.interp((opening, closing), _HOURLY_EDGES, before)
        drawn[rows] = np.interp(low + (high - low) * chance[rows], before, _HOURLY_EDGES)
    return np.clip(drawn.astype(np.int64), opening, closing)


@lru_cache(maxsize=4096)
def offsets(zones: tuple[ZoneInfo, ...], date: dt.date) -> np.ndarray:
    """How far the clocks of each zone are ahead of UTC on the evening of a day, in microseconds."""
    evening = dt.datetime.combine(date, dt.time(20))
    ahead = [evening.replace(tzinfo=zone).utcoffset() or dt.timedelta() for zone in zones]
    return np.array([int(offset.total_seconds()) * SECOND for offset in ahead])


def choose_by(rng: np.random.Generator, shares: np.ndarray, of: np.ndarray) -> np.ndarray:
    """An index for each row, drawn in proportion to the shares of what the row is `of`: a row of `shares`."""
    bounds = np.cumsum(shares, axis=1)
    drawn = rng.random(len(of)) * bounds[of, -1]
    return (drawn[:, None] >= bounds[of, :-1]).sum(axis=1)


def choose(rng: np.random.Generator, shares: Sequence[float] | np.ndarray, count: int) -> np.ndarray:
    """`count` indices drawn in proportion to `shares`."""
    bounds = np.cumsum(shares)
    return np.searchsorted(bounds, rng.random(count) * bounds[-1], side="right").clip(max=len(bounds) - 1)


def choose_evenly(rng: np.random.Generator, shares: Sequence[float] | np.ndarray, count: int) -> np.ndarray:
    """As `choose`, by stratified sampling: every share is met to within a row or so, in random order."""
    bounds = np.cumsum(shares)
    drawn = (rng.permutation(count) + rng.random(count)) / max(count, 1)
    return np.searchsorted(bounds, drawn * bounds[-1], side="right").clip(max=len(bounds) - 1)


def after(rng: np.random.Generator, start: np.ndarray, share: float, least: int, mean: int) -> np.ndarray:
    """A later moment for a `share` of rows, `NEVER` for the others: `least` plus an exponential delay."""
    wait = least + (rng.exponential(mean - least, len(start))).astype(np.int64)
    happens = (rng.random(len(start)) < share) & (start != NEVER)
    return np.where(happens, np.where(start == NEVER, 0, start) + wait, NEVER)


def latest(moments: np.ndarray, before: int) -> np.ndarray:
    """Per row of a (rows, moments) matrix, the last moment earlier than `before`; -1 where there is none."""
    return np.where(moments < before, moments, -1).max(axis=1, initial=-1)


def concatenated(parts: Sequence[Columns]) -> Columns:
    """Rows of all parts, in order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def rows_of(columns: Columns, which: np.ndarray | slice) -> Columns:
    """The chosen rows."""
    return {name: values[which] for name, values in columns.items()}


class Cohorts:
    """All rows created from day 0 on, generated a day at a time and kept.

    For rows that may change at any later time: users, products, contacts. It holds what was created until the latest
    day asked for (about 120 bytes a user), rounded up to a block so that playing day after day does not copy the whole
    history every day.
    """

    _BLOCK = 32

    def __init__(self, make: Callable[[int], Columns]) -> None:
        self._make = make
        self._columns: Columns = {}
        self._ends: list[int] = []

    def until(self, day: int) -> Columns:
        """The rows created on days 0 to `day` included, as views."""
        if day >= len(self._ends):
            known = len(self._ends)
            parts = [self._make(d) for d in range(known, (day // self._BLOCK + 1) * self._BLOCK)]
            for part in parts:
                self._ends.append((self._ends[-1] if self._ends else 0) + len(part["id"]))
            self._columns = concatenated([self._columns, *parts] if self._columns else parts)
        return rows_of(self._columns, slice(0, self.count(day)))

    def count(self, day: int) -> int:
        """How many rows were created on days 0 to `day` included, of a day already generated; 0 before day 0."""
        return self._ends[day] if day >= 0 else 0
