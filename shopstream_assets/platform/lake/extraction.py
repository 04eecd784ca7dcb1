"""A window of the source into the lake: read in one snapshot, written as objects, published as manifests."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping

from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.tables import SourceTable, upper
from shopstream_assets.platform.lake.added_columns import ADDED_COLUMNS
from shopstream_assets.platform.lake.departures import Before, before, write_departures
from shopstream_assets.platform.lake.head import RowsLost, placed, read_head, write_head
from shopstream_assets.platform.lake.manifest import (
    Manifest,
    ManifestColumn,
    intact_manifests,
    published,
    readable_manifests,
)
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.lake.writer import Extraction, LakeWriter, lake_writer
from shopstream_assets.platform.sources.port import SourceReader, SourceResource
from shopstream_assets.platform.sources.reading import EMPTY, Drift, Fingerprint, Reading, SchemaMismatch

# An extraction that finds fewer rows deleted than this never counts as a loss.
LOSS_FLOOR = 100


def extract_to_lake(
    source: SourceResource,
    store: ObjectStoreResource,
    table: SourceTable,
    window: Window,
    start: dt.date = dt.date.min,
) -> tuple[Drift, dict[dt.date, Manifest]]:
    """Read the window in one snapshot, write its objects, publish its manifests; returns the drift and manifests.

    One extraction of a table runs at a time: a second one waits for it, so snapshots follow each other. `start` is the
    first partition of the table; rows dated before it travel nowhere. Raises Problem, leaving every earlier manifest in
    force, when a service fails, the table cannot be read, the source is not the one that was read before, or more of
    its rows are gone than its declaration lets pass.
    """
    with source.snapshot([table], alone=its_turn(store, table)) as reader:
        extracted_at = dt.datetime.now(dt.UTC)
        snapshot = reader.moment()
        place = placed(read_head(store, table), table, snapshot, extracted_at)
        etags = published(store, table, window)
        manifests = readable_manifests(store, table, etags)
        # Objects that are lost or damaged are put back by reading their day again.
        intact = intact_manifests(store, table, window, manifests)
        held = before(store, table, window, manifests, intact)
        reading = reader.plan(table)
        _refuse_namesakes([column.name for column in reading.columns])
        counted = reader.fingerprints(table, window)
        extraction = Extraction(
            window=window,
            position=place.position,
            source=str(snapshot.identity),
            extracted_at=extracted_at,
            columns=_columns(reading, manifests),
            drift=reading.drift,
            reading=reading.digest,
            start=start,
            forgotten={day for day in etags if not intact.get(day)},
        )
        unchanged = _unchanged(reading, intact, counted)
        with lake_writer(store, table, extraction, held.keys() - unchanged.keys()) as writer:
            for day, manifest in unchanged.items():
                writer.leave(day, manifest)
            for span in _spans(window, unchanged):
                writer.write(reading.scan(span))
                if sum(counted.get(day, EMPTY).rows - writer.days[day].rows for day in span.days):
                    writer.quarantine(reading.rejected(span))
            deleted = _depart(reading, writer, held, unchanged)
            if deleted >= LOSS_FLOOR and not place.loss_is_accepted:
                _refuse_loss(reader, table, deleted)
            write_head(store, table, place.head)
            return reading.drift, writer.publish(counted, etags)


def its_turn(store: ObjectStoreResource, table: SourceTable) -> str:
    """What one extraction of a table at a time, and whatever must not happen during one, waits for."""
    return f"extract {store.bucket}/{table.lake_prefix}"


def _unchanged(
    reading: Reading,
    manifests: Mapping[dt.date, Manifest | None],
    counted: Mapping[dt.date, Fingerprint],
) -> dict[dt.date, Manifest]:
    """The manifests of the days whose rows are the very versions that were read before, in the same way."""
    found = {}
    for day, manifest in manifests.items():
        if manifest and manifest.is_of(counted.get(day, EMPTY)) and manifest.reading == reading.digest:
            found[day] = manifest
    return found


def _spans(window: Window, unchanged: Collection[dt.date]) -> Iterator[Window]:
    """The days that have to be read, days in a row as one."""
    first = None
    for day in window.days:
        if day in unchanged:
            if first is not None:
                yield window.part(first, day)
            first = None
        elif first is None:
            first = day
    if first is not None:
        yield window.part(first, window.end)


def _columns(reading: Reading, manifests: Mapping[dt.date, Manifest | None]) -> tuple[ManifestColumn, ...]:
    """The columns that travel now, and those that older versions of the rows still have."""
    columns = {column.name: column.type.snowflake for column in reading.columns}
    for manifest in manifests.values():
        for column in manifest.columns if manifest else ():
            columns.setdefault(column.name, column.type)
    return tuple(ManifestColumn(name=name, type=kind) for name, kind in columns.items())


def _depart(
    reading: Reading,
    writer: LakeWriter,
    held: Mapping[dt.date, Before],
    unchanged: Collection[dt.date],
) -> int:
    """Look up what left each day; returns how many rows turned out to be deleted."""
    marked = {day for day, stored in writer.days.items() if stored.quarantined_keys}
    return sum(
        write_departures(reading, writer, day, held.get(day), unchanged=day in unchanged)
        for day in sorted(held.keys() | marked)
    )


def _refuse_loss(reader: SourceReader, table: SourceTable, deleted: int) -> None:
    """Raise RowsLost where the rows found deleted are more of the table than it may lose at once."""
    left = reader.count(table)
    share = deleted / (deleted + left)
    if share > table.max_loss:
        raise RowsLost(
            f"{deleted} rows are gone from the source, which has {left} left: {share:.0%} of the table, and "
            f"{table.max_loss:.0%} may go at once. Nothing was published; every layer still has them.",
            f"restore them in the source, or, if they were meant to go, run `shopstream accept {table.name}` and "
            "materialize again.",
        )


def _refuse_namesakes(columns: Iterable[str]) -> None:
    """Raise SchemaMismatch where two columns of the source would be one in Snowflake, or one that staging adds."""
    taken = {upper(name): f"{name} of staging" for name in ADDED_COLUMNS}
    for name in columns:
        if namesake := taken.get(upper(name)):
            raise SchemaMismatch(
                f"columns {name} and {namesake} would have one name in Snowflake.", f"rename {name} in the source."
            )
        taken[upper(name)] = name
