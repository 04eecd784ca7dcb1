"""Ten rows of a table as it lies in a layer, for its page in the UI. Personal data is masked.

Only columns that are declared and not personal are shown: a column that appeared in the source by itself may hold
anything.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import dagster as dg

from shopstream_assets.platform.manifest import LOG_COLUMNS, Manifest
from shopstream_assets.platform.resources.object_store import ObjectMissing
from shopstream_assets.platform.tables import SourceTable, quoted

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection
    from snowflake.connector.cursor import SnowflakeCursor

    from shopstream_assets.platform.partitions import Window
    from shopstream_assets.platform.resources.object_store import ObjectStoreResource

ROWS = 10
MASK = "***"
LONGEST_TEXT = 40
# JavaScript has no larger whole number: beyond it, digits would be lost on the page.
LARGEST_NUMBER = 2**53


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], clear: Collection[str], whole: Collection[str] = ()
) -> dict[str, dg.MetadataValue]:
    """Metadata with the first ten rows; columns outside `clear` are masked, and nothing is given without rows.

    Long texts are cut, except those of the columns in `whole`.
    """
    records = [
        dg.TableRecord(
            {
                name: MASK if name not in clear and value is not None else value if name in whole else _cell(value)
                for name, value in zip(columns, row, strict=True)
            }
        )
        for row in islice(rows, ROWS)
    ]
    if not records:
        return {}
    schema = dg.TableSchema([dg.TableColumn(name) for name in columns])
    return {"preview": dg.MetadataValue.table(records, schema)}


def clear_columns(declared: SourceTable) -> set[str]:
    """Names of the columns of a source table that may be shown."""
    return {column.name for column in declared.columns if not column.pii}


def of_source(
    connection: Connection, declared: SourceTable, schema: str, window: Window
) -> dict[str, dg.MetadataValue]:
    """The rows of the window that changed last."""
    names = [column.name for column in declared.columns]
    cursor_column = quoted(declared.cursor)
    first, end = (f"timestamptz '{day} 00:00:00+00'" for day in (window.first, window.end))
    with connection.cursor() as cursor:
        cursor.execute(
            f"select {', '.join(map(quoted, names))} from {quoted(schema)}.{quoted(declared.name)} "
            f"where {cursor_column} >= {first} and {cursor_column} < {end} order by {cursor_column} desc limit {ROWS}"
        )
        return table(names, cursor.fetchall(), clear_columns(declared))


def of_lake(
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


def of_quarantine(
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


def of_relation(cursor: SnowflakeCursor, query: str, clear: Collection[str]) -> dict[str, dg.MetadataValue]:
    """The first rows of a query in the warehouse; `clear` are names in lower case, as the columns are shown."""
    cursor.execute(f"{query} limit {ROWS}")
    return table([column.name.lower() for column in cursor.description], cursor.fetchall(), clear)


def _cell(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= LARGEST_NUMBER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=None).isoformat(timespec="seconds")
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
