"""Partitions are UTC days of change, and every window in the project is half-open."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

ONE_DAY = dt.timedelta(days=1)


def daily(start_date: dt.date) -> dg.DailyPartitionsDefinition:
    """Every UTC day since `start_date`, today included: its changes need not wait for midnight."""
    return dg.DailyPartitionsDefinition(start_date=start_date.isoformat(), timezone="UTC", end_offset=1)


@dataclass(frozen=True)
class Window:
    """The UTC days [first, end)."""

    first: dt.date
    end: dt.date

    def __post_init__(self) -> None:
        if self.end <= self.first:
            raise ValueError(f"window [{self.first}, {self.end}) holds no day")

    @classmethod
    def of(cls, context: dg.AssetExecutionContext) -> Window:
        """The days that the running step was asked for."""
        span = context.partition_time_window
        return cls(span.start.date(), span.end.date())

    @classmethod
    def day(cls, day: dt.date) -> Window:
        """One day."""
        return cls(day, day + ONE_DAY)

    @property
    def days(self) -> Iterator[dt.date]:
        """Each day, in order."""
        return (self.first + ONE_DAY * n for n in range((self.end - self.first).days))

    def __str__(self) -> str:
        last = self.end - ONE_DAY
        return str(self.first) if last == self.first else f"{self.first}..{last}"
