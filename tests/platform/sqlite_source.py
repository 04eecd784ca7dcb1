"""A source that is no Postgres: the tables of a SQLite file, for all that the port asks.

Times are kept as text in ISO 8601, UTC. SQLite counts the transactions that wrote a file in its header, which is the
log position here; whoever makes a file gives it a number (application_id), by which it is told from another.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.tables import TIMESTAMP, SourceTable
from shopstream_assets.platform.sources.key_ranges import Ranges
from shopstream_assets.platform.sources.newest_change import COUNTED, NewestChange
from shopstream_assets.platform.sources.port import SourceResource
from shopstream_assets.platform.sources.reading import (
    Drift,
    Fingerprint,
    Reading,
    SchemaMismatch,
    TableFault,
    carried_schema,
)
from shopstream_assets.platform.sources.snapshot import Snapshot, SourceIdentity

Row = dict[str, Any]


class SqliteSource(SourceResource):
    """The tables of a file."""

    path: str

    @contextmanager
    def snapshot(self, tables: Iterable[SourceTable] = (), alone: str = "") -> Iterator[SqliteReader]:
        with open(f"{self.path}.turn", "w") as turn, self.looking() as reader:
            if alone:
                fcntl.flock(turn, fcntl.LOCK_EX)
            reader.connection.execute("begin")
            # A transaction reads from its first question on.
            reader.connection.execute("select count(*) from sqlite_schema").fetchone()
            yield reader

    @contextmanager
    def looking(self) -> Iterator[SqliteReader]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.row_factory = lambda cursor, row: {
                column[0]: value for column, value in zip(cursor.description, row, strict=True)
            }
            yield SqliteReader(connection, Path(self.path))


@dataclass
class SqliteReader:
    connection: sqlite3.Connection
    path: Path

    def moment(self) -> Snapshot:
        written = self._written()
        return Snapshot(
            lsn=written,
            durable=written,
            ended=0,
            identity=SourceIdentity(system=str(self._header("application_id")), timeline=None, database=0),
            taken_at=dt.datetime.now(dt.UTC),
            is_replica=False,
        )

    @contextmanager
    def about(self, table: SourceTable, seconds: int | None = None) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise TableFault(f"{table.name}: {error}.", "see that the file has the table.") from None

    def probe(self, table: SourceTable) -> str:
        return f"{self._written():x}"

    def plan(self, table: SourceTable) -> Reading:
        there = {row["name"] for row in self.connection.execute("select * from pragma_table_info(?)", [table.name])}
        missing = [column.name for column in table.columns if column.name not in there]
        if missing:
            raise SchemaMismatch(f"{table.name} has no column {', '.join(missing)}.", "add it.")
        # A column's rules are told by its declaration.
        digest = hashlib.sha256(repr(table.columns).encode()).hexdigest()[:16]
        return SqliteReading(table, table.columns, Drift(), digest, reader=self)

    def fingerprints(self, table: SourceTable, window: Window) -> dict[dt.date, Fingerprint]:
        rows: defaultdict[dt.date, list[Row]] = defaultdict(list)
        for row in self.rows(table, window):
            rows[day_of(table, row, window)].append(row)
        assert table.cursor
        now = dt.datetime.now(dt.UTC)
        return {
            day: Fingerprint(
                rows=len(found),
                newest=max((at for row in found if (at := moment(row[table.cursor])) <= now), default=None),
                hash=sum(int.from_bytes(hashlib.sha256(repr(row).encode()).digest()[:8]) for row in found) % 2**64,
            )
            for day, found in rows.items()
        }

    def count(self, table: SourceTable) -> int:
        return len(self.rows(table))

    def newest_change(self, table: SourceTable) -> NewestChange:
        assert table.cursor
        now = dt.datetime.now(dt.UTC)
        times = [moment(row[table.cursor]) for row in self.rows(table)]
        past, future = [time for time in times if time <= now], [time for time in times if time > now]
        furthest = str(max(future)) if future else None
        return NewestChange(now - max(past) if past else None, min(len(future), COUNTED + 1), furthest)

    def bad_keys(self, table: SourceTable) -> int:
        keys = Counter(tuple(row[name] for name in table.primary_key) for row in self.rows(table))
        return keys.total() - len([key for key in keys if None not in key])

    def unpartitioned(self, table: SourceTable, start: dt.date) -> Mapping[str, int]:
        assert table.cursor
        early = [row for row in self.rows(table) if moment(row[table.cursor]).date() < start]
        return {f"{table.cursor} is before {start}": min(len(early), COUNTED + 1)} if early else {}

    def rows(self, table: SourceTable, window: Window | None = None) -> list[Row]:
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        found = self.connection.execute(f'select {names} from "{table.name}" order by {table.cursor}').fetchall()
        return [row for row in found if window is None or within(table, row, window)]

    def _header(self, name: str) -> int:
        (found,) = self.connection.execute(f"pragma {name}").fetchone().values()
        return int(found)

    def _written(self) -> int:
        with self.path.open("rb") as file:
            file.seek(24)
            return int.from_bytes(file.read(4))


@dataclass(frozen=True)
class SqliteReading(Reading):
    reader: SqliteReader

    def scan(self, window: Window) -> Iterator[pa.RecordBatch]:
        yield from self._arrow(self._travelling(window)).to_batches()

    def versions(self, window: Window) -> pa.Table:
        return self._arrow(self._travelling(window)).select(list(self.table.version))

    def rejected(self, window: Window) -> Iterator[tuple[dt.date, str, str]]:
        for row in self.reader.rows(self.table, window):
            if reasons := self._reasons(row):
                masked = {
                    column.name: f"***({len(str(row[column.name]))})"
                    for column in self.columns
                    if column.pii and row[column.name] is not None
                }
                yield day_of(self.table, row, window), reasons, json.dumps({**row, **masked})

    def looked_up(self, keys: pa.Table, start: dt.date) -> tuple[pa.Table, pa.Table]:
        wanted = {tuple(row.values()) for row in keys.to_pylist()}
        found = [row for row in self.reader.rows(self.table) if self._key(row) in wanted]
        assert self.table.cursor
        travels = {
            self._key(row): moment(row[self.table.cursor]).date() >= start and not self._reasons(row) for row in found
        }
        valid = self._arrow([row for row in found if travels[self._key(row)]])
        rejected = self._arrow([row for row in found if not travels[self._key(row)]])
        return valid, rejected.select(list(self.table.primary_key))

    def keys(self, everything: Window) -> SqliteKeys:
        return SqliteKeys(
            {
                "|".join(map(str, self._key(row))): day_of(self.table, row, everything)
                for row in self._travelling(everything)
            }
        )

    def rows_of(self, query: str, window: Window) -> list[tuple[Any, ...]]:
        raise NotImplementedError("no mart is compared with it")

    def _travelling(self, window: Window) -> list[Row]:
        return [row for row in self.reader.rows(self.table, window) if not self._reasons(row)]

    def _reasons(self, row: Row) -> str:
        return "; ".join(
            f"{column.name} is below {column.minimum}"
            for column in self.table.columns
            if column.minimum is not None and row[column.name] is not None and row[column.name] < column.minimum
        )

    def _key(self, row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in self.table.primary_key)

    def _arrow(self, rows: Sequence[Row]) -> pa.Table:
        times = [column.name for column in self.columns if column.type == TIMESTAMP]
        typed = [{**row, **{name: moment(row[name]) for name in times if row[name]}} for row in rows]
        return pa.Table.from_pylist(typed, schema=carried_schema(self.columns))


@dataclass(frozen=True)
class SqliteKeys:
    days: Mapping[str, dt.date]

    def ranges(self, letters: int, within: Sequence[str]) -> Ranges:
        found: dict[str, tuple[int, int, int]] = {}
        for key in self._in(within):
            hashed = hashlib.md5(key.encode()).hexdigest()
            sums = (
                sum(ord(letter) * 131**power for power, letter in enumerate(five))
                for five in (hashed[-10:-5], hashed[-5:])
            )
            keys, first, second = found.get(hashed[:letters], (0, 0, 0))
            a, b = sums
            found[hashed[:letters]] = keys + 1, first + a, second + b
        return found

    def keys(self, within: Sequence[str]) -> Mapping[str, dt.date]:
        return {key: self.days[key] for key in self._in(within)}

    def _in(self, within: Sequence[str]) -> list[str]:
        return [key for key in self.days if not within or hashlib.md5(key.encode()).hexdigest().startswith((*within,))]


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def within(table: SourceTable, row: Row, window: Window) -> bool:
    assert table.cursor
    day = moment(row[table.cursor]).date()
    return window.first <= day and (window.open_ended or day < window.end)


def day_of(table: SourceTable, row: Row, window: Window) -> dt.date:
    assert table.cursor
    return min(moment(row[table.cursor]).date(), window.last)
