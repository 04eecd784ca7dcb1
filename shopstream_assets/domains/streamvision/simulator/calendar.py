"""How much happens on a day, and when: by the clock on the viewer's wall."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shopstream_assets.simulation.names import columns_of
from shopstream_assets.simulation.world import HOUR, MINUTE, World, offsets

REFERENCE_DAYS = 365
# The catalogue, then the first users, are there before anyone can watch.
CATALOGUE_READY = 5 * MINUTE
FIRST_USERS_READY = 10 * MINUTE
OPENING = 15 * MINUTE

# (country, share of the users, time zone of most of them, locale of the names used there)
COUNTRIES = (
    ("US", 0.30, "America/Chicago", "en_US"),
    ("GB", 0.12, "Europe/London", "en_US"),
    ("DE", 0.12, "Europe/Berlin", "de_DE"),
    ("FR", 0.12, "Europe/Paris", "fr_FR"),
    ("ES", 0.07, "Europe/Madrid", "es_ES"),
    ("IT", 0.06, "Europe/Rome", "it_IT"),
    ("MX", 0.05, "America/Mexico_City", "es_ES"),
    ("CA", 0.05, "America/Toronto", "en_US"),
    ("AU", 0.04, "Australia/Sydney", "en_US"),
    ("AR", 0.03, "America/Argentina/Buenos_Aires", "es_ES"),
    ("BE", 0.02, "Europe/Brussels", "fr_FR"),
    ("CH", 0.02, "Europe/Zurich", "de_DE"),
)
CODES, SHARES, ZONES, LOCALE = columns_of(COUNTRIES)

# Share of a day's viewing by the hour that it begins, in local time: after work, and all afternoon at weekends.
_WORKDAY = (14, 7, 3, 2, 2, 3, 7, 12, 12, 11, 12, 14, 20, 21, 20, 22, 28, 40, 58, 80, 100, 98, 66, 34)
_WEEKEND = (22, 12, 6, 3, 2, 3, 5, 10, 20, 32, 42, 48, 52, 58, 62, 64, 66, 70, 78, 92, 105, 100, 74, 44)
_EDGES = np.arange(25) * float(HOUR)
_CURVES = tuple(np.concatenate(([0.0], np.cumsum(hours) / sum(hours))) for hours in (_WORKDAY, _WEEKEND))

# Monday first: people watch most from Friday to Sunday; they join with the weekend before them.
VIEWING_WEEK = (0.86, 0.84, 0.86, 0.92, 1.08, 1.26, 1.18)
JOINING_WEEK = (0.94, 0.92, 0.95, 1.02, 1.12, 1.08, 0.97)


class Volume:
    """How many rows of one kind appear on each day.

    Expected volume is week x season x the world's growth x day-to-day noise (log-normal, sigma 6 %), normalised so that
    the first 365 days hold exactly `per_year` rows whatever the start date. Counts are differences of the rounded
    running total.
    """

    def __init__(self, world: World, what: str, per_year: float, week: Sequence[float] = VIEWING_WEEK) -> None:
        self._world, self._what, self._per_year, self._week = world, what, per_year, np.array(week)
        self._counts = np.zeros(0, dtype=np.int64)

    def on(self, day: int) -> int:
        """Rows that appear on `day`."""
        if day >= len(self._counts):
            self._counts = self._first(max(2 * day, 2 * REFERENCE_DAYS))
        return int(self._counts[day])

    def _first(self, days: int) -> np.ndarray:
        # One stream for all days: its beginning is the same however many days are drawn.
        noise = np.exp(0.06 * self._world.rng(f"streamvision/{self._what}/volume").standard_normal(days))
        dates = np.datetime64(self._world.start_date, "D") + np.arange(days)
        weekday = (dates.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
        of_year = (dates - dates.astype("datetime64[Y]")).astype(np.int64) + 1
        # People watch more in winter, most in the last days of the year.
        season = 1 + 0.10 * np.cos(2 * np.pi * (of_year - 10) / 365.25)
        season += 0.25 * np.exp(-0.5 * ((of_year - 361) / 6) ** 2)
        weight = self._week[weekday] * season * noise * self._world.grown(days)
        total = self._per_year * np.cumsum(weight) / weight[:REFERENCE_DAYS].sum()
        return np.diff(np.floor(total + 0.5), prepend=0).astype(np.int64)


def evenings(rng: np.random.Generator, world: World, day: int, countries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of these countries a moment of its own day `day`: in UTC, and as the hour on the clocks there."""
    date = world.date_of(day)
    curve = _CURVES[1 if date.weekday() >= 5 else 0]
    local = np.interp(rng.random(len(countries)), curve, _EDGES).astype(np.int64)
    return world.midnight(day) + local - offsets(ZONES, date)[countries], np.minimum(local // HOUR, 23)


def spread(rng: np.random.Generator, count: int, opening: int, closing: int) -> np.ndarray:
    """Times of day between two moments, in order, for what knows no evening: microseconds after midnight UTC."""
    return np.sort(rng.integers(opening, closing, size=count))
