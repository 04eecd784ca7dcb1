"""Partitions are UTC days of change, and every window in the project is half-open."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import dagster as dg

from shopstream_assets.platform.errors import LayerError, Problem

ONE_DAY = dt.timedelta(days=1)


def daily(start_date: dt.date) -> dg.DailyPartitionsDefinition:
    """Every UTC day since `start_date`, today included: its changes need not wait for midnight."""
    return dg.DailyPartitionsDefinition(start_date=start_date.isoformat(), timezone="UTC", end_offset=1)


@dataclass(frozen=True)
class Window:
    """The UTC days [first, end). One that is `open_ended` takes on its last day all that is dated later as well.

    Today's partition is open-ended: a row that the source has dated in the future travels with it. `from_start` says
    that the first day is the first partition of all, in which every row of a table without a cursor lies.
    """

    first: dt.date
    end: dt.date
    open_ended: bool = False
    from_start: bool = False

    def __post_init__(self) -> None:
        if self.end <= self.first:
            raise ValueError(f"window [{self.first}, {self.end}) holds no day")

    @classmethod
    def of(cls, context: dg.AssetExecutionContext) -> Window:
        """The days that the running step was asked for.

        Raises LayerError, not to be tried again, where the assets have no such partitions: Dagster takes a range as it
        is given, and would refuse its days one by one after the work is done.
        """
        start = None
        if (offered := context.assets_def.partitions_def) is not None:
            _refuse_missing(context, offered)
            start = offered.get_first_partition_key()
        span, now = context.partition_time_window, dt.datetime.now(dt.UTC)
        first, end = span.start.date(), span.end.date()
        return replace(cls.seen_at(first, end, now), from_start=str(first) == start)

    @classmethod
    def seen_at(cls, first: dt.date, end: dt.date, now: dt.datetime) -> Window:
        """The days [first, end); open-ended where the last of them is not over at `now`."""
        return cls(first, end, open_ended=end > now.date())

    @classmethod
    def everything(cls, start_date: dt.date, now: dt.datetime) -> Window:
        """All days from the first partition to that of `now`, open-ended; today alone before the first."""
        return cls(min(start_date, now.date()), now.date() + ONE_DAY, open_ended=True, from_start=True)

    def part(self, first: dt.date, end: dt.date) -> Window:
        """Those of its days that are in [first, end), of which there must be one."""
        first, end = max(first, self.first), min(end, self.end)
        return Window(
            first, end, self.open_ended and end == self.end, from_start=self.from_start and first == self.first
        )

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


def _refuse_missing(context: dg.AssetExecutionContext, offered: dg.PartitionsDefinition) -> None:
    asked = context.partition_key_range
    first, last = offered.get_first_partition_key(), offered.get_last_partition_key()
    if first is None or last is None or first <= asked.start <= asked.end <= last:
        return
    if asked.end < asked.start:
        problem = Problem("the range ends before it begins.", f"launch days in their order, from {first} to {last}.")
    else:
        problem = Problem(
            f"only the days {first} to {last} exist; no work was done.",
            "launch those; for older ones set the domain's START_DATE (as SHOPSTREAM_START_DATE) to an earlier day.",
        )
    assets = ", ".join(sorted(key.to_user_string() for key in context.selected_asset_keys))
    raise LayerError(f"{assets}, partition {asked.start}..{asked.end}", "taking the days of the run", problem)


# One run over a whole range, for every asset of the chain: assets with different policies are split into runs.
SINGLE_RUN = dg.BackfillPolicy.single_run()

DAY_TAG = "dagster/partition"

SPAN_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")

TAKES_TAGS = ("shopstream/takes_from", "shopstream/takes_to")
"""First and last day that a run and those that follow it bring through every layer: nobody else is to ask for them."""


def ranges(days: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(first, last) of every stretch of days that follow each other; `days` oldest first."""
    stretch: list[dt.date] = []
    for day in map(dt.date.fromisoformat, days):
        if stretch and (day - stretch[-1]).days != 1:
            yield stretch[0].isoformat(), stretch[-1].isoformat()
            stretch = []
        stretch.append(day)
    if stretch:
        yield stretch[0].isoformat(), stretch[-1].isoformat()


def spans(days: Iterable[str]) -> str:
    """Days as people write them: 2026-01-01..2026-01-03, 2026-01-09."""
    return ", ".join(first if first == last else f"{first}..{last}" for first, last in ranges(days))
