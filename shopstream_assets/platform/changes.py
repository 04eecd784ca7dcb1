"""Which days of the source differ from the lake.

A day is known by the fingerprints of its tables (rows, newest cursor, hash of keys and cursors), compared with those in
the lake's manifests. So a late commit, a back-dated update or a lost manifest heals itself; how a row changed does not
matter. A row that changes leaves its old day, which then differs as well: such a day has nothing new, its version in
the log is history, and it is left alone.
"""

import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import BaseModel

from shopstream_assets.platform.extract import EMPTY, Fingerprint, SchemaMismatch, fingerprints, plan, scan
from shopstream_assets.platform.lake import MANIFEST, Manifest, ManifestDamaged, read_manifests
from shopstream_assets.platform.partitions import ONE_DAY, Window
from shopstream_assets.platform.resources.object_store import ObjectMissing, ObjectStoreResource
from shopstream_assets.platform.resources.postgres import PostgresResource
from shopstream_assets.platform.source_probe import open_connection
from shopstream_assets.platform.tables import SourceTable

if TYPE_CHECKING:
    import pyarrow as pa
    from adbc_driver_manager.dbapi import Connection

# A day that was asked for and still differs is asked for again after this time, each time twice as late: its run failed
# or was lost.
ASK_AGAIN_AFTER = dt.timedelta(minutes=10)
ASK_AGAIN_AT_THE_LATEST = dt.timedelta(hours=6)
# Days with more rows than this are taken again without comparing row by row.
COMPARE_ROWS = 1_000_000
NO_SUCH_TABLE = "42P01"

Source = Mapping[str, Mapping[dt.date, Fingerprint]]
"""Table -> day -> fingerprint; tables that the source does not have are left out."""
Changes = dict[dt.date, set[str]]
"""Day -> tables that differ from the lake."""


class Asked(BaseModel):
    """A day that was asked for: how the source looked then, when, and how often before that."""

    digest: str
    at: dt.datetime
    attempt: int = 0

    @property
    def again_at(self) -> dt.datetime:
        """When to ask again if nothing has changed."""
        return self.at + min(ASK_AGAIN_AFTER * 2**self.attempt, ASK_AGAIN_AT_THE_LATEST)


class Cursor(BaseModel):
    """What is remembered from tick to tick, and over restarts. Small, as Dagster stores it with every tick.

    `settled`: how the source looked on the days that the lake has; `looked_back_at` and `audited_at`: see the sensor.
    """

    settled: dict[dt.date, str] = {}
    asked: dict[dt.date, Asked] = {}
    looked_back_at: dt.datetime | None = None
    audited_at: dt.datetime | None = None

    def forget_before(self, day: dt.date) -> None:
        """Drop days that no tick looks at any more."""
        self.settled = {key: digest for key, digest in self.settled.items() if key >= day}
        self.asked = {key: asked for key, asked in self.asked.items() if key >= day}


def differing_days(
    tables: Sequence[SourceTable],
    source: PostgresResource,
    store: ObjectStoreResource,
    cursor: Cursor,
    window: Window,
    now: dt.datetime,
    taken: Callable[[], Collection[dt.date]] = tuple,
) -> tuple[Changes, list[str]]:
    """What is to be asked for now, remembered in `cursor`; and the tables that the source does not have.

    Days that are `taken` wait, for a run is on them; that is asked only where there is something to do. Raises
    ServiceError when the source or the lake does not answer.
    """
    changed: Changes = {}
    with open_connection(source) as connection:
        found = look(connection, tables, source.schema_name, window)
        here = [table for table in tables if table.name in found]
        digests = {day: _digest(found, day, now) for day in window.days} if here else {}
        open_days = [day for day, digest in digests.items() if _is_open(cursor, day, digest, now)]
        if open_days:
            waiting = taken()
            open_days = [day for day in open_days if day not in waiting]
        manifests = {table.name: _manifests(store, table, open_days) for table in here}
        for day in open_days:
            # An empty day that is over is published too: what is missing can then be told from what is empty.
            differing = {
                table.name
                for table in here
                if (day in found[table.name] or day < now.date())
                and _differs(
                    connection,
                    source.schema_name,
                    store,
                    table,
                    manifests[table.name][day],
                    found[table.name].get(day, EMPTY),
                )
            }
            before, digest = cursor.asked.pop(day, None), digests[day]
            if differing:
                attempt = before.attempt + 1 if before and before.digest == digest else 0
                cursor.settled.pop(day, None)
                cursor.asked[day] = Asked(digest=digest, at=now, attempt=attempt)
                changed[day] = differing
            else:
                cursor.settled[day] = digest
    return changed, [table.name for table in tables if table.name not in found]


def look(connection: "Connection", tables: Iterable[SourceTable], schema: str, window: Window) -> Source:
    """The fingerprints of the window's days; one indexed query per table."""
    import adbc_driver_postgresql.dbapi as adbc

    found: dict[str, Mapping[dt.date, Fingerprint]] = {}
    for table in tables:
        try:
            found[table.name] = fingerprints(connection, table, schema, window)
        except adbc.Error as error:
            if error.sqlstate != NO_SUCH_TABLE:
                raise
    return found


def missing_days(store: ObjectStoreResource, table: SourceTable, window: Window) -> set[dt.date]:
    """Days of the window of which the lake has no manifest; from one listing."""
    start, end = (f"{table.lake_prefix}/dt={day}" for day in (window.first, window.end))
    present = {
        key.rsplit("/", 2)[-2].removeprefix("dt=")
        for key, _, _ in store.listed(f"{table.lake_prefix}/dt=", start_after=start, until=end)
        if key.endswith(f"/{MANIFEST}")
    }
    return {day for day in window.days if day.isoformat() not in present}


def has_arrivals(
    connection: "Connection",
    schema: str,
    store: ObjectStoreResource,
    table: SourceTable,
    manifest: Manifest,
    now: Fingerprint,
) -> bool:
    """Whether the source's day holds a (key, cursor) that the lake's does not; rows that left do not count."""
    newest = manifest.source_newest
    if now.rows > manifest.source_rows or (now.newest and (newest is None or now.newest > newest)):
        return True
    if now.rows == 0:
        return False
    if manifest.source_rows > COMPARE_ROWS:
        return True
    try:
        source = _keys_in_source(connection, schema, table, manifest.partition)
        lake = _keys_in_lake(store, table, manifest)
    except (ObjectMissing, SchemaMismatch):
        # Taking the day again puts a lost object back, and says what is wrong with the table.
        return True
    # What Postgres has beyond the rows that may travel would be quarantined.
    if now.rows - source.num_rows > manifest.quarantined_rows or lake is None or lake.schema != source.schema:
        return True
    return source.join(lake, keys=source.column_names, join_type="left anti").num_rows > 0


def _keys_in_source(connection: "Connection", schema: str, table: SourceTable, day: dt.date) -> "pa.Table":
    import pyarrow as pa

    from shopstream_assets.platform.extract import carried_schema

    names = (*table.primary_key, table.cursor)
    reading = plan(connection, table, schema)
    at = [[column.name for column in reading.columns].index(name) for name in names]
    keys = replace(reading, columns=tuple(reading.columns[n] for n in at), select=tuple(reading.select[n] for n in at))
    batches = scan(connection, keys, Window(day, day + ONE_DAY))
    return pa.Table.from_batches(batches, schema=carried_schema(keys.columns))


def _keys_in_lake(store: ObjectStoreResource, table: SourceTable, manifest: Manifest) -> "pa.Table | None":
    """(key, cursor) of the partition's rows; None where an object cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [*table.primary_key, table.cursor]
    try:
        parts = [pq.read_table(pa.BufferReader(store.get(item.key)), columns=names) for item in manifest.objects]
    except pa.ArrowInvalid:
        return None
    return pa.concat_tables(parts).replace_schema_metadata(None) if parts else None


def _differs(
    connection: "Connection",
    schema: str,
    store: ObjectStoreResource,
    table: SourceTable,
    manifest: Manifest | None,
    now: Fingerprint,
) -> bool:
    if manifest is None:
        return True
    if (manifest.source_rows, manifest.source_hash) == (now.rows, now.hash):
        return False
    return has_arrivals(connection, schema, store, table, manifest, now)


def _manifests(
    store: ObjectStoreResource, table: SourceTable, days: Sequence[dt.date]
) -> Mapping[dt.date, Manifest | None]:
    """Manifests by day; a damaged one counts as missing, so that its day is taken again."""
    try:
        return read_manifests(store, table, days)
    except ManifestDamaged:
        return dict(_one_by_one(store, table, days))


def _one_by_one(
    store: ObjectStoreResource, table: SourceTable, days: Sequence[dt.date]
) -> Iterator[tuple[dt.date, Manifest | None]]:
    for day in days:
        try:
            yield day, read_manifests(store, table, [day])[day]
        except ManifestDamaged:
            yield day, None


def _is_open(cursor: Cursor, day: dt.date, digest: str, now: dt.datetime) -> bool:
    """Whether a day must be compared with the lake: it is new, it changed, or what was asked for is overdue."""
    if asked := cursor.asked.get(day):
        return asked.digest != digest or now >= asked.again_at
    return cursor.settled.get(day) != digest


def _digest(found: Source, day: dt.date, now: dt.datetime) -> str:
    """How the source looks on a day, in 12 characters; the end of the day is a change as well."""
    looks = [(name, days[day].rows, days[day].hash) for name, days in found.items() if day in days]
    return hashlib.sha256(repr((looks, sorted(found), day < now.date())).encode()).hexdigest()[:12]
