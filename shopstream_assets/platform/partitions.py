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
    """The UTC days [first, end). One that is `open_ended` takes on its last day all that is dated later as well.

    Today's partition is open-ended: a row that the source has dated in the future travels with it.
    """

    first: dt.date
    end: dt.date
    open_ended: bool = False

    def __post_init__(self) -> None:
        if self.end <= self.first:
            raise ValueError(f"window [{self.first}, {self.end}) holds no day")

    @classmethod
    def of(cls, context: dg.AssetExecutionContext) -> Window:
        """The days that the running step was asked for."""
        span = context.partition_time_window
        return cls.seen_at(span.start.date(), span.end.date(), dt.datetime.now(dt.UTC))

    @classmethod
    def seen_at(cls, first: dt.date, end: dt.date, now: dt.datetime) -> Window:
        """The days [first, end); open-ended where the last of them is not over at `now`."""
        return cls(first, end, open_ended=end > now.date())

    @classmethod
    def day(cls, day: dt.date) -> Window:
        """One day."""
        return cls(day, day + ONE_DAY)

    @property
    def last(self) -> dt.date:
        """The newest of its days."""
        return self.end - ONE_DAY

    @property
    def days(self) -> Iterator[dt.date]:
        """Each day, in order."""
        return (self.first + ONE_DAY * n for n in range((self.end - self.first).days))

    def __str__(self) -> str:
        return str(self.first) if self.last == self.first else f"{self.first}..{self.last}"
