"""Rows of a source table, for its page in the UI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from shopstream_assets.platform.declare.tables import SourceTable, quoted
from shopstream_assets.platform.present.previews import ROWS, clear_columns, table

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

    from shopstream_assets.platform.declare.partitions import Window


def source_preview(
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
