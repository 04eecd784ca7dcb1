"""Comparing a whole table with its source, where day by day nothing has shown: rows that went without a trace.

Two questions, each bounded by one scan of the table on each side, and asked on a clock or on demand:

- Does every day of its history still look as its manifest says? One query for the fingerprints of all days.
- Are its keys those of staging's state? Both sides count and sum up their keys in ranges of a hash; only where a range
  differs are its parts compared, and at the end the keys themselves. So what a partition's lost manifest knew of a
  deleted key, or a truncated table of a source that keeps no dates, is found too.

What differs is extracted again, by the days that hold it: that is where tombstones are made.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.declare.tables import Column, SourceTable, quoted, snowflake_name
from shopstream_assets.platform.lake.manifest import (
    DELETED_COLUMN,
    PARTITION_COLUMN,
    QUARANTINED_COLUMN,
    SNAPSHOT_COLUMN,
    published,
    readable_manifests,
)
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.refresh.changes import reads_otherwise
from shopstream_assets.platform.sources.postgres.cursor import day_of
from shopstream_assets.platform.sources.postgres.extract import EMPTY, fingerprints, plan
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.staging.change_log import create_staging_table, staging_relation
from shopstream_assets.platform.staging.ledger import create_ledgers
from shopstream_assets.platform.staging.warehouse import WarehouseResource

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection
    from snowflake.connector.cursor import SnowflakeCursor

# Letters of a key's hash that name its range: 256 ranges, then the parts of those that differ.
LEVELS = (2, 4)
# So many keys are compared one by one without looking any closer.
FETCH_KEYS = 100_000
# Of so many keys that are gone, the days are looked up; of more, all days are taken.
GONE_KEYS = 2_000

Ranges = dict[str, tuple[int, int, int]]
"""Range of the hash -> keys, and two sums over their hashes."""


@dataclass
class Reconciled:
    """What a comparison found: the days to extract again, and why. `gone` and `new` are counts of keys."""

    days: set[dt.date] = field(default_factory=set)
    differing_days: int = 0
    gone: int = 0
    new: int = 0

    def __str__(self) -> str:
        parts = [
            f"{count} {what}"
            for count, what in (
                (self.differing_days, "days look otherwise than their manifests say"),
                (self.gone, "rows of staging are not in the source"),
                (self.new, "rows of the source are not in staging"),
            )
            if count
        ]
        return ", ".join(parts) or "nothing differs"


def reconcile(
    source: PostgresResource,
    store: ObjectStoreResource,
    warehouse: WarehouseResource,
    table: SourceTable,
    everything: Window,
) -> Reconciled:
    """Compare all of a table with the source; `everything` is from its first day to today.

    Raises Problem where a service does not answer or the table cannot be read.
    """
    found = Reconciled()
    with source.snapshot([table]) as connection, warehouse.connection(REPORTING) as session:
        create_staging_table(session, warehouse.database, table, ())
        create_ledgers(session, warehouse.database)
        found.days = _differing_days(connection, source.schema_name, store, table, everything)
        found.differing_days = len(found.days)
        with session.cursor() as cursor:
            here, there = (
                _Postgres(connection, source.schema_name, table, everything),
                _Staging(cursor, warehouse, table),
            )
            gone, new = _differing_keys(here, there)
            found.gone, found.new = len(gone), len(new)
            found.days |= set(new.values())
            if len(gone) > GONE_KEYS:
                found.days |= set(published(store, table, everything))
            elif gone:
                found.days |= there.days_of(sorted(gone))
    return found


def _differing_days(
    connection: Connection, schema: str, store: ObjectStoreResource, table: SourceTable, everything: Window
) -> set[dt.date]:
    counted = fingerprints(connection, table, schema, everything)
    manifests = readable_manifests(store, table, published(store, table, everything))
    reading = plan(connection, table, schema)
    differing = {
        day for day in everything.days if manifests.get(day) is None and (day in counted or day < everything.last)
    }
    for day, manifest in manifests.items():
        now = counted.get(day, EMPTY)
        if manifest and (not manifest.is_of(now) or reads_otherwise(manifest, reading)):
            differing.add(day)
    return differing


def _differing_keys(here: _Postgres, there: _Staging) -> tuple[set[str], dict[str, dt.date]]:
    """Keys, as text, that staging's state has and the source has not; and the other way round, with their days."""
    within: list[str] = []
    for letters in LEVELS:
        mine, theirs = here.ranges(letters, within), there.ranges(letters, within)
        within = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
        if not within:
            return set(), {}
        if sum(counts.get(name, (0,))[0] for counts in (mine, theirs) for name in within) <= FETCH_KEYS:
            break
    found, known = here.keys(within), there.keys(within)
    return known - found.keys(), {key: day for key, day in found.items() if key not in known}


def _hashed(key: str, right: Callable[[str], str]) -> tuple[str, str]:
    """SQL for two numbers out of letters of the key's hash, in the dialect of both sides."""
    letters = [f"cast(ascii(substr({right(key)}, {at}, 1)) as bigint)" for at in range(1, 11)]
    return tuple(  # type: ignore[return-value]
        " + ".join(f"{letter} * {131**power}" for power, letter in enumerate(letters[first : first + 5]))
        for first in (0, 5)
    )


class _Side:
    """One side of the comparison: `hashed` is SQL for the hash of a row's key, of rows that count."""

    hashed: str
    key: str
    rows: str

    def ranges_sql(self, letters: int, within: Sequence[str]) -> str:
        first, second = _hashed(self.hashed, lambda value: f"right({value}, 10)")
        return (
            f"select left({self.hashed}, {letters}), count(*), sum({first}), sum({second}) from ({self.rows}) as found"
            f"{self._where(within)} group by 1"
        )

    def keys_sql(self, columns: str, within: Sequence[str]) -> str:
        return f"select {columns} from ({self.rows}) as found{self._where(within)}"

    def _where(self, within: Sequence[str]) -> str:
        # Hexadecimal digits, of our own making.
        names = ", ".join(f"'{name}'" for name in within)
        return f" where left({self.hashed}, {len(within[0])}) in ({names})" if within else ""


class _Postgres(_Side):
    def __init__(self, connection: Connection, schema: str, table: SourceTable, everything: Window) -> None:
        reading = plan(connection, table, schema)
        self.connection, self.hashed = connection, "md5(key_text)"
        columns = [table.column(name) for name in table.primary_key]
        key = " || '|' || ".join(_postgres_text(column) for column in columns)
        self.rows = (
            f"select {key} as key_text, {day_of(table, everything)} as day from {reading.source} as t "
            f"where {reading.within(everything)} and {reading.valid}"
        )

    def ranges(self, letters: int, within: Sequence[str]) -> Ranges:
        return {name: (int(a), int(b), int(c)) for name, a, b, c in self._all(self.ranges_sql(letters, within))}

    def keys(self, within: Sequence[str]) -> dict[str, dt.date]:
        return dict(self._all(self.keys_sql("key_text, day", within)))

    def _all(self, query: str) -> Iterable[tuple]:
        with self.connection.cursor() as cursor:
            # Sums arrive as text: a numeric has no other form in Arrow.
            cursor.execute(query)
            return cursor.fetchall()


class _Staging(_Side):
    def __init__(self, cursor: SnowflakeCursor, warehouse: WarehouseResource, table: SourceTable) -> None:
        self.cursor, self.hashed = cursor, "md5(key_text)"
        self.relation = staging_relation(warehouse.database, table)
        self.key_text = " || '|' || ".join(_snowflake_text(table.column(name)) for name in table.primary_key)
        keys, snapshot = ", ".join(map(snowflake_name, table.primary_key)), snowflake_name(SNAPSHOT_COLUMN)
        deleted, quarantined = snowflake_name(DELETED_COLUMN), snowflake_name(QUARANTINED_COLUMN)
        self.rows = (
            f"select {self.key_text} as key_text from {self.relation} "
            f"qualify row_number() over (partition by {keys} order by {snapshot} desc nulls last) = 1 "
            f"and not coalesce({deleted}, false) and not coalesce({quarantined}, false)"
        )

    def ranges(self, letters: int, within: Sequence[str]) -> Ranges:
        self.cursor.execute(self.ranges_sql(letters, within))
        return {name: (int(a), int(b), int(c)) for name, a, b, c in self.cursor.fetchall()}

    def keys(self, within: Sequence[str]) -> set[str]:
        self.cursor.execute(self.keys_sql("key_text", within))
        return {key for (key,) in self.cursor.fetchall()}

    def days_of(self, keys: Sequence[str]) -> set[dt.date]:
        """The partitions that mention any of the keys."""
        partition, places = snowflake_name(PARTITION_COLUMN), ", ".join(["%s"] * len(keys))
        self.cursor.execute(
            f"select distinct {partition} from {self.relation} where {self.key_text} in ({places})",
            list(keys),
        )
        return {day for (day,) in self.cursor.fetchall()}


def _postgres_text(column: Column) -> str:
    """A key column as the text that it has on both sides."""
    name = f"t.{quoted(column.name)}"
    match column.type.name:
        case "timestamptz":
            return f"(extract(epoch from {name}) * 1000000)::bigint::text"
        case "date":
            return f"to_char({name}, 'YYYY-MM-DD')"
        case "numeric":
            return f"{name}::numeric({column.type.precision},{column.type.scale})::text"
    return f"{name}::text"


def _snowflake_text(column: Column) -> str:
    name = snowflake_name(column.name)
    match column.type.name:
        case "timestamptz":
            return f"date_part(epoch_microsecond, {name})::varchar"
        case "date":
            return f"to_char({name}, 'YYYY-MM-DD')"
    return f"{name}::varchar"
