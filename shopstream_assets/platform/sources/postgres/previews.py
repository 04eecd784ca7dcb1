"""Rows of a source table, for its page in the UI."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg

from shopstream_assets.platform.declare.tables import SourceTable, quoted
from shopstream_assets.platform.present.previews import ROWS, clear_columns, table
from shopstream_assets.platform.sources.postgres.cursor import within

if TYPE_CHECKING:
    from shopstream_assets.platform.declare.partitions import Window
    from shopstream_assets.platform.sources.postgres.reader import PostgresReader


def source_preview(reader: PostgresReader, declared: SourceTable, window: Window) -> dict[str, dg.MetadataValue]:
    """The rows of the window that changed last; some rows of a table that does not say when they did."""
    names = [column.name for column in declared.columns]
    order = f"order by {quoted(declared.cursor)} desc " if declared.cursor else ""
    with reader.connection.cursor() as cursor:
        cursor.execute(
            f"select {', '.join(map(quoted, names))} from {reader.relation(declared)} "
            f"where {within(declared, replace(window, open_ended=False))} "
            f"{order}limit {ROWS}"
        )
        return table(names, cursor.fetchall(), clear_columns(declared))
