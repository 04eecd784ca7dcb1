"""Rows as immutable Parquet objects in the lake.

Objects are named by their content and never replaced, so a reader in the middle of an older manifest still finds all
of its own; what no manifest names any more is deleted a day later (superseded.py).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake.checksums import checksums
from shopstream_assets.platform.lake.manifest import (
    PARTITION_COLUMN,
    SNAPSHOT_COLUMN,
    Kind,
    LakeObject,
    Manifest,
    ManifestColumn,
    partition_prefix,
    write_manifest,
)
from shopstream_assets.platform.lake.object_store import CONCURRENCY, ObjectStoreResource
from shopstream_assets.platform.sources.reading import EMPTY, Drift, Fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

# Arrow bytes of one object: large enough to compress well, small enough that those in flight stay below 300 MB.
OBJECT_BYTES = 32 * 1024 * 1024
OBJECTS_IN_FLIGHT = 2
SMALL_OBJECTS_IN_FLIGHT = 4
QUARANTINE_OBJECT_BYTES = 16 * 1024 * 1024


@dataclass
class Day:
    """What has been stored of one partition so far.

    `unchanged`: the manifest whose rows are still those of the day; they need not be written again. `keys` are those of
    its rows, where they were asked for; `quarantined_keys` are as JSON has them.
    """

    rows: int = 0
    objects: list[Future[LakeObject]] = field(default_factory=list)
    kept: tuple[LakeObject, ...] = ()
    unchanged: Manifest | None = None
    keys: list[pa.RecordBatch] = field(default_factory=list)
    departures: Counter[str] = field(default_factory=Counter)
    quarantined_rows: int = 0
    quarantined_keys: list[tuple[Any, ...]] = field(default_factory=list)
    quarantine: list[Future[LakeObject]] = field(default_factory=list)


@dataclass(frozen=True)
class Extraction:
    """What all manifests of one extraction have in common; `reading` tells how the table was read.

    `forgotten` are the days of which what they held before is not all there.
    """

    window: Window
    position: str
    source: str
    extracted_at: dt.datetime
    columns: tuple[ManifestColumn, ...]
    drift: Drift
    reading: str
    start: dt.date
    forgotten: Collection[dt.date] = ()


class LakeWriter:
    """Splits ordered batches by day into Parquet objects and uploads them while the next ones are read.

    Memory is bounded by OBJECT_BYTES and the uploads in flight, not by the window, but for the keys of days in
    `keys_of`. Nothing counts before `publish`.
    """

    def __init__(
        self,
        store: ObjectStoreResource,
        table: SourceTable,
        pool: ThreadPoolExecutor,
        extraction: Extraction,
        keys_of: Collection[dt.date],
    ) -> None:
        self.store, self.table, self.pool = store, table, pool
        self.extraction, self.keys_of = extraction, keys_of
        self.days: defaultdict[dt.date, Day] = defaultdict(Day)
        self._large = BoundedSemaphore(OBJECTS_IN_FLIGHT)
        self._small = BoundedSemaphore(SMALL_OBJECTS_IN_FLIGHT)
        self._pending: list[pa.RecordBatch] = []
        self._pending_day: dt.date | None = None
        self._pending_bytes = 0
        self._failure: Exception | None = None

    def write(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Take batches of the window's rows, in the order of the table's cursor."""
        for batch in batches:
            for day, rows in _split_by_day(batch, self.table.cursor, self.extraction.window):
                if day != self._pending_day:
                    self._flush()
                    self._pending_day = day
                self._pending.append(rows)
                self._pending_bytes += rows.nbytes
                if self._pending_bytes >= OBJECT_BYTES:
                    self._flush()
        self._flush()

    def write_departed(self, day: dt.date, rows: pa.Table, **counts: int) -> None:
        """Take what is now known of keys that the day held before, with the columns that say so; `counts` by kind."""
        self.days[day].departures.update(counts)
        self._object(day, "departed", rows)

    def write_history(self, day: dt.date, rows: pa.Table) -> None:
        """Take versions that keys had on the day before they left it, in the columns that they had then."""
        self._object(day, "history", rows)

    def keep(self, day: dt.date, objects: Iterable[LakeObject]) -> None:
        """Name objects of the day's previous manifest in the next one as well."""
        self.days[day].kept += tuple(objects)

    def leave(self, day: dt.date, manifest: Manifest) -> None:
        """Take the day's rows, and those in quarantine, as they are in its manifest."""
        self.days[day].unchanged = manifest
        self.keep(day, (item for item in manifest.objects if item.kind == "current"))

    def quarantine(self, rejected: Iterable[tuple[dt.date, str, str]]) -> None:
        """Store rows that must not travel, as JSON lines with their reasons, whole."""
        lines: list[bytes] = []
        size, current = 0, None
        for day, reasons, row in rejected:
            if lines and (day != current or size >= QUARANTINE_OBJECT_BYTES):
                self._quarantine_object(current, lines)
                lines, size = [], 0
            current = day
            line = b'{"reasons": %s, "row": %s}\n' % (json.dumps(reasons).encode(), row.encode())
            lines.append(line)
            size += len(line)
            self.days[day].quarantined_rows += 1
            content = json.loads(row, parse_float=Decimal)
            self.days[day].quarantined_keys.append(tuple(content.get(name) for name in self.table.primary_key))
        if lines:
            self._quarantine_object(current, lines)

    def publish(
        self, source: Mapping[dt.date, Fingerprint], replaces: Mapping[dt.date, str]
    ) -> dict[dt.date, Manifest]:
        """Wait for all uploads, then write the manifest of every day of the window; returns them.

        `replaces` has the ETag of each day's manifest before. Raises CountMismatch, writing none, when a day's rows are
        not exactly those that the source counted; and ManifestChanged when another extraction was faster on a day.
        """
        manifests = {day: self._manifest(day, source.get(day, EMPTY)) for day in self.extraction.window.days}

        def write(day: dt.date) -> None:
            if manifests[day] != self.days[day].unchanged:
                write_manifest(self.store, self.table, manifests[day], replaces.get(day))

        list(self.pool.map(write, manifests))
        return manifests

    def _manifest(self, day: dt.date, found: Fingerprint) -> Manifest:
        common, stored = self.extraction, self.days[day]
        objects = (*(upload.result() for upload in stored.objects), *stored.kept)
        if (before := stored.unchanged) is not None:
            if set(objects) == set(before.objects):
                return before
            stored.rows, stored.quarantined_rows = before.rows, before.quarantined_rows
        if found.rows != stored.rows + stored.quarantined_rows:
            raise CountMismatch(
                f"on {day} the source has {found.rows} rows, but {stored.rows} were written and "
                f"{stored.quarantined_rows} quarantined; no manifest was written.",
                "materialize the partition again; if it recurs, the source does not keep its snapshots.",
                retry=True,
            )
        return Manifest(
            table=self.table.name,
            partition=day,
            extracted_at=common.extracted_at,
            snapshot=common.position,
            source=common.source,
            rows=stored.rows,
            moved=stored.departures["moved"],
            deleted=stored.departures["deleted"],
            marked=stored.departures["marked"],
            history=sum(item.rows for item in objects if item.kind == "history"),
            bytes=sum(item.bytes for item in objects),
            objects=objects,
            columns=common.columns,
            schema_hash=hashlib.sha256(
                json.dumps([(column.name, column.type) for column in common.columns]).encode()
            ).hexdigest(),
            reading=common.reading,
            source_rows=found.rows,
            source_newest=found.newest,
            source_hash=found.hash,
            quarantined_rows=stored.quarantined_rows,
            quarantine_objects=(
                before.quarantine_objects if before else tuple(upload.result() for upload in stored.quarantine)
            ),
            drift=str(common.drift),
            has_forgotten=day in common.forgotten,
        )

    def _flush(self) -> None:
        if not self._pending:
            return
        import pyarrow as pa

        assert self._pending_day is not None
        day, batches, size = self._pending_day, self._pending, self._pending_bytes
        self._pending, self._pending_bytes = [], 0
        rows = sum(batch.num_rows for batch in batches)
        stored = self.days[day]
        stored.rows += rows
        if day in self.keys_of:
            stored.keys += [batch.select(list(self.table.primary_key)) for batch in batches]
        position = self.extraction.position

        def encode() -> tuple[bytes, dict[str, int]]:
            found = _sorted(pa.Table.from_batches(batches), self.table)
            return parquet(_constant(found, SNAPSHOT_COLUMN, pa.scalar(position)), day), checksums(found)

        stored.objects.append(self._submit(day, "current", "parquet", rows, size, encode))

    def _object(self, day: dt.date, kind: Kind, rows: pa.Table) -> None:
        upload = self._submit(
            day, kind, "parquet", len(rows), rows.nbytes, lambda: (parquet(rows, day), checksums(rows))
        )
        self.days[day].objects.append(upload)

    def _quarantine_object(self, day: dt.date | None, lines: list[bytes]) -> None:
        assert day is not None
        upload = self._submit(
            day, "quarantine", "jsonl", len(lines), sum(map(len, lines)), lambda: (b"".join(lines), {})
        )
        self.days[day].quarantine.append(upload)

    def _submit(
        self,
        day: dt.date,
        kind: Kind,
        suffix: str,
        rows: int,
        size: int,
        encode: Callable[[], tuple[bytes, dict[str, int]]],
    ) -> Future[LakeObject]:
        stored = self.days[day]
        if kind == "quarantine":
            folder, number = f"{self.table.quarantine_prefix}/dt={day}/", len(stored.quarantine)
        else:
            folder, number = partition_prefix(self.table, day), len(stored.objects)
        # Large objects are few and wait for each other's memory; small ones wait for the network only.
        in_flight = self._small if size < OBJECT_BYTES // 16 else self._large

        def upload() -> LakeObject:
            try:
                content, sums = encode()
                digest = hashlib.sha256(content).hexdigest()
                key = f"{folder}{kind}-{number:05d}-{digest[:16]}.{suffix}"
                etag = self.store.put(key, content, "application/octet-stream")
                return LakeObject(
                    key=key, rows=rows, bytes=len(content), sha256=digest, etag=etag, kind=kind, checksums=sums
                )
            except Exception as error:
                self._failure = error
                raise
            finally:
                in_flight.release()

        in_flight.acquire()
        # The rest of a long scan would be read for nothing.
        if self._failure:
            raise self._failure
        return self.pool.submit(upload)


@contextmanager
def lake_writer(
    store: ObjectStoreResource, table: SourceTable, extraction: Extraction, keys_of: Collection[dt.date]
) -> Iterator[LakeWriter]:
    """A writer whose uploads end with the block; those that have not begun are dropped when the block fails."""
    pool = ThreadPoolExecutor(CONCURRENCY)
    try:
        yield LakeWriter(store, table, pool, extraction, keys_of)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class CountMismatch(Problem):
    """A day's rows in the lake are not those that the source counted in the same snapshot."""


def _split_by_day(
    batch: pa.RecordBatch, cursor: str | None, window: Window
) -> Iterator[tuple[dt.date, pa.RecordBatch]]:
    """Slices of an ordered batch, each of one UTC day; what is later than the window's last day counts for it."""
    if cursor is None:
        yield window.first, batch
        return
    import numpy as np

    days = batch.column(cursor).to_numpy(zero_copy_only=False).astype("datetime64[D]")
    days = np.minimum(days, np.datetime64(window.last))
    starts = np.flatnonzero(np.diff(days, prepend=days[0] - 1))
    for start, end in zip(starts, [*starts[1:], len(days)], strict=True):
        yield days[start].item(), batch.slice(start, end - start)


def _constant(rows: pa.Table, name: str, value: pa.Scalar) -> pa.Table:
    import pyarrow as pa

    return rows.append_column(pa.field(name, value.type), pa.repeat(value, len(rows)))


def parquet(rows: pa.Table, day: dt.date) -> bytes:
    """Parquet content of one object of the partition `day`.

    zstd, integers and times delta-encoded, repeating strings in a dictionary.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = _constant(rows, PARTITION_COLUMN, pa.scalar(day, pa.date32()))
    repeating = [name for name in table.column_names if _repeats(table.column(name))]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=repeating,
        column_encoding={
            name: "DELTA_BINARY_PACKED"
            for name in table.column_names
            if name not in repeating and _delta(table.schema.field(name).type)
        },
        store_decimal_as_integer=True,
        coerce_timestamps="us",
        write_statistics=True,
    )
    return sink.getvalue().to_pybytes()


def _sorted(rows: pa.Table, table: SourceTable) -> pa.Table:
    """The rows in a fixed order, so that the same rows make the same object; they come by cursor, or by key."""
    import numpy as np

    if table.cursor is None:
        return rows
    times = rows.column(table.cursor).to_numpy().astype("int64")
    has_ties = len(times) > 1 and bool((np.diff(times) == 0).any())
    return rows.sort_by([(name, "ascending") for name in (table.cursor, *table.primary_key)]) if has_ties else rows


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether a string column repeats itself enough for a dictionary, judged by its first rows."""
    import pyarrow as pa

    if not pa.types.is_string(column.type):
        return False
    head = column.slice(0, 2_000)
    return len(head.unique()) * 4 <= len(head)


def _delta(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind)
