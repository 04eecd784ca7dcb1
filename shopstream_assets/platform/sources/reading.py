"""How a table of a source is read, and what was seen of it: words that every source and the lake share."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.tables import Column, SourceTable
from shopstream_assets.platform.errors import Problem, ServiceError
from shopstream_assets.platform.sources.key_ranges import KeysOfSource

if TYPE_CHECKING:
    import pyarrow as pa


class SchemaMismatch(Problem):
    """The table cannot be read as declared: names the column and its type."""


class TableFault(ServiceError):
    """One table does not answer: it is missing, locked, withheld or too slow. The others may."""


@dataclass(frozen=True)
class Drift:
    """Where the table differs from its declaration without stopping the extraction."""

    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    widened: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.dropped or self.widened)

    def __str__(self) -> str:
        parts = [
            f"{what}: {', '.join(names)}"
            for what, names in (("added", self.added), ("dropped", self.dropped), ("widened", self.widened))
            if names
        ]
        return "; ".join(parts) or "none"


@dataclass(frozen=True)
class Fingerprint:
    """What a day of a table looked like: rows, newest cursor, and an order-free hash of (key, cursor)."""

    rows: int
    newest: dt.datetime | None
    hash: int


EMPTY = Fingerprint(rows=0, newest=None, hash=0)


@dataclass(frozen=True)
class Reading(ABC):
    """A table as a snapshot has it, read as it is now: its columns as they will travel.

    `digest` tells this way to read it from any other: a rule that is loosened, a column that is added. Days are those
    of UTC.
    """

    table: SourceTable
    columns: tuple[Column, ...]
    drift: Drift
    digest: str

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The key's columns as they travel."""
        return self._named(self.table.primary_key)

    @property
    def version_columns(self) -> tuple[Column, ...]:
        """The columns of the key and the cursor as they travel."""
        return self._named(self.table.version)

    def _named(self, names: Iterable[str]) -> tuple[Column, ...]:
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in names)

    @abstractmethod
    def scan(self, window: Window) -> Iterator[pa.RecordBatch]:
        """The rows of the window that may travel, in their carried types, ordered by cursor; in bounded batches.

        Raises SchemaMismatch where the table has changed since it was planned for.
        """

    @abstractmethod
    def versions(self, window: Window) -> pa.Table:
        """Key and cursor of the rows that `scan` would yield, in any order."""

    @abstractmethod
    def rejected(self, window: Window) -> Iterator[tuple[dt.date, str, str]]:
        """The rows of the window that must not travel: (day, reasons, the row's carried columns as one line of JSON).

        Personal data is masked: ***(12) stands for 12 characters. A row whose cursor lies beyond the window, as where
        its condition is open-ended, belongs to its last day.
        """

    @abstractmethod
    def looked_up(self, keys: pa.Table, start: dt.date) -> tuple[pa.Table, pa.Table]:
        """What there is of some keys, wherever their cursor lies: the rows that may travel, and the keys of others.

        A row dated before `start`, or without a date, belongs to no partition and may not travel. A key that is in
        neither is gone.
        """

    @abstractmethod
    def keys(self, everything: Window) -> KeysOfSource:
        """The keys of all rows that may travel; `everything` is from the first partition to today."""

    @abstractmethod
    def rows_of(self, query: str, window: Window) -> list[tuple[Any, ...]]:
        """The rows of a query in the source's own SQL, in which {rows} stands for the window's rows that may travel."""


def carried_schema(columns: Iterable[Column]) -> pa.Schema:
    """Arrow schema of columns as they travel. Nullability is left to the checks, which can say why."""
    import pyarrow as pa

    return pa.schema([pa.field(column.name, column.type.arrow) for column in columns])
