"""Questions about single tables of Postgres that the catalogue or an index answers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shopstream_assets.platform.declare.tables import SourceTable, quoted
from shopstream_assets.platform.sources.newest_change import COUNTED, NewestChange
from shopstream_assets.platform.sources.postgres.cursor import compared, newest
from shopstream_assets.platform.sources.postgres.errors import service_error
from shopstream_assets.platform.sources.postgres.snapshot import BEGIN, execute
from shopstream_assets.platform.sources.reading import TableFault

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

# A row's clock may be ahead of Postgres's by as much before its row counts as one from the future.
SKEW = "interval '5 minutes'"
# Seconds to wait for a lock, as of a table that is being rewritten.
LOCK_SECONDS = 10
NO_SUCH_TABLE, TOO_SLOW, LOCKED = "42P01", "57014", "55P03"
# A syntax error or missing right or relation, a value, a lock or a statement that took too long.
ITS_OWN = ("42", "22", "55", TOO_SLOW)
OF_THE_SERVER = ("08", "53", "57P")


@dataclass
class TableQuestions:
    """A connection that asks about the tables of a schema."""

    connection: Connection
    schema: str

    def relation(self, table: SourceTable) -> str:
        """The table's name in SQL."""
        return f"{quoted(self.schema)}.{quoted(table.name)}"

    @contextmanager
    def about(self, table: SourceTable, seconds: int | None = None) -> Iterator[None]:
        """Questions about one table, in a snapshot each within `seconds`.

        Raises TableFault where the table is missing, locked, unreadable or too slow; the connection can go on. One that
        is lost is left to the block's user: it is no fault of the table.
        """
        import adbc_driver_postgresql.dbapi as adbc

        if seconds:
            execute(
                self.connection,
                f"set local statement_timeout = '{seconds}s'",
                f"set local lock_timeout = '{min(seconds, LOCK_SECONDS)}s'",
            )
        try:
            yield
        except adbc.Error as error:
            state = error.sqlstate or ""
            # A snapshot that gives way goes on after anything but an end of the server's, or of the session.
            is_its_own = bool(state) and not state.startswith(OF_THE_SERVER) if seconds else state.startswith(ITS_OWN)
            if not is_its_own:
                raise
            if seconds:
                # Not to a savepoint: the driver refuses every statement in a transaction that has failed.
                execute(self.connection, "rollback", BEGIN)
            raise _fault(error, seconds) from None

    def bad_keys(self, table: SourceTable) -> int:
        """Rows with a null or repeated key; not counted, but known to be 0, where they are the primary key."""
        relation = self.relation(table)
        key = [quoted(name) for name in table.primary_key]
        with self.connection.cursor() as cursor:
            cursor.execute(
                """
                select count(*)
                from pg_index as i
                where i.indrelid = $1::text::regclass and i.indisprimary
                  and (
                      select array_agg(a.attname::text order by a.attname)
                      from pg_attribute as a
                      where a.attrelid = i.indrelid and a.attnum = any(i.indkey)
                  ) = string_to_array($2, chr(31))
                """,
                (relation, "\x1f".join(sorted(table.primary_key))),
            )
            guarded = cursor.fetchone()
            if guarded and guarded[0]:
                return 0
            cursor.execute(
                f"select count(*) - (select count(*) from (select 1 from {relation} "
                f"where {' and '.join(f'{name} is not null' for name in key)} group by {', '.join(key)}) as keys) "
                f"from {relation}"
            )
            bad = cursor.fetchone()
            return bad[0] if bad else 0

    def unpartitioned(self, table: SourceTable, start: dt.date) -> dict[str, int]:
        """Rows that no partition will ever hold, by reason, each counted up to COUNTED and one more."""
        assert table.cursor
        name = quoted(table.cursor)
        first = f"timestamptz '{start} 00:00:00+00'"
        early = f"{name} > '-infinity' and {compared(table, '<', first)}"
        # Three looks at the index, where one condition would read the table.
        conditions = {
            f"{table.cursor} is null": [f"{name} is null"],
            f"{table.cursor} is infinite": [f"{name} = 'infinity'", f"{name} = '-infinity'"],
            f"{table.cursor} is before {start}": [early],
        }
        found = {
            reason: min(COUNTED + 1, sum(self._count(table, condition) for condition in either))
            for reason, either in conditions.items()
        }
        return {reason: rows for reason, rows in found.items() if rows}

    def newest_change(self, table: SourceTable) -> NewestChange:
        """The newest change by Postgres's own clock: two looks at the ends of the cursor's index.

        As an age and as text: a timestamp may be one that Python does not know.
        """
        assert table.cursor
        name = quoted(table.cursor)
        now = f"now() + {SKEW}"
        past = compared(table, "<=", now), f"{name} > '-infinity'"
        future = f"{compared(table, '>', now)} and {name} < 'infinity'"
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"""
                select extract(epoch from now() - {newest(table, self.schema, *past)})::float8,
                       {newest(table, self.schema, future)}::text
                """
            )
            seconds, furthest = cursor.fetchone() or (None, None)
        age = None if seconds is None else dt.timedelta(seconds=max(seconds, 0))
        return NewestChange(age, self._count(table, future) if furthest else 0, furthest)

    def _count(self, table: SourceTable, condition: str) -> int:
        """Rows for which a condition on the cursor holds, up to COUNTED and one more."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"select count(*) from (select 1 from {self.relation(table)} where {condition} "
                f"limit {COUNTED + 1}) as found"
            )
            row = cursor.fetchone()
            return row[0] if row else 0


def _fault(error: Exception, seconds: int | None) -> TableFault:
    state = getattr(error, "sqlstate", "")
    if state == NO_SUCH_TABLE:
        return TableFault(
            "the source has no such table (its relation does not exist).",
            "create it, or correct the schema setting; a table that is to come is taken up by itself.",
        )
    if state == TOO_SLOW and seconds:
        return TableFault(
            f"the table did not answer within {seconds} s.",
            "see that its cursor and key are indexed (docs/production.md), and what else keeps the database busy.",
            retry=True,
        )
    if state == LOCKED and seconds:
        return TableFault(
            f"the table was locked for more than {min(seconds, LOCK_SECONDS)} s.",
            "see in pg_locks who holds it; a rewrite or a migration ends by itself.",
            retry=True,
        )
    told = service_error(error)
    return TableFault(told.found, told.next_step, retry=told.retry)
