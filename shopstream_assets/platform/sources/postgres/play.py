"""Playing a simulated source into Postgres, where the user has no source of their own."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from shopstream_assets.platform.declare.simulator import Simulator
from shopstream_assets.platform.declare.tables import Column, SourceTable, literal, postgres_ddl, quoted

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection


def play(
    connection: Connection,
    simulator: Simulator,
    table: SourceTable,
    schema: str,
    first: dt.date,
    end: dt.date,
) -> int:
    """Play the days [first, end) of one table into Postgres within the connection's transaction; returns rows played.

    A row that is there already only ever moves forward in time, so days may be played twice and in any order. Of today,
    what has happened until now is played.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    now = pa.scalar(dt.datetime.now(dt.UTC), pa.timestamp("us", tz="UTC"))
    target = f"{quoted(schema)}.{quoted(table.name)}"
    columns = ", ".join(quoted(column.name) for column in table.columns)
    typed = ", ".join(_played(column) for column in table.columns)
    key = ", ".join(quoted(name) for name in table.primary_key)
    updates = ", ".join(
        f"{quoted(column.name)} = excluded.{quoted(column.name)}"
        for column in table.columns
        if column.name not in table.primary_key
    )
    # Of a table without a cursor the row that is played last is the newest.
    is_newer = (
        f"excluded.{quoted(table.cursor)} > t.{quoted(table.cursor)}" if table.cursor else "t is distinct from excluded"
    )
    on_conflict = f"update set {updates} where {is_newer}" if updates else "nothing"
    played = 0
    with connection.cursor() as cursor:
        # Two runs may be the first to play: one creates, the other waits for it.
        cursor.execute("select pg_advisory_xact_lock(hashtext('play: create tables'))")
        cursor.execute(f"create schema if not exists {quoted(schema)}")
        for statement in postgres_ddl(table, schema):
            cursor.execute(statement)
        # What was declared since an earlier version of the platform began to play.
        cursor.execute(f"select * from {target} limit 0")
        there = {column[0] for column in cursor.description or ()}
        for column in table.columns:
            if column.name not in there:
                cursor.execute(f"alter table {target} add column {quoted(column.name)} {column.type.postgres}")
        for number, played_rows in enumerate(simulator.batches(table.name, first, end)):
            rows = played_rows
            if table.cursor:
                rows = played_rows.filter(pc.less_equal(played_rows.column(table.cursor), now))
            incoming = f"incoming_{number}"
            cursor.adbc_ingest(incoming, rows, mode="create", temporary=True)
            cursor.execute(
                f"insert into {target} as t ({columns}) select {typed} from pg_temp.{incoming} "
                f"on conflict ({key}) do {on_conflict}"
            )
            cursor.execute(f"drop table pg_temp.{incoming}")
            played += rows.num_rows
        cursor.execute(f"analyze {target}")
    return played


def _played(column: Column) -> str:
    """SQL that turns a value as it travels into one of the source's type."""
    name = quoted(column.name)
    if column.type.time_zone:
        return f"({name} at time zone {literal(column.type.time_zone)})"
    return f"{name}::{column.type.postgres}"
