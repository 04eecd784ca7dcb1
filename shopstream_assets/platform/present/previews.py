"""Ten rows of a table as it lies in a layer, for its page in the UI. Personal data is masked.

Only columns that are declared and not personal are shown: a column that appeared in the source by itself may hold
anything.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import dagster as dg

from shopstream_assets.platform.declare.tables import SourceTable

if TYPE_CHECKING:
    from snowflake.connector.cursor import SnowflakeCursor


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
