"""A source that never existed, as a pure function of its first day, a seed, a scale and its growth."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

import pyarrow as pa

from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.simulation import arrow
from shopstream_assets.simulation.world import World

Changes = Callable[[int, int], pa.Table]
"""Rows of a table that change from one day of the world to before another."""


class SimulatedSource:
    """The simulator of a business, as far as it is the same for each; no database and no clock.

    A row is decided on its day, together with the moments of its later changes, from a random stream of its own table
    and day. So any days may be played in any order, any number of times, alone or as ranges: upserting where the cursor
    is newer ends in the same state. The values are those of one version of numpy and Faker.

    An instance caches what it generated and is not safe for concurrent use; make one per thread.
    """

    # Changed rows of a busy day at scale 1, without growth, for the size of a batch.
    busy_rows_per_day: ClassVar[Mapping[str, int]] = {}

    def __init__(self, start_date: dt.date, seed: int = 42, scale: float = 1.0, growth: float = 1.0) -> None:
        if isinstance(start_date, dt.datetime) or not isinstance(start_date, dt.date):
            raise TypeError(f"start_date must be a datetime.date, not {start_date!r}")
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, not {seed}")
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale must be a positive number, not {scale}")
        if not 0 < growth < float("inf"):
            raise ValueError(f"growth must be a positive number, not {growth}")
        self.world = World(start_date, seed, float(scale), float(growth))
        self._changes = {declared.name: (declared, changes) for declared, changes in self.tables().items()}

    def tables(self) -> Mapping[SourceTable, Changes]:
        """What is played of `world`."""
        raise NotImplementedError

    def changes(self, table: str, first: dt.date, last_exclusive: dt.date) -> pa.Table:
        """Rows of `table` whose cursor lies in [first, last_exclusive) UTC, each as it stood at the end of that window.

        The schema is the declared one; one row per primary key, sorted by cursor and id. Days before `start_date` are
        empty. Raises KeyError for a table that the source does not have.
        """
        if table not in self._changes:
            raise KeyError(f"the simulator plays no table {table!r}; it has {', '.join(self._changes)}")
        declared, changes = self._changes[table]
        low, high = max(0, self.world.day_of(first)), self.world.day_of(last_exclusive)
        return changes(low, high) if low < high else arrow.empty(declared)

    def batches(self, table: str, first: dt.date, last_exclusive: dt.date, rows: int = 500_000) -> Iterator[pa.Table]:
        """The same changes as tables of about `rows` rows, of whole days, in the order of time.

        Memory stays bounded whatever the window and the scale. A row that changes in several batches comes in each, as
        it stood at the batch's end: upsert the batches where the cursor is newer.
        """
        low, high = max(0, self.world.day_of(first)), self.world.day_of(last_exclusive)
        grown = max(1.0, self.world.growth ** (high / 365))
        days = max(1, int(rows / (self.busy_rows_per_day.get(table, 100) * self.world.scale * grown)))
        for day in range(low, high, days):
            yield self.changes(table, self.world.date_of(day), self.world.date_of(min(high, day + days)))
