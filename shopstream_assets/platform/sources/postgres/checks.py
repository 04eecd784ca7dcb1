"""Checks of the source tables themselves, the same for a simulated store and for the user's own.

What runs with a refresh asks only for what the catalogue or the cursor's index answers, and no more than COUNTED rows
of a kind; the one question that may need the whole table, `keys_unique_and_not_null`, is asked on a clock. Every table
is asked within TABLE_SECONDS, and what is wrong with one is told of that one alone.
"""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.on_a_clock import ON_A_CLOCK
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.tables import SourceTable, quoted
from shopstream_assets.platform.errors import Problem, ServiceError, told_from
from shopstream_assets.platform.sources.postgres import extract
from shopstream_assets.platform.sources.postgres.cursor import compared, newest
from shopstream_assets.platform.sources.postgres.errors import service_error
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.sources.postgres.snapshot import BEGIN

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

WARN = dg.AssetCheckSeverity.WARN
ERROR = dg.AssetCheckSeverity.ERROR
FRESH = "fresh"
FROM_THE_FUTURE = "no_rows_from_the_future"
KEYS = "keys_unique_and_not_null"
CHECKS = {
    "columns_as_declared": "The table has the declared columns in types that lose nothing.",
    "every_row_has_a_day": "Each row's cursor lies in a partition, so no row is left out for ever.",
    FROM_THE_FUTURE: "No row is dated later than now. Such rows travel, but are no news: see `fresh`.",
    FRESH: "The newest change that is not dated in the future is younger than the table's freshness.",
}
# What a table without a cursor cannot be asked: its rows lie in one partition, and nothing says when they changed.
OF_THE_CURSOR = ("every_row_has_a_day", FROM_THE_FUTURE, FRESH)
WHOLE_TABLE_CHECKS = {KEYS: "No key is null or occurs twice; known without looking where it is the primary key."}

# A row's clock may be ahead of Postgres's by as much before its row counts as one from the future.
SKEW = dt.timedelta(minutes=5)
# Rows of a kind that are counted; beyond them, that there are more is all that is told.
COUNTED = 10_000
# Seconds that one table may take: for questions that an index answers, and for those of the clock.
TABLE_SECONDS = 20
WHOLE_TABLE_SECONDS = 1800
# Seconds to wait for a lock, as of a table that is being rewritten.
LOCK_SECONDS = 10


@dataclass(frozen=True)
class NewestChange:
    """How old the newest change is that is not from the future (None: there is none); and rows that are from there.

    `from_future` counts up to COUNTED and one more; `furthest` is the greatest of their cursors, as Postgres writes it.
    """

    age: dt.timedelta | None
    from_future: int
    furthest: str | None

    @property
    def future_told(self) -> str | None:
        """What is to be said about rows from the future, if there are any."""
        if not self.from_future:
            return None
        return (
            f"{counted(self.from_future)} rows are dated later than now, up to {self.furthest}; they travel with "
            "today's partition and do not count as news. Next: correct their cursor, or the clock that wrote it."
        )


def counted(rows: int) -> str:
    """A number of rows that was counted up to COUNTED."""
    return f"more than {COUNTED}" if rows > COUNTED else str(rows)


def source_checks(domain: Domain, settings: DomainSettings) -> dg.AssetChecksDefinition:
    """One step that looks at every source table of the domain, through indexes alone."""
    return _checks(domain, settings, f"{domain.name}__source_checks", CHECKS, TABLE_SECONDS)


def whole_source_checks(domain: Domain, settings: DomainSettings) -> dg.AssetChecksDefinition:
    """One step for what may need every row of a table: for the clock and on demand, not for a refresh."""
    return _checks(domain, settings, f"{domain.name}__whole_source_checks", WHOLE_TABLE_CHECKS, WHOLE_TABLE_SECONDS)


def _checks(
    domain: Domain, settings: DomainSettings, step: str, checks: dict[str, str], seconds: int
) -> dg.AssetChecksDefinition:
    tables = {asset_key(domain.name, "postgres", table.name): table for table in domain.tables}

    @dg.multi_asset_check(
        name=step,
        specs=[
            # A repeated key or an unreadable table would go wrong further down: those stop what depends on the table.
            dg.AssetCheckSpec(
                name,
                asset=key,
                description=description,
                blocking=name in ("columns_as_declared", KEYS),
                metadata=ON_A_CLOCK if checks is WHOLE_TABLE_CHECKS else None,
            )
            for key, table in tables.items()
            for name, description in checks.items()
            if table.cursor or name not in OF_THE_CURSOR
        ],
        can_subset=True,
    )
    def look(context: dg.AssetCheckExecutionContext, source: PostgresResource) -> Iterator[dg.AssetCheckResult]:
        wanted = context.selected_asset_check_keys
        for key, table in tables.items():
            names = {check.name for check in wanted if check.asset_key == key}
            if not names:
                continue
            with told_from("postgres", table.name, "all", "checking the source table"), source.snapshot() as connection:
                results = list(_results(connection, table, source.schema_name, settings.start_date, names, seconds))
            for name, passed, severity, description in results:
                if name in names:
                    yield dg.AssetCheckResult(
                        check_name=name, asset_key=key, passed=passed, severity=severity, description=description
                    )

    return look


Found = tuple[str, bool, dg.AssetCheckSeverity, str | None]
"""Check, whether it passed, severity, what was found."""


def _results(
    connection: "Connection", table: SourceTable, schema: str, start_date: dt.date, names: set[str], seconds: int
) -> Iterator[Found]:
    """The results of a table's checks; those that cannot be answered fail."""
    try:
        with one_table(connection, seconds):
            found = list(_answers(connection, table, schema, start_date, names))
    except Problem as problem:
        found = [(name, False, ERROR, str(problem)) for name in names]
    yield from found


def _answers(
    connection: "Connection", table: SourceTable, schema: str, start_date: dt.date, names: set[str]
) -> Iterator[Found]:
    drift = extract.plan(connection, table, schema).drift
    yield "columns_as_declared", not drift, WARN, f"differs from the declaration: {drift}" if drift else None
    if KEYS in names:
        bad_keys = unguarded_bad_keys(connection, table, schema)
        yield KEYS, not bad_keys, ERROR, f"{bad_keys} rows have a null key or repeat one" if bad_keys else None
    if "every_row_has_a_day" in names:
        left_out = unpartitioned(connection, table, schema, start_date)
        told = ", ".join(f"{counted(rows)} rows whose {reason}" for reason, rows in left_out.items())
        yield "every_row_has_a_day", not left_out, WARN, f"no partition will ever hold {told}" if left_out else None
    if {FRESH, FROM_THE_FUTURE} & names:
        newest = newest_change(connection, table, schema)
        yield FROM_THE_FUTURE, not newest.from_future, WARN, newest.future_told
        stale = old(newest, table)
        yield FRESH, stale is None, WARN, stale


def old(newest: NewestChange, table: SourceTable) -> str | None:
    """What is to be said where a table's newest change is older than its freshness allows."""
    if newest.age is None:
        return "the table is empty" if not newest.from_future else "every row is dated in the future"
    if newest.age <= table.freshness:
        return None
    # To the second: nobody reads the rest.
    age = newest.age - dt.timedelta(microseconds=newest.age.microseconds)
    return f"the newest change is {age} old, {table.freshness} are allowed"


@contextmanager
def one_table(connection: "Connection", seconds: int) -> Iterator[None]:
    """Questions about one table, each within `seconds`, in a snapshot that gives way to a new one after a fault.

    Raises ServiceError where the table is missing, locked, unreadable or too slow; the connection can go on. One that
    is lost is left to the block's user: it is no fault of the table.
    """
    import adbc_driver_postgresql.dbapi as adbc

    def run(*statements: str) -> None:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    run(
        f"set local statement_timeout = '{seconds}s'",
        f"set local lock_timeout = '{min(seconds, LOCK_SECONDS)}s'",
    )
    try:
        yield
    except adbc.Error as error:
        # Classes 08, 53 and 57P: the server, not the table.
        if not error.sqlstate or error.sqlstate[:2] in ("08", "53") or error.sqlstate.startswith("57P"):
            raise
        # Not to a savepoint: the driver refuses every statement in a transaction that has failed.
        run("rollback", BEGIN)
        raise _fault(error, seconds) from None


def _fault(error: Exception, seconds: int) -> ServiceError:
    state = getattr(error, "sqlstate", "")
    if state == "57014":
        return ServiceError(
            f"the table did not answer within {seconds} s.",
            "see that its cursor and key are indexed (docs/production.md), and what else keeps the database busy.",
            retry=True,
        )
    if state == "55P03":
        return ServiceError(
            f"the table was locked for more than {min(seconds, LOCK_SECONDS)} s.",
            "see in pg_locks who holds it; a rewrite or a migration ends by itself.",
            retry=True,
        )
    return service_error(error)


def unguarded_bad_keys(connection: "Connection", table: SourceTable, schema: str) -> int:
    """Rows with a null or repeated key; not counted, but known to be 0, where they are the primary key."""
    relation = f"{quoted(schema)}.{quoted(table.name)}"
    key = [quoted(name) for name in table.primary_key]
    with connection.cursor() as cursor:
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


def unpartitioned(connection: "Connection", table: SourceTable, schema: str, start_date: dt.date) -> dict[str, int]:
    """Rows that no partition will ever hold, by reason, each counted up to COUNTED and one more; {} where none is."""
    assert table.cursor
    name = quoted(table.cursor)
    start = f"timestamptz '{start_date} 00:00:00+00'"
    early = f"{name} > '-infinity' and {compared(table, '<', start)}"
    # Three looks at the index, where one condition would read the table.
    conditions = {
        f"{table.cursor} is null": [f"{name} is null"],
        f"{table.cursor} is infinite": [f"{name} = 'infinity'", f"{name} = '-infinity'"],
        f"{table.cursor} is before {start_date}": [early],
    }
    found = {
        reason: min(COUNTED + 1, sum(_count(connection, table, schema, condition) for condition in either))
        for reason, either in conditions.items()
    }
    return {reason: rows for reason, rows in found.items() if rows}


def _count(connection: "Connection", table: SourceTable, schema: str, condition: str) -> int:
    """Rows for which a condition on the cursor holds, up to COUNTED and one more."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"select count(*) from (select 1 from {quoted(schema)}.{quoted(table.name)} where {condition} "
            f"limit {COUNTED + 1}) as found"
        )
        row = cursor.fetchone()
        return row[0] if row else 0


def newest_change(connection: "Connection", table: SourceTable, schema: str) -> NewestChange:
    """The newest change by Postgres's own clock: two looks at the ends of the cursor's index.

    As an age and as text: a timestamp may be one that Python does not know.
    """
    assert table.cursor
    name = quoted(table.cursor)
    now = f"now() + interval '{SKEW.total_seconds():.0f} s'"
    past = compared(table, "<=", now), f"{name} > '-infinity'"
    future = f"{compared(table, '>', now)} and {name} < 'infinity'"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            select extract(epoch from now() - {newest(table, schema, *past)})::float8,
                   {newest(table, schema, future)}::text
            """
        )
        seconds, furthest = cursor.fetchone() or (None, None)
    age = None if seconds is None else dt.timedelta(seconds=max(seconds, 0))
    return NewestChange(age, _count(connection, table, schema, future) if furthest else 0, furthest)
