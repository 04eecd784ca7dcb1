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
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.declare.tables import Column, SourceTable, snowflake_name
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
from shopstream_assets.platform.sources.key_ranges import KeysOfSource, Ranges, keys_sql, ranges_sql
from shopstream_assets.platform.sources.port import SourceReader, SourceResource
from shopstream_assets.platform.sources.reading import EMPTY
from shopstream_assets.platform.staging.change_log import create_staging_table, staging_relation
from shopstream_assets.platform.staging.ledger import create_ledgers
from shopstream_assets.platform.staging.warehouse import WarehouseResource

if TYPE_CHECKING:
    from snowflake.connector.cursor import SnowflakeCursor

# Letters of a key's hash that name its range: 256 ranges, then the parts of those that differ.
LEVELS = (2, 4)
# So many keys are compared one by one without looking any closer.
FETCH_KEYS = 100_000
# Of so many keys that are gone, the days are looked up; of more, all days are taken.
GONE_KEYS = 2_000


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
    source: SourceResource,
    store: ObjectStoreResource,
    warehouse: WarehouseResource,
    table: SourceTable,
    everything: Window,
) -> Reconciled:
    """Compare all of a table with the source; `everything` is from its first day to today.

    Raises Problem where a service does not answer or the table cannot be read.
    """
    found = Reconciled()
    with source.snapshot([table]) as reader, warehouse.connection(REPORTING) as session:
        create_staging_table(session, warehouse.database, table, ())
        create_ledgers(session, warehouse.database)
        found.days = _differing_days(reader, store, table, everything)
        found.differing_days = len(found.days)
        with session.cursor() as cursor:
            here, there = reader.plan(table).keys(everything), _Staging(cursor, warehouse, table)
            gone, new = _differing_keys(here, there)
            found.gone, found.new = len(gone), len(new)
            found.days |= set(new.values())
            if len(gone) > GONE_KEYS:
                found.days |= set(published(store, table, everything))
            elif gone:
                found.days |= there.days_of(sorted(gone))
    return found


def _differing_days(
    reader: SourceReader, store: ObjectStoreResource, table: SourceTable, everything: Window
) -> set[dt.date]:
    counted = reader.fingerprints(table, everything)
    manifests = readable_manifests(store, table, published(store, table, everything))
    reading = reader.plan(table)
    differing = {
        day for day in everything.days if manifests.get(day) is None and (day in counted or day < everything.last)
    }
    for day, manifest in manifests.items():
        now = counted.get(day, EMPTY)
        if manifest and (not manifest.is_of(now) or reads_otherwise(manifest, reading)):
            differing.add(day)
    return differing


def _differing_keys(here: KeysOfSource, there: _Staging) -> tuple[set[str], dict[str, dt.date]]:
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


class _Staging:
    def __init__(self, cursor: SnowflakeCursor, warehouse: WarehouseResource, table: SourceTable) -> None:
        self.cursor = cursor
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
        self.cursor.execute(ranges_sql(self.rows, letters, within))
        return {name: (int(a), int(b), int(c)) for name, a, b, c in self.cursor.fetchall()}

    def keys(self, within: Sequence[str]) -> set[str]:
        self.cursor.execute(keys_sql(self.rows, "key_text", within))
        return {key for (key,) in self.cursor.fetchall()}

    def days_of(self, keys: Sequence[str]) -> set[dt.date]:
        """The partitions that mention any of the keys."""
        partition, places = snowflake_name(PARTITION_COLUMN), ", ".join(["%s"] * len(keys))
        self.cursor.execute(
            f"select distinct {partition} from {self.relation} where {self.key_text} in ({places})",
            list(keys),
        )
        return {day for (day,) in self.cursor.fetchall()}


def _snowflake_text(column: Column) -> str:
    name = snowflake_name(column.name)
    match column.type.name:
        case "timestamptz":
            return f"date_part(epoch_microsecond, {name})::varchar"
        case "date":
            return f"to_char({name}, 'YYYY-MM-DD')"
    return f"{name}::varchar"
