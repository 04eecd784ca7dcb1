"""What a declaration promises of all rows of a table, checked over its whole log in staging, on a clock and on demand.

References: no row's parent is missing. `append_only`: no row changed or went. Both read every row, so no refresh waits
for them; they stop nothing, as the source is free to break them, and nothing is dropped for it.

The state of a key is its row with the greatest `_snapshot`; it exists unless that row says deleted or quarantined.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.on_a_clock import ON_A_CLOCK
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.declare.tables import Column, SourceTable
from shopstream_assets.platform.errors import told_from
from shopstream_assets.platform.staging.change_log import snowflake_name, staging_relation
from shopstream_assets.platform.staging.warehouse import WarehouseResource

if TYPE_CHECKING:
    from snowflake.connector.cursor import SnowflakeCursor

ORPHANS = "no_orphans"
APPENDED = "only_appended"
# What the log must say of each row; a table that was staged by an earlier version of the platform lacks it.
NEEDED = ("_SNAPSHOT", "_DELETED", "_QUARANTINED")


@dataclass(frozen=True)
class Found:
    """What a check found: rows that break the promise, and what is to be said about them."""

    rows: int
    told: str | None


def integrity_checks(domain: Domain) -> dg.AssetChecksDefinition:
    """One step for all tables of the domain that promise something about all of their rows."""
    staged = {table.name: asset_key(domain.name, "staging", table.name) for table in domain.tables}
    tables = {table.name: table for table in domain.tables}
    specs, looks = [], {}
    for table in domain.tables:
        key = staged[table.name]
        if parents := {column.references.partition(".")[0] for column in references(table) if column.references}:
            specs.append(
                dg.AssetCheckSpec(
                    ORPHANS,
                    asset=key,
                    metadata=ON_A_CLOCK,
                    description="Every reference leads to a row that exists.",
                    additional_deps=sorted(staged[name] for name in parents - {table.name}),
                )
            )
            looks[specs[-1].key] = _orphans_of(table, tables)
        if table.append_only:
            specs.append(
                dg.AssetCheckSpec(
                    APPENDED,
                    asset=key,
                    description="No row that was once seen has changed or gone.",
                    metadata=ON_A_CLOCK,
                )
            )
            looks[specs[-1].key] = _changed_of(table)

    @dg.multi_asset_check(name=f"{domain.name}__integrity", specs=specs, can_subset=True)
    def look(context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource) -> Iterator[dg.AssetCheckResult]:
        for check in sorted(context.selected_asset_check_keys):
            name = check.asset_key.path[-1]
            with (
                told_from("staging", name, "all", f"checking {check.name}"),
                warehouse.connection(REPORTING) as session,
                session.cursor() as cursor,
            ):
                began = dt.datetime.now(dt.UTC)
                found = looks[check](cursor, warehouse.database)
            yield dg.AssetCheckResult(
                check_name=check.name,
                asset_key=check.asset_key,
                passed=not found.told,
                severity=dg.AssetCheckSeverity.WARN,
                description=found.told,
                metadata={"rows": found.rows, "seconds": (dt.datetime.now(dt.UTC) - began).total_seconds()},
            )

    return look


def references(table: SourceTable) -> list[Column]:
    """The columns that name a parent."""
    return [column for column in table.columns if column.references]


def _orphans_of(table: SourceTable, tables: dict[str, SourceTable]) -> Callable[["SnowflakeCursor", str], Found]:
    def look(cursor: "SnowflakeCursor", database: str) -> Found:
        rows, told = 0, []
        for column in references(table):
            name, _, target = (column.references or "").partition(".")
            if problem := _unreadable(cursor, database, table, tables[name]):
                return Found(0, problem)
            found = orphans(cursor, database, table, column, tables[name], target)
            rows += found.rows
            told += [found.told] if found.told else []
        return Found(rows, "; ".join(told) + ". Next: see in the source which of the two is wrong." if told else None)

    return look


def orphans(
    cursor: "SnowflakeCursor", database: str, table: SourceTable, column: Column, parent: SourceTable, target: str
) -> Found:
    """Existing rows of a table whose `column` names no existing row of the parent; null names none and is no orphan."""
    reference, key = snowflake_name(column.name), snowflake_name(table.primary_key[0])
    cursor.execute(
        f"""
        with child as (
            {_state(database, table, [*table.primary_key, column.name])}
        ),
        parent as (
            {_state(database, parent, [*parent.primary_key, target])}
        ),
        orphan as (
            select child.{key} as example, coalesce(max(parent.{snowflake_name("_quarantined")}), false) as is_held_back
            from child
            left join parent on parent.{snowflake_name(target)} = child.{reference}
            where child.{snowflake_name("_exists")} and child.{reference} is not null
            group by {", ".join(f"child.{snowflake_name(name)}" for name in table.primary_key)}
            having not coalesce(boolor_agg(parent.{snowflake_name("_exists")}), false)
        )
        select count(*), coalesce(count_if(is_held_back), 0), min(example)::varchar, max(example)::varchar from orphan
        """
    )
    rows, held_back, first, last = cursor.fetchone() or (0, 0, None, None)
    if not rows:
        return Found(0, None)
    examples = "" if table.column(table.primary_key[0]).pii else f" ({table.primary_key[0]} {first} to {last})"
    kept = f", {held_back} of them because the parent is in quarantine" if held_back else ""
    return Found(rows, f"{rows} rows{examples} whose {column.name} is in no row of {parent.name}.{target}{kept}")


def _state(database: str, table: SourceTable, columns: list[str]) -> str:
    """SQL of one row per key that was ever seen: those columns as the newest snapshot saw them."""
    names = ", ".join(snowflake_name(name) for name in dict.fromkeys(columns))
    deleted, quarantined = (f"coalesce({snowflake_name(name)}, false)" for name in ("_deleted", "_quarantined"))
    order = ", ".join(f"{snowflake_name(name)} desc nulls last" for name in ("_snapshot", table.cursor) if name)
    return f"""select {names}, {quarantined} as {snowflake_name("_quarantined")},
                not {deleted} and not {quarantined} as {snowflake_name("_exists")}
            from {staging_relation(database, table)}
            qualify row_number() over (
                partition by {", ".join(snowflake_name(name) for name in table.primary_key)}
                order by {order}
            ) = 1"""


def _comparable(column: Column) -> str:
    """SQL of a staging column's value in a type that has a least and a greatest value."""
    name = snowflake_name(column.name)
    if column.type.element:
        return f"to_json({name})"
    return f"{name}::varchar" if column.type.name in ("boolean", "bytea") else name


def _changed_of(table: SourceTable) -> Callable[["SnowflakeCursor", str], Found]:
    def look(cursor: "SnowflakeCursor", database: str) -> Found:
        problem = _unreadable(cursor, database, table)
        return Found(0, problem) if problem else changed(cursor, database, table)

    return look


def changed(cursor: "SnowflakeCursor", database: str, table: SourceTable) -> Found:
    """Keys of a table of which the log holds two contents, or that it holds as deleted."""
    names = [column for column in table.columns if column.name not in table.primary_key]
    deleted, quarantined = (f"coalesce({snowflake_name(name)}, false)" for name in ("_deleted", "_quarantined"))
    differs = " or ".join(
        f"min({value}) <> max({value}) or count({value}) not in (0, count_if(not {deleted} and not {quarantined}))"
        for value in (f"iff({deleted} or {quarantined}, null, {_comparable(column)})" for column in names)
    )
    cursor.execute(
        f"""
        select count(*), coalesce(count_if(is_gone), 0)
        from (
            select boolor_agg({deleted}) as is_gone, ({differs or "false"}) as is_changed
            from {staging_relation(database, table)}
            group by {", ".join(snowflake_name(name) for name in table.primary_key)}
        )
        where is_gone or is_changed
        """
    )
    rows, gone = cursor.fetchone() or (0, 0)
    told = (
        f"{rows} rows of a table that is declared append-only did not stay as they were: {gone} are gone, "
        f"{rows - gone} changed. Next: find out who writes to {table.name}; if rows may change, declare it without "
        "append_only and with a cursor that every write sets"
    )
    return Found(rows, f"{told}." if rows else None)


def _unreadable(cursor: "SnowflakeCursor", database: str, *tables: SourceTable) -> str | None:
    """Why the state of one of the tables cannot be read; None where all can."""
    for table in tables:
        cursor.execute(
            f"select column_name from {snowflake_name(database)}.information_schema.columns "
            "where table_schema = 'STAGING' and table_name = %s",
            (table.staging_table,),
        )
        present = {str(row[0]) for row in cursor.fetchall()}
        if not present:
            return f"not checked: {table.name} was never staged. Next: materialize staging/{table.name}."
        if missing := [name for name in NEEDED if name not in present]:
            return (
                f"not checked: {table.staging_table} has no column {', '.join(missing)}. Next: materialize any "
                f"partition of staging/{table.name}, which adds it."
            )
    return None
