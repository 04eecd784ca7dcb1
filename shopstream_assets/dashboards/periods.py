"""Days that figures are taken over, and the days before them that they are compared with."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True)
class Period:
    """Days, `first` and `last` included."""

    first: dt.date
    last: dt.date

    @property
    def days(self) -> int:
        """How many."""
        return (self.last - self.first).days + 1

    @property
    def before(self) -> Period:
        """As many days, up to the day before `first`."""
        return Period(self.first - dt.timedelta(days=self.days), self.first - dt.timedelta(days=1))

    @property
    def comparison(self) -> str:
        """What changes are against, in words."""
        return f"the {self.days} days before, {self.before}"

    def __str__(self) -> str:
        return written(self.first) if self.days == 1 else f"{written(self.first)} to {written(self.last)}"


def latest(whole: Period, days: int) -> Period:
    """The latest `days` days of it, or all of them where it has fewer."""
    return Period(max(whole.first, whole.last - dt.timedelta(days=days - 1)), whole.last)


def elapsed(seconds: float) -> tuple[int, str]:
    """The largest of day, hour and minute that has passed, and how often; no minute where none has."""
    for size, unit in ((86400, "day"), (3600, "hour")):
        if seconds >= size:
            return int(seconds) // size, unit
    return max(0, int(seconds)) // 60, "minute"


def written(day: dt.date) -> str:
    """A day as people write it: 5 Nov 2026."""
    return f"{day.day} {day:%b %Y}"
