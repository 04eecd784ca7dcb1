"""Rows of the lake and of its quarantine, read back from their objects, for the table's page in the UI."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.lake.manifest import LOG_COLUMNS, Manifest
from shopstream_assets.platform.lake.object_store import ObjectMissing
from shopstream_assets.platform.present.previews import ROWS, clear_columns, table

if TYPE_CHECKING:
    from shopstream_assets.platform.lake.object_store import ObjectStoreResource


def lake_preview(
    store: ObjectStoreResource, declared: SourceTable, manifests: Iterable[Manifest]
) -> dict[str, dg.MetadataValue]:
    """Rows of the newest partition that has any, read back from an object of it."""
    import pyarrow.parquet as pq

    newest = max((found for found in manifests if found.rows), key=lambda found: found.partition, default=None)
    if newest is None:
        return {}
    smallest = min((item for item in newest.objects if item.kind == "current"), key=lambda item: item.bytes)
    batches = pq.ParquetFile(io.BytesIO(store.get(smallest.key))).iter_batches(batch_size=ROWS)
    batch = next(batches)
    rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
    return table(batch.schema.names, rows, clear_columns(declared) | LOG_COLUMNS)


def quarantine_preview(
    store: ObjectStoreResource, declared: SourceTable, manifests: Iterable[Manifest]
) -> dict[str, dg.MetadataValue]:
    """Up to ten of the rows that the manifests' partitions keep in quarantine and why, the newest day's first.

    A column for the day and the reasons, then the declared columns, the key before all others. Rows whose objects
    retention has deleted are left out. Raises ServiceError where the lake does not answer.
    """
    key = list(declared.primary_key)
    names = [*key, *(column.name for column in declared.columns if column.name not in key)]
    newest_first = sorted(manifests, key=lambda found: found.partition, reverse=True)
    rows = (
        (str(manifest.partition), line["reasons"], *(_json_cell(line["row"].get(name)) for name in names))
        for manifest in newest_first
        for item in manifest.quarantine_objects
        for line in _lines(store, item.key)
    )
    shown = table(("day", "reasons", *names), rows, {"day", "reasons", *clear_columns(declared)}, whole={"reasons"})
    return {"quarantined": shown["preview"]} if shown else {}


def _lines(store: ObjectStoreResource, key: str) -> Iterator[dict[str, Any]]:
    try:
        content = store.get(key)
    except ObjectMissing:
        return
    for line in content.splitlines():
        # A number in quarantine may be one that no float holds: its digits are what is wrong with it.
        yield json.loads(line, parse_float=str, parse_constant=str)


def _json_cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
