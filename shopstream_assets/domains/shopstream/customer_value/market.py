"""The pace of the whole shop: by how much all customers buy faster or slower than at the moment of the fit.

Models of the Pareto/NBD kind let customers differ, and take each one's rate for constant. A shop's pace is not: it has
seasons, and it changes as the shop grows. So a common factor multiplies every customer's rate, as in E. P. Bachmann,
M. Meierer and J. Naef, "The Role of Time-Varying Contextual Factors in Latent Attrition Models for Customer Base
Analysis", Marketing Science 40(4), 2021. Its logarithm is

    trend * log((age + 30) / (age now + 30)) + two harmonics of the year

with the shop's age in days: a change that is fast in the first months and slow in later years. After now the trend goes
on at half its pace (a damped trend: E. S. Gardner and E. McKenzie, "Forecasting Trends in Time Series", Management
Science 31(10), 1985). The season is taken for known once a year has been seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

YEAR = 365.25
HARMONICS = 2
SEASON_FROM_DAYS = 365.0
TREND_SCALE_DAYS = 30.0
DAMPING = 0.5
# Standard deviations of the coefficients before anything is known: where there are few orders, the pace stays even.
TREND_PRIOR, SEASON_PRIOR = 0.3, 0.1
# Of a wave whose size nobody has seen: what simulated shops were off by before their first year.
UNSEEN_SEASON = 0.15


@dataclass(frozen=True)
class Calendar:
    """From when the shop is known, and until when (days since 1970); what the pace can be made of."""

    begin: float
    now: float

    @property
    def has_season(self) -> bool:
        """Whether a whole year has been seen."""
        return self.now - self.begin >= SEASON_FROM_DAYS

    @property
    def unknown_season(self) -> float:
        """Standard deviation of the pace's logarithm for want of a season: what was seen may be any part of one."""
        return 0.0 if self.has_season else float(np.sqrt(HARMONICS) * UNSEEN_SEASON)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the coefficients."""
        waves = [f"{wave}_{n}" for n in range(1, HARMONICS + 1) for wave in ("sine", "cosine")]
        return ("trend", *(waves if self.has_season else ()))

    @property
    def prior(self) -> np.ndarray:
        """Standard deviations of the coefficients."""
        return np.array([TREND_PRIOR if name == "trend" else SEASON_PRIOR for name in self.names])

    def terms(self, moments: np.ndarray) -> np.ndarray:
        """What the coefficients multiply: (moments, coefficients)."""
        age = np.minimum(moments, self.now) + DAMPING * np.maximum(moments - self.now, 0) - self.begin
        columns = [np.log((np.maximum(age, 0) + TREND_SCALE_DAYS) / (self.now - self.begin + TREND_SCALE_DAYS))]
        if self.has_season:
            for n in range(1, HARMONICS + 1):
                turn = 2 * np.pi * n * moments / YEAR
                columns += [np.sin(turn), np.cos(turn)]
        return np.stack(columns, axis=-1)


class Pace:
    """The pace with given coefficients, and what it adds up to since the beginning, from a table by the day."""

    def __init__(self, calendar: Calendar, coefficients: np.ndarray, days_ahead: float = 0.0) -> None:
        self.calendar = calendar
        self.coefficients = coefficients
        days = np.arange(np.ceil(calendar.now - calendar.begin + days_ahead) + 2)
        factor = np.exp(calendar.terms(calendar.begin + days) @ coefficients)
        self._sum = np.concatenate(([0.0], np.cumsum((factor[1:] + factor[:-1]) / 2)))
        self._factor = factor

    def at(self, moments: np.ndarray) -> np.ndarray:
        """The factor at these moments."""
        return self._read(self._factor, moments)

    def until(self, moments: np.ndarray) -> np.ndarray:
        """The factor, added up from the shop's beginning: days at the pace of one."""
        return self._read(self._sum, moments)

    def _read(self, table: np.ndarray, moments: np.ndarray) -> np.ndarray:
        since = np.clip(moments - self.calendar.begin, 0, len(table) - 1.000001)
        day = since.astype(np.int64)
        low = table[day]
        return low + (since - day) * (table[day + 1] - low)
