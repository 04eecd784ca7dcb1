"""The keys of a table of Postgres, as texts and in ranges of their hash."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shopstream_assets.platform.declare.tables import Column, quoted
from shopstream_assets.platform.sources.key_ranges import Ranges, keys_sql, ranges_sql

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection


@dataclass(frozen=True)
class PostgresKeys:
    """The keys of `rows`, SQL for (key_text, day)."""

    connection: Connection
    rows: str

    def ranges(self, letters: int, within: Sequence[str]) -> Ranges:
        """The ranges named by so many letters."""
        found = self._all(ranges_sql(self.rows, letters, within))
        return {name: (int(a), int(b), int(c)) for name, a, b, c in found}

    def keys(self, within: Sequence[str]) -> dict[str, dt.date]:
        """Key -> its partition, of some ranges."""
        return dict(self._all(keys_sql(self.rows, "key_text, day", within)))

    def _all(self, query: str) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            # Sums arrive as text: a numeric has no other form in Arrow.
            cursor.execute(query)
            return cursor.fetchall()


def key_text(column: Column) -> str:
    """A key column as the text that it has on both sides."""
    name = f"t.{quoted(column.name)}"
    match column.type.name:
        case "timestamptz":
            return f"(extract(epoch from {name}) * 1000000)::bigint::text"
        case "date":
            return f"to_char({name}, 'YYYY-MM-DD')"
        case "numeric":
            return f"{name}::numeric({column.type.precision},{column.type.scale})::text"
    return f"{name}::text"
