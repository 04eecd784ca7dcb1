"""What a partition of a table in the lake consists of: its manifest, published last.

Partition D of a table is the folder `raw/<zone>/<table>/dt=D/`. Its manifest, `_manifests/dt=D.json` beside it, names
the objects that count, and whatever else lies there does not. One listing of the manifests tells which of a
table's partitions changed, however many objects they have.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake.object_store import (
    CONCURRENCY,
    ObjectChanged,
    ObjectMissing,
    ObjectStoreResource,
)

if TYPE_CHECKING:
    from shopstream_assets.platform.sources.reading import Fingerprint

MANIFESTS = "_manifests"
"""The folder of a table's manifests, beside those of its partitions."""
PARTITION_COLUMN = "_partition_date"
SNAPSHOT_COLUMN = "_snapshot"
DELETED_COLUMN = "_deleted"
DELETED_AT_COLUMN = "_deleted_at"
QUARANTINED_COLUMN = "_quarantined"
LOG_COLUMNS = {PARTITION_COLUMN, SNAPSHOT_COLUMN, DELETED_COLUMN, DELETED_AT_COLUMN, QUARANTINED_COLUMN}
"""What the lake adds to the columns of the source."""

Kind = Literal["current", "departed", "history", "quarantine"]
"""What an object holds: rows of the day; what is now known of keys that the day held before; older versions of those;
rows that must not travel."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class LakeObject(_Model):
    """An object as it was stored; `checksums` of its exact numbers by column, see checksums.py."""

    key: str
    rows: int
    bytes: int
    sha256: str
    etag: str
    kind: Kind = "current"
    checksums: dict[str, int] = {}

    def __hash__(self) -> int:
        return hash((self.key, self.sha256))


class ManifestColumn(_Model):
    """A column as it lies in the objects; `type` is the Snowflake type that holds it."""

    name: str
    type: str


class Manifest(_Model):
    """A partition as one snapshot of the source saw it. Times are UTC.

    `source_rows` = `rows` + `quarantined_rows`, always: the rows of the day, as the source counted them. Beyond them
    the partition holds what became of the keys that the day held before: `moved` rows, whose cursor lies on another
    day now, `deleted` keys, and one marker for each key in quarantine, `marked`; and `history`, the versions that they
    had on this day. `snapshot` is the position of the snapshot, see snapshot.py; a day that
    looks as before keeps its rows with the position they have. `reading` tells by which columns and rules it was read.
    `has_forgotten`: what the day held before was not all there to be read, so that a key that left it may be unnamed.
    """

    version: int = 2
    table: str
    partition: dt.date
    extracted_at: dt.datetime
    snapshot: str
    source: str
    rows: int
    moved: int = 0
    deleted: int = 0
    marked: int = 0
    history: int = 0
    bytes: int
    objects: tuple[LakeObject, ...]
    columns: tuple[ManifestColumn, ...]
    schema_hash: str
    reading: str = ""
    source_rows: int
    source_newest: dt.datetime | None
    source_hash: int
    quarantined_rows: int
    quarantine_objects: tuple[LakeObject, ...]
    drift: str
    has_forgotten: bool = False

    @property
    def staged_rows(self) -> int:
        """Rows that the partition has in staging."""
        return sum(item.rows for item in self.objects)

    @property
    def hash(self) -> str:
        """What tells this content of the partition from any other; it travels with the rows through every layer."""
        told = (self.snapshot, self.schema_hash, [item.sha256 for item in self.objects])
        return hashlib.sha256(repr(told).encode()).hexdigest()[:32]

    def is_of(self, day: Fingerprint) -> bool:
        """Whether a day of the source looks as it did when this was extracted: the very versions of the very rows."""
        return (self.source_rows, self.source_hash) == (day.rows, day.hash)


class ManifestDamaged(Problem):
    """A manifest is there but is not one that this platform wrote for its partition."""


def partition_prefix(table: SourceTable, day: dt.date) -> str:
    """Folder of a partition's objects, with a slash at the end."""
    return f"{table.lake_prefix}/dt={day}/"


def manifest_key(table: SourceTable, day: dt.date) -> str:
    """Key of a partition's manifest."""
    return f"{table.lake_prefix}/{MANIFESTS}/dt={day}.json"


def read_manifests(
    store: ObjectStoreResource, table: SourceTable, days: Iterable[dt.date] | Mapping[dt.date, str]
) -> dict[dt.date, Manifest | None]:
    """The manifest of each day, None where the day was never extracted.

    With their ETags, as `published` lists them, manifests that this process has read or written are not read again.
    Raises ManifestDamaged where one cannot be read or belongs to another partition.
    """

    etags = days if isinstance(days, Mapping) else {}

    def read(day: dt.date) -> Manifest | None:
        key = manifest_key(table, day)
        try:
            content = store.get_listed(key, etags[day]) if day in etags else store.get(key)
            manifest = Manifest.model_validate_json(content)
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


def readable_manifests(
    store: ObjectStoreResource, table: SourceTable, days: Iterable[dt.date] | Mapping[dt.date, str]
) -> dict[dt.date, Manifest | None]:
    """As `read_manifests`, where a damaged manifest counts as missing."""
    wanted = days if isinstance(days, Mapping) else list(days)
    try:
        return read_manifests(store, table, wanted)
    except ManifestDamaged:
        return dict(_one_by_one(store, table, wanted))


def _one_by_one(
    store: ObjectStoreResource, table: SourceTable, days: Iterable[dt.date]
) -> Iterator[tuple[dt.date, Manifest | None]]:
    for day in days:
        try:
            yield day, read_manifests(store, table, [day])[day]
        except ManifestDamaged:
            yield day, None


def write_manifest(store: ObjectStoreResource, table: SourceTable, manifest: Manifest, replaces: str | None) -> None:
    """Publish a partition in place of the manifest with the ETag `replaces`, None where there was none.

    Raises ManifestChanged, publishing nothing, where another extraction has published it in the meantime.
    """
    key = manifest_key(table, manifest.partition)
    try:
        store.replace(key, manifest.model_dump_json(indent=1).encode(), "application/json", replaces)
    except ObjectChanged:
        raise ManifestChanged(
            f"another extraction published {key} while this one ran; its own was dropped.",
            "nothing is lost: it is tried again on top of the other.",
            retry=True,
        ) from None


class ManifestChanged(Problem):
    """Two extractions of a partition ran at once."""


def published(store: ObjectStoreResource, table: SourceTable, window: Window) -> dict[dt.date, str]:
    """The ETag of the manifest of each day that has one; from one listing."""
    folder = f"{table.lake_prefix}/{MANIFESTS}/"
    start, end = (f"{folder}dt={day}" for day in (window.first, window.end))
    return {
        dt.date.fromisoformat(key.removeprefix(f"{folder}dt=").removesuffix(".json")): etag
        for key, _, etag in store.listed(folder, start_after=start, until=end)
    }


def damaged_objects(
    store: ObjectStoreResource, table: SourceTable, window: Window, manifests: Iterable[Manifest]
) -> Iterator[str]:
    """What is wrong with the objects that the manifests name, one sentence each; from one listing of the window."""
    listed = _listed(store, table, window)
    for manifest in manifests:
        yield from _damage(manifest, listed)


def intact_manifests(
    store: ObjectStoreResource, table: SourceTable, window: Window, manifests: Mapping[dt.date, Manifest | None]
) -> dict[dt.date, Manifest | None]:
    """The manifests by day, None where an object of one is not there as it was written; from one listing."""
    listed = _listed(store, table, window) if any(manifests.values()) else {}
    return {
        day: manifest if manifest and not any(_damage(manifest, listed)) else None
        for day, manifest in manifests.items()
    }


def _listed(store: ObjectStoreResource, table: SourceTable, window: Window) -> dict[str, tuple[int, str]]:
    """(bytes, ETag) of whatever lies in the window's partitions, by key."""
    start, end = (f"{table.lake_prefix}/dt={day}" for day in (window.first, window.end))
    listed = store.listed(f"{table.lake_prefix}/dt=", start_after=start, until=end)
    return {key: (size, etag) for key, size, etag in listed}


def _damage(manifest: Manifest, listed: Mapping[str, tuple[int, str]]) -> Iterator[str]:
    for item in manifest.objects:
        if item.key not in listed:
            yield f"object {item.key} is missing"
        elif listed[item.key][0] != item.bytes:
            yield f"object {item.key} has {listed[item.key][0]} bytes, its manifest says {item.bytes}"
        elif listed[item.key][1] != item.etag:
            yield f"object {item.key} is not the one that was written (checksum differs from its manifest)"


def _damaged(key: str, table: SourceTable, day: dt.date, found: str) -> ManifestDamaged:
    return ManifestDamaged(
        f"the manifest {key} is damaged ({found}).",
        f"materialize lake/{table.name} for {day} again; the source still has the rows.",
    )
