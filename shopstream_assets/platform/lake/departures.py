"""What became of the keys that a partition held before and no longer holds.

A row whose cursor moves leaves its partition; so does a row that is deleted, or one that comes to break a rule. Were
the partition simply read again, such a key would be lost until the partition that it went to is read too, or for good.
So whatever a partition ever held is looked up by its key in the snapshot that reads the partition: a row that moved
is carried with its new cursor, a row that is gone becomes a tombstone, and one that may not travel a marker. The
version that left stays as history. Each extraction so leaves a truth that is consistent in itself, and in whatever
order partitions are read, the newest snapshot that looked at a key says what is true of it.

The personal columns of a deleted row are emptied in its history.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.lake.manifest import (
    DELETED_AT_COLUMN,
    DELETED_COLUMN,
    PARTITION_COLUMN,
    QUARANTINED_COLUMN,
    SNAPSHOT_COLUMN,
    Kind,
    LakeObject,
    Manifest,
    partition_prefix,
)
from shopstream_assets.platform.lake.object_store import CONCURRENCY, ObjectMissing, ObjectStoreResource
from shopstream_assets.platform.sources.reading import Reading, carried_schema

if TYPE_CHECKING:
    import pyarrow as pa

    from shopstream_assets.platform.lake.writer import LakeWriter


@dataclass(frozen=True)
class Before:
    """The objects of a partition before this extraction; `is_listed`: whatever lies there, and some may be damaged."""

    objects: tuple[LakeObject, ...] = ()
    is_listed: bool = False

    def of(self, *kinds: Kind) -> list[LakeObject]:
        """Those of some kinds."""
        return [item for item in self.objects if item.kind in kinds]


def before(
    store: ObjectStoreResource,
    table: SourceTable,
    window: Window,
    manifests: Mapping[dt.date, Manifest | None],
    intact: Mapping[dt.date, Manifest | None],
) -> dict[dt.date, Before]:
    """What each day of the window held before; days that held nothing are left out.

    Where a day has no manifest, or one whose objects are not all there, whatever lies in its folder counts: none of its
    keys may be lost.
    """
    found = {day: Before(manifest.objects) for day, manifest in intact.items() if manifest and manifest.objects}
    without = [day for day in window.days if not intact.get(day)]
    named = {item.key: item for manifest in manifests.values() if manifest for item in manifest.objects}
    if without:
        for key, size, etag in store.listed(
            f"{table.lake_prefix}/dt=",
            start_after=partition_prefix(table, without[0]),
            until=partition_prefix(table, without[-1]) + "~",
        ):
            day = dt.date.fromisoformat(key.removeprefix(f"{table.lake_prefix}/dt=")[:10])
            name = key.rpartition("/")[2]
            kind: Kind = next((kind for kind in _KINDS if name.startswith(kind)), "current")
            if not intact.get(day) and key.endswith(".parquet"):
                item = named.get(key) or LakeObject(key=key, rows=0, bytes=size, sha256="", etag=etag, kind=kind)
                found[day] = Before((*found.get(day, Before()).objects, item), is_listed=True)
    return found


# A column for the place of a row, in tables of our own making only; no name of Postgres is that long.
ROW = "_row" * 16
_KINDS: tuple[Kind, ...] = ("current", "departed", "history")


def write_departures(
    reading: Reading, writer: LakeWriter, day: dt.date, held: Before | None, *, unchanged: bool
) -> int:
    """Look up what left the day and hand it to the writer; returns how many keys were found deleted just now.

    `unchanged`: the rows of the day are those of `held`, so that none has left since.
    """
    table, store = reading.table, writer.store
    stored = writer.days[day]
    held = held or Before()
    known = _read(store, held.of("departed"), [*table.primary_key, DELETED_AT_COLUMN])
    not_here = [known] if known else []
    left = _no_keys(reading)
    if not unchanged:
        last_held = _read(store, held.of("current"), list(table.primary_key))
        present = _keys(stored.keys, reading)
        left = _without(_together([last_held] if last_held else [], reading), [present])
        not_here = [_without(_together(not_here, reading), [present]), left]
    on_day = _keys_of_json(stored.quarantined_keys, reading)
    gone = _without(_distinct(_together(not_here, reading)), [on_day])
    moved, rejected = reading.looked_up(gone, writer.extraction.start)
    deleted = _without(gone, [moved.select(list(table.primary_key)), rejected])
    marked = _together([on_day, rejected], reading)
    deleted_before = _deleted_at(known, table)
    departed = _departed(reading, writer, moved, deleted, marked, deleted_before)
    if unchanged and _same(departed, _read(store, held.of("departed"), None), table):
        writer.keep(day, held.of("departed"))
    elif len(departed):
        writer.write_departed(day, departed, moved=len(moved), deleted=len(deleted), marked=len(marked))
    newly_deleted = [key for key in _tuples(deleted) if key not in deleted_before]
    _write_history(reading, writer, day, held, left, deleted, is_newly_deleted=bool(newly_deleted))
    return len(newly_deleted)


def _departed(
    reading: Reading,
    writer: LakeWriter,
    moved: pa.Table,
    deleted: pa.Table,
    marked: pa.Table,
    deleted_before: Mapping[tuple[Any, ...], dt.datetime],
) -> pa.Table:
    """The three kinds of departures as rows of one table, each with what the snapshot saw of it."""
    import pyarrow as pa

    now = writer.extraction.extracted_at
    times = pa.array([deleted_before.get(key, now) for key in _tuples(deleted)], pa.timestamp("us", tz="UTC"))
    parts = [
        moved,
        deleted.append_column(DELETED_COLUMN, pa.repeat(True, len(deleted))).append_column(DELETED_AT_COLUMN, times),
        marked.append_column(QUARANTINED_COLUMN, pa.repeat(True, len(marked))),
    ]
    schema = pa.schema(
        [
            *carried_schema(reading.columns),
            (DELETED_COLUMN, pa.bool_()),
            (DELETED_AT_COLUMN, pa.timestamp("us", tz="UTC")),
            (QUARANTINED_COLUMN, pa.bool_()),
        ]
    )
    rows = pa.concat_tables(parts, promote_options="default").cast(schema) if any(map(len, parts)) else None
    if rows is None:
        return schema.empty_table()
    order = [(name, "ascending") for name in reading.table.primary_key]
    position = pa.repeat(pa.scalar(writer.extraction.position), len(rows))
    return rows.sort_by(order).append_column(SNAPSHOT_COLUMN, position)


def _same(now: pa.Table, then: pa.Table | None, table: SourceTable) -> bool:
    """Whether departures say what those before said, by another snapshot."""
    if then is None:
        return not len(now)
    names = [name for name in now.column_names if name != SNAPSHOT_COLUMN]
    if len(now) != len(then) or set(now.column_names) != set(then.column_names):
        return False
    order = [(name, "ascending") for name in table.primary_key]
    return now.select(names).equals(then.sort_by(order).select(names))


def _write_history(
    reading: Reading,
    writer: LakeWriter,
    day: dt.date,
    held: Before,
    left: pa.Table,
    deleted: pa.Table,
    *,
    is_newly_deleted: bool,
) -> None:
    """Keep the versions that left the day, beside those that had left before."""
    import pyarrow as pa

    old = held.of("history")
    rows = _read(writer.store, held.of("current"), None) if len(left) else None
    just_left = _only(rows, left) if rows else None
    # What is listed may be damaged, or repeat each other.
    if just_left is None and not (is_newly_deleted and old) and len(old) <= 1 and not (old and held.is_listed):
        writer.keep(day, old)
        return
    parts = [part for part in (_read(writer.store, old, None), just_left) if part and len(part)]
    if not parts:
        return
    history = pa.concat_tables([_retyped(part, reading) for part in parts], promote_options="permissive")
    history = _distinct(_without_personal(history, reading.table, deleted))
    writer.write_history(day, history.sort_by([(name, "ascending") for name in _order(history, reading.table)]))


def _order(history: pa.Table, table: SourceTable) -> list[str]:
    return [name for name in (*table.primary_key, SNAPSHOT_COLUMN) if name in history.column_names]


def _without_personal(history: pa.Table, table: SourceTable, deleted: pa.Table) -> pa.Table:
    """The history, without the personal columns of keys that are deleted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    personal = [
        column.name
        for column in table.columns
        if column.pii and column.name in history.column_names and column.name not in table.primary_key
    ]
    if not personal or not len(deleted):
        return history
    gone = set(_tuples(deleted))
    is_gone = pa.array([key in gone for key in _tuples(history.select(list(table.primary_key)))], pa.bool_())
    for name in personal:
        at = history.column_names.index(name)
        kind = history.schema.field(at).type
        history = history.set_column(at, name, pc.if_else(is_gone, pa.scalar(None, kind), history.column(at)))
    return history


def _retyped(rows: pa.Table, reading: Reading) -> pa.Table:
    """Older rows in the types that the table has now; a value that its new type cannot hold becomes null."""
    import pyarrow as pa

    wanted = {column.name: column.type.arrow for column in reading.columns}
    for at, field in enumerate(rows.schema):
        kind = wanted.get(field.name, field.type)
        if field.type != kind:
            try:
                values = rows.column(at).cast(kind)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                values = pa.chunked_array([pa.nulls(len(rows), kind)])
            rows = rows.set_column(at, field.name, values)
    return rows


def _read(store: ObjectStoreResource, objects: Sequence[LakeObject], columns: list[str] | None) -> pa.Table | None:
    """The rows of objects, with the columns that they have of `columns`, None for all; None where there are no rows.

    An object that is gone, unreadable or not the one that was written is passed over: extracting the day again is what
    repairs it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def read(item: LakeObject) -> pa.Table | None:
        try:
            content = store.get(item.key)
        except ObjectMissing:
            return None
        # Of an object that no manifest names, nothing says what it was.
        if item.sha256 and hashlib.sha256(content).hexdigest() != item.sha256:
            return None
        try:
            file = pq.ParquetFile(io.BytesIO(content))
            wanted = [name for name in file.schema_arrow.names if columns is None or name in columns]
            found = file.read([name for name in wanted if name != PARTITION_COLUMN])
        except (pa.ArrowException, OSError):
            return None
        if columns is None and SNAPSHOT_COLUMN not in found.column_names:
            found = found.append_column(SNAPSHOT_COLUMN, pa.nulls(len(found), pa.string()))
        return found.replace_schema_metadata(None)

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        tables = [found for found in pool.map(read, objects) if found is not None]
    return pa.concat_tables(tables, promote_options="permissive") if tables else None


def _deleted_at(known: pa.Table | None, table: SourceTable) -> dict[tuple[Any, ...], dt.datetime]:
    """When each key was first seen to be gone."""
    if known is None or DELETED_AT_COLUMN not in known.column_names:
        return {}
    times = known.column(DELETED_AT_COLUMN).to_pylist()
    keys = _tuples(known.select(list(table.primary_key)))
    return {key: time for key, time in zip(keys, times, strict=True) if time is not None}


def _keys(batches: Sequence[pa.RecordBatch], reading: Reading) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_batches(batches, schema=_no_keys(reading).schema)


def _no_keys(reading: Reading) -> pa.Table:
    return carried_schema(reading.key_columns).empty_table()


def _keys_of_json(rows: Sequence[tuple[Any, ...]], reading: Reading) -> pa.Table:
    """Keys that came as JSON, in the types that they travel in; one that has no such value is left out."""
    import pyarrow as pa

    schema = _no_keys(reading).schema
    whole = [key for key in rows if all(value is not None for value in key)]
    columns = [pa.array([str(key[n]) for key in whole], pa.string()).cast(field.type) for n, field in enumerate(schema)]
    return _distinct(pa.Table.from_arrays(columns, schema=schema))


def _together(tables: Iterable[pa.Table], reading: Reading) -> pa.Table:
    import pyarrow as pa

    schema = _no_keys(reading).schema
    return pa.concat_tables([schema.empty_table(), *(found.select(schema.names).cast(schema) for found in tables)])


def _distinct(rows: pa.Table) -> pa.Table:
    """The rows without their repetitions; of those the first stays."""
    import pyarrow as pa

    # Arrow groups by no list: it goes by its text.
    compared = [
        pa.chunked_array([pa.array(map(repr, column.to_pylist()), pa.string())])
        if pa.types.is_nested(column.type)
        else column
        for column in rows.columns
    ]
    numbered = pa.table([*compared, _numbers(rows)], names=[*rows.column_names, ROW])
    first = numbered.group_by(rows.column_names, use_threads=False).aggregate([(ROW, "min")])
    return rows.take(first.column(f"{ROW}_min"))


def _without(keys: pa.Table, others: Iterable[pa.Table]) -> pa.Table:
    """The keys that are in none of the others."""
    for other in others:
        if len(keys) and len(other):
            keys = keys.join(other.cast(keys.schema), keys=keys.column_names, join_type="left anti")
    return keys


def _only(rows: pa.Table, keys: pa.Table) -> pa.Table:
    """The rows with one of the keys."""
    names = keys.column_names
    # Not the rows themselves: Arrow joins no lists.
    own = rows.select(names).append_column(ROW, _numbers(rows))
    found = own.join(keys.cast(rows.select(names).schema), keys=names, join_type="left semi")
    return rows.take(found.column(ROW))


def _numbers(rows: pa.Table) -> pa.Array:
    """The place of each row."""
    import numpy as np
    import pyarrow as pa

    return pa.array(np.arange(len(rows)))


def _tuples(keys: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in keys.columns), strict=True))
