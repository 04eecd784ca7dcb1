"""Changed rows as immutable Parquet objects behind a manifest.

Partition D of a table is the folder `raw/<zone>/<table>/dt=D/`. Its `_manifest.json`, written last, names the objects
that count; whatever else lies there does not. Objects are named by their content, so extracting the same rows again
writes the same objects, and a reader in the middle of an older manifest still finds all of its own.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.extract import EMPTY, Drift, Fingerprint
from shopstream_assets.platform.partitions import Window
from shopstream_assets.platform.resources.object_store import CONCURRENCY, ObjectMissing, ObjectStoreResource
from shopstream_assets.platform.tables import SourceTable

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "_manifest.json"
PARTITION_COLUMN = "_partition_date"
# Arrow bytes of one object: large enough to compress well, small enough that those in flight stay below 300 MB.
OBJECT_BYTES = 32 * 1024 * 1024
OBJECTS_IN_FLIGHT = 2
SMALL_OBJECTS_IN_FLIGHT = 4
QUARANTINE_OBJECT_BYTES = 16 * 1024 * 1024


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class LakeObject(_Model):
    """A Parquet object as it was stored."""

    key: str
    rows: int
    bytes: int
    sha256: str
    etag: str


class ManifestColumn(_Model):
    """A column as it lies in the objects; `type` is the Snowflake type that holds it."""

    name: str
    type: str


class Manifest(_Model):
    """What a partition of a table in the lake consists of, and what the source looked like when it was read.

    `source_rows` = `rows` + `quarantined_rows`, always. Times are UTC.
    """

    version: int = 1
    table: str
    partition: dt.date
    extracted_at: dt.datetime
    rows: int
    bytes: int
    objects: tuple[LakeObject, ...]
    columns: tuple[ManifestColumn, ...]
    schema_hash: str
    source_rows: int
    source_newest: dt.datetime | None
    source_hash: int
    quarantined_rows: int
    quarantine_objects: tuple[LakeObject, ...]
    drift: str


def partition_prefix(table: SourceTable, day: dt.date) -> str:
    """Folder of a partition's objects, with a slash at the end."""
    return f"{table.lake_prefix}/dt={day}/"


class ManifestDamaged(Problem):
    """A manifest is there but is not one that this platform wrote for its partition."""


def read_manifests(
    store: ObjectStoreResource, table: SourceTable, days: Iterable[dt.date]
) -> dict[dt.date, Manifest | None]:
    """The manifest of each day, None where the day was never extracted.

    Raises ManifestDamaged where one cannot be read or belongs to another partition.
    """

    def read(day: dt.date) -> Manifest | None:
        key = partition_prefix(table, day) + MANIFEST
        try:
            manifest = Manifest.model_validate_json(store.get(key))
        except ObjectMissing:
            return None
        except ValidationError as error:
            first = error.errors()[0]
            raise _damaged(key, table, day, ": ".join([*map(str, first["loc"]), first["msg"]])) from None
        if (manifest.table, manifest.partition) != (table.name, day):
            raise _damaged(key, table, day, f"it is that of {manifest.table}, {manifest.partition}")
        return manifest

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        wanted = list(days)
        return dict(zip(wanted, pool.map(read, wanted), strict=True))


def _damaged(key: str, table: SourceTable, day: dt.date, found: str) -> ManifestDamaged:
    return ManifestDamaged(
        f"the manifest {key} is damaged ({found}).",
        f"materialize lake/{table.name} for {day} again; the source still has the rows.",
    )


def damaged_objects(
    store: ObjectStoreResource, table: SourceTable, window: Window, manifests: Iterable[Manifest]
) -> Iterator[str]:
    """What is wrong with the objects that the manifests name, one sentence each; from one listing of the window."""
    listed = {
        key: (size, etag)
        for key, size, etag in store.listed(
            f"{table.lake_prefix}/dt=",
            start_after=f"{table.lake_prefix}/dt={window.first}",
            until=f"{table.lake_prefix}/dt={window.end}",
        )
    }
    for manifest in manifests:
        for item in manifest.objects:
            if item.key not in listed:
                yield f"object {item.key} is missing"
            elif listed[item.key][0] != item.bytes:
                yield f"object {item.key} has {listed[item.key][0]} bytes, its manifest says {item.bytes}"
            elif listed[item.key][1] != item.etag:
                yield f"object {item.key} is not the one that was written (checksum differs from its manifest)"


@dataclass
class Day:
    """What has been stored of one partition so far."""

    rows: int = 0
    objects: list[Future[LakeObject]] = field(default_factory=list)
    quarantined_rows: int = 0
    quarantine: list[Future[LakeObject]] = field(default_factory=list)


class LakeWriter:
    """Splits ordered batches by day into Parquet objects and uploads them while the next ones are read.

    Memory is bounded by OBJECT_BYTES and the uploads in flight, not by the window. Nothing counts before `publish`.
    """

    def __init__(self, store: ObjectStoreResource, table: SourceTable, pool: ThreadPoolExecutor) -> None:
        self.store, self.table, self.pool = store, table, pool
        self.days: defaultdict[dt.date, Day] = defaultdict(Day)
        self._large = BoundedSemaphore(OBJECTS_IN_FLIGHT)
        self._small = BoundedSemaphore(SMALL_OBJECTS_IN_FLIGHT)
        self._pending: list[pa.RecordBatch] = []
        self._pending_day: dt.date | None = None
        self._pending_bytes = 0
        self._failure: Exception | None = None

    def write(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Take batches ordered by the table's cursor."""
        cursor = self.table.cursor
        for batch in batches:
            for day, rows in _split_by_day(batch, cursor):
                if day != self._pending_day:
                    self._flush()
                    self._pending_day = day
                self._pending.append(rows)
                self._pending_bytes += rows.nbytes
                if self._pending_bytes >= OBJECT_BYTES:
                    self._flush()
        self._flush()

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
        if lines:
            self._quarantine_object(current, lines)

    def publish(
        self,
        window: Window,
        source: dict[dt.date, Fingerprint],
        columns: tuple[ManifestColumn, ...],
        drift: Drift,
        extracted_at: dt.datetime,
    ) -> dict[dt.date, Manifest]:
        """Wait for all uploads, then write the manifest of every day of the window; returns them.

        Raises CountMismatch, writing none, when a day's rows are not exactly those that the source counted.
        """
        schema_hash = hashlib.sha256(
            json.dumps([(column.name, column.type) for column in columns]).encode()
        ).hexdigest()
        manifests = {}
        for day in window.days:
            found, stored = source.get(day, EMPTY), self.days[day]
            objects = tuple(upload.result() for upload in stored.objects)
            if found.rows != stored.rows + stored.quarantined_rows:
                raise CountMismatch(
                    f"on {day} the source has {found.rows} rows, but {stored.rows} were written and "
                    f"{stored.quarantined_rows} quarantined; no manifest was written.",
                    "materialize the partition again; if it recurs, the source does not keep its snapshots.",
                    retry=True,
                )
            manifests[day] = Manifest(
                table=self.table.name,
                partition=day,
                extracted_at=extracted_at,
                rows=stored.rows,
                bytes=sum(item.bytes for item in objects),
                objects=objects,
                columns=columns,
                schema_hash=schema_hash,
                source_rows=found.rows,
                source_newest=found.newest,
                source_hash=found.hash,
                quarantined_rows=stored.quarantined_rows,
                quarantine_objects=tuple(upload.result() for upload in stored.quarantine),
                drift=str(drift),
            )

        def write(manifest: Manifest) -> None:
            key = partition_prefix(self.table, manifest.partition) + MANIFEST
            self.store.put(key, manifest.model_dump_json(indent=1).encode(), "application/json")

        list(self.pool.map(write, manifests.values()))
        return manifests

    def _flush(self) -> None:
        if not self._pending:
            return
        assert self._pending_day is not None
        day, batches, size = self._pending_day, self._pending, self._pending_bytes
        self._pending, self._pending_bytes = [], 0
        rows = sum(batch.num_rows for batch in batches)
        stored = self.days[day]
        stored.rows += rows
        prefix = f"{partition_prefix(self.table, day)}part-{len(stored.objects):05d}"
        order = (self.table.cursor, *self.table.primary_key)
        stored.objects.append(self._submit(prefix, "parquet", rows, size, lambda: parquet(batches, day, order)))

    def _quarantine_object(self, day: dt.date | None, lines: list[bytes]) -> None:
        assert day is not None
        stored = self.days[day].quarantine
        prefix = f"{self.table.quarantine_prefix}/dt={day}/part-{len(stored):05d}"
        stored.append(self._submit(prefix, "jsonl", len(lines), sum(map(len, lines)), lambda: b"".join(lines)))

    def _submit(
        self, prefix: str, suffix: str, rows: int, size: int, encode: Callable[[], bytes]
    ) -> Future[LakeObject]:
        # Large objects are few and wait for each other's memory; small ones wait for the network only.
        in_flight = self._small if size < OBJECT_BYTES // 16 else self._large

        def upload() -> LakeObject:
            try:
                content = encode()
                digest = hashlib.sha256(content).hexdigest()
                key = f"{prefix}-{digest[:16]}.{suffix}"
                etag = self.store.put(key, content, "application/octet-stream")
                return LakeObject(key=key, rows=rows, bytes=len(content), sha256=digest, etag=etag)
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
def lake_writer(store: ObjectStoreResource, table: SourceTable) -> Iterator[LakeWriter]:
    """A writer whose uploads end with the block; those that have not begun are dropped when the block fails."""
    pool = ThreadPoolExecutor(CONCURRENCY)
    try:
        yield LakeWriter(store, table, pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class CountMismatch(Problem):
    """A day's rows in the lake are not those that the source counted in the same snapshot."""


def _split_by_day(batch: pa.RecordBatch, cursor: str) -> Iterator[tuple[dt.date, pa.RecordBatch]]:
    """Slices of an ordered batch, each of one UTC day."""
    import numpy as np

    days = batch.column(cursor).to_numpy(zero_copy_only=False).astype("datetime64[D]")
    starts = np.flatnonzero(np.diff(days, prepend=days[0] - 1))
    for start, end in zip(starts, [*starts[1:], len(days)], strict=True):
        yield days[start].item(), batch.slice(start, end - start)


def parquet(batches: list[pa.RecordBatch], day: dt.date, order: tuple[str, ...]) -> bytes:
    """Parquet content of one object, its rows in `order`.

    zstd, integers and times delta-encoded, repeating strings in a dictionary.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = _sorted(pa.Table.from_batches(batches), order)
    table = table.append_column(
        pa.field(PARTITION_COLUMN, pa.date32()), pa.repeat(pa.scalar(day, pa.date32()), len(table))
    )
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


def _sorted(table: pa.Table, order: tuple[str, ...]) -> pa.Table:
    """The rows in a fixed order, so that the same rows make the same object; they come ordered by the first column."""
    import numpy as np

    times = table.column(order[0]).to_numpy().astype("int64")
    has_ties = len(times) > 1 and bool((np.diff(times) == 0).any())
    return table.sort_by([(name, "ascending") for name in order]) if has_ties else table


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
