"""Checks of the source tables themselves, the same for a simulated store and for the user's own."""

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from shopstream_assets.platform import extract
from shopstream_assets.platform.domain import Domain
from shopstream_assets.platform.errors import told_from
from shopstream_assets.platform.resources.postgres import PostgresResource
from shopstream_assets.platform.settings import DomainSettings
from shopstream_assets.platform.source_assets import asset_key
from shopstream_assets.platform.tables import SourceTable, quoted

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

WARN = dg.AssetCheckSeverity.WARN
CHECKS = {
    "columns_as_declared": "The table has the declared columns in types that lose nothing.",
    "keys_unique_and_not_null": "No key is null or occurs twice.",
    "every_row_has_a_day": "Each row's cursor lies in a partition, so no row is left out for ever.",
    "fresh": "The newest change is younger than the table's freshness.",
}


def source_checks(domain: Domain, settings: DomainSettings) -> dg.AssetChecksDefinition:
    """One step that looks at every source table of the domain."""
    tables = {asset_key(domain.name, "postgres", table.name): table for table in domain.tables}

    @dg.multi_asset_check(
        name=f"{domain.name}__source_checks",
        specs=[
            # A repeated key or an unreadable table would go wrong further down: those stop what depends on the table.
            dg.AssetCheckSpec(
                name,
                asset=key,
                description=description,
                blocking=name in ("columns_as_declared", "keys_unique_and_not_null"),
            )
            for key in tables
            for name, description in CHECKS.items()
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
                results = list(_results(connection, table, source.schema_name, settings.start_date))
            for name, passed, severity, description in results:
                if name in names:
                    yield dg.AssetCheckResult(
                        check_name=name, asset_key=key, passed=passed, severity=severity, description=description
                    )

    return look


def _results(
    connection: "Connection", table: SourceTable, schema: str, start_date: dt.date
) -> Iterator[tuple[str, bool, dg.AssetCheckSeverity, str | None]]:
    """(check, passed, severity, what was found) for each check of a table; one that cannot be answered fails."""
    error = dg.AssetCheckSeverity.ERROR
    try:
        drift = extract.plan(connection, table, schema).drift
    except extract.SchemaMismatch as mismatch:
        for name in CHECKS:
            yield name, False, error, str(mismatch)
        return
    yield "columns_as_declared", not drift, WARN, f"differs from the declaration: {drift}" if drift else None
    bad_keys = unguarded_bad_keys(connection, table, schema)
    yield (
        "keys_unique_and_not_null",
        not bad_keys,
        error,
        f"{bad_keys} rows have a null key or repeat one" if bad_keys else None,
    )
    left_out = extract.unpartitioned(connection, table, schema, start_date)
    told = ", ".join(f"{rows} rows whose {reason}" for reason, rows in left_out.items())
    yield "every_row_has_a_day", not left_out, WARN, f"no partition will ever hold {told}" if left_out else None
    age = newest_age(connection, table, schema)
    fresh = age is not None and age <= table.freshness
    told = "the table is empty" if age is None else f"the newest change is {age} old, {table.freshness} are allowed"
    yield "fresh", fresh, WARN, None if fresh else told


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


def newest_age(connection: "Connection", table: SourceTable, schema: str) -> dt.timedelta | None:
    """How old the newest change is; None for an empty table."""
    cursor_column = quoted(table.cursor)
    with connection.cursor() as cursor:
        cursor.execute(
            f"select max({cursor_column}) from {quoted(schema)}.{quoted(table.name)} where {cursor_column} < 'infinity'"
        )
        newest = cursor.fetchone()
    return dt.datetime.now(dt.UTC) - newest[0] if newest and newest[0] is not None else None
