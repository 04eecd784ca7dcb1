"""A table's cursor in SQL: the moment that it stands for, and conditions on it that its index answers.

A `timestamp` without time zone is converted to compare it exactly; but an index on the column knows the local times
only. So each condition says two things: what the local time must be like, which the index answers, and what the moment
must be, which decides. The first lets pass a little more than the second near a change of the zone's offset, where
local time runs back or skips: it takes the least (or greatest) of the offsets in force around the bound. Elsewhere
there is one offset, and both say the same.

A table without a cursor knows no moments. All of its rows lie in the first partition.
"""

from __future__ import annotations

from typing import Literal

from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.tables import ColumnType, SourceTable, literal, quoted

# Wider than any change of an offset: Samoa once skipped a day.
AROUND = "interval '48 hours'"


def moment(value: str, kind: ColumnType) -> str:
    """SQL for the moment (timestamptz) that a value of a column of times stands for; other values are as they are."""
    return f"({value} at time zone {_zone(kind)})" if kind.name == "timestamp" else value


def cursor_moment(table: SourceTable, of: str = "") -> str:
    """SQL for the moment of a row's cursor, null without one; `of` is the name of the table in the query."""
    if table.cursor is None:
        return "null::timestamptz"
    return moment(f"{of}.{quoted(table.cursor)}" if of else quoted(table.cursor), table.column(table.cursor).type)


def in_order(table: SourceTable, of: str) -> str:
    """SQL to sort rows by: the moment of the cursor, or the key of a table without one."""
    return cursor_moment(table, of) if table.cursor else ", ".join(f"{of}.{quoted(name)}" for name in table.primary_key)


def compared(table: SourceTable, operator: Literal["<", "<=", ">", ">="], bound: str) -> str:
    """SQL condition on the moment of the cursor, which the table has.

    `bound` is SQL of a timestamptz that is the same for all rows.
    """
    assert table.cursor
    column, kind = quoted(table.cursor), table.column(table.cursor).type
    if kind.name != "timestamp":
        return f"{column} {operator} {bound}"
    zone = _zone(kind)
    local = (
        f"{'least' if operator.startswith('>') else 'greatest'}(({bound}) at time zone {zone}, "
        f"(({bound}) - {AROUND}) at time zone {zone} + {AROUND}, "
        f"(({bound}) + {AROUND}) at time zone {zone} - {AROUND})"
    )
    return f"({column} {operator} {local} and {cursor_moment(table)} {operator} {bound})"


def within(table: SourceTable, window: Window) -> str:
    """SQL condition on the table's cursor for the half-open window; without an end where that is open."""
    if table.cursor is None:
        return str(window.from_start).lower()
    first, end = (f"timestamptz '{day} 00:00:00+00'" for day in (window.first, window.end))
    return compared(table, ">=", first) + ("" if window.open_ended else f" and {compared(table, '<', end)}")


def day_of(table: SourceTable, window: Window) -> str:
    """SQL for the partition of a row of the window: its UTC day, or the last day where it is dated later."""
    if table.cursor is None:
        return f"date '{window.first}'"
    return f"least(({cursor_moment(table)} at time zone 'UTC')::date, date '{window.last}')"


def newest(table: SourceTable, schema: str, *conditions: str) -> str:
    """SQL for the moment of the newest cursor that fulfils the conditions, which the table has: one look at its index.

    Of local times the newest by its column: within the hour that clocks skip, that need not be the newest moment.
    """
    assert table.cursor
    column = quoted(table.cursor)
    return (
        f"(select {cursor_moment(table)} from {quoted(schema)}.{quoted(table.name)} "
        f"where {' and '.join(conditions)} order by {column} desc limit 1)"
    )


def _zone(kind: ColumnType) -> str:
    assert kind.time_zone
    return literal(kind.time_zone)
