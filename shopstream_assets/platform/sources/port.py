"""What the platform asks of a source of tables. `postgres/` is its first adapter.

A source is a resource of Dagster whose tables are read in snapshots. Everything behind it, from the lake to the sensors
and checks, knows no more of it than this; whoever fulfils it brings another database.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import dagster as dg

from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.sources.newest_change import NewestChange
from shopstream_assets.platform.sources.reading import Fingerprint, Reading
from shopstream_assets.platform.sources.snapshot import Snapshot


class SourceResource(dg.ConfigurableResource, ABC):
    """A database whose tables are extracted."""

    @abstractmethod
    def snapshot(self, tables: Iterable[SourceTable] = (), alone: str = "") -> AbstractContextManager[SourceReader]:
        """One moment of the source: all that its reader is asked in the block is answered of it.

        Name the `tables` whose rows are to be read: none of them is empty in it because it is being rewritten. One that
        does not exist is passed over. Of the snapshots with the same name in `alone`, one is under way at a time: the
        others wait before they choose their moment, so their order is that of their moments.

        Raises ServiceError when the source refuses, does not answer or cuts the connection, or a table stays locked.
        """

    @abstractmethod
    def looking(self) -> AbstractContextManager[SourceReader]:
        """A connection that is kept for the next look, and waits for less; each question sees its own moment.

        A table that is being rewritten may look empty. Raises ServiceError as `snapshot` does.
        """


class SourceReader(Protocol):
    """What is asked of a source. Days are those of UTC."""

    def moment(self) -> Snapshot:
        """Where the snapshot stands in the order of all; asked before anything else."""

    def about(self, table: SourceTable, seconds: int | None = None) -> AbstractContextManager[None]:
        """Questions about one table: what the source refuses for it alone raises TableFault, and others can be asked.

        What breaks off in the middle of its rows is a ServiceError, as everywhere.

        With `seconds`, each is answered within that time, or the table is at fault; that is for a snapshot, which gives
        way to a new one after a fault.
        """

    def probe(self, table: SourceTable) -> str:
        """How much has happened to a table, in a few characters: what it costs does not grow with the table."""

    def plan(self, table: SourceTable) -> Reading:
        """How to read the table as it is now; raises SchemaMismatch where it cannot be read as declared."""

    def fingerprints(self, table: SourceTable, window: Window) -> dict[dt.date, Fingerprint]:
        """What each day of the window looks like; days without rows are left out.

        Any version of a row that differs in anything changes the hash of its day. Rows dated in the future are counted
        on an open-ended window's last day, but are no news: `newest` leaves them out.
        """

    def count(self, table: SourceTable) -> int:
        """The rows of the table."""

    def newest_change(self, table: SourceTable) -> NewestChange:
        """The newest change of a table with a cursor, by the source's own clock."""

    def bad_keys(self, table: SourceTable) -> int:
        """Rows with a null or repeated key; not counted where the source itself sees to it that there are none."""

    def unpartitioned(self, table: SourceTable, start: dt.date) -> Mapping[str, int]:
        """Rows of a table with a cursor that no partition will ever hold, by reason; each up to COUNTED and one more.

        Partitions begin at `start`.
        """
