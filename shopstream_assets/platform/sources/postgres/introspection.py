"""What the catalogue of Postgres knows of existing tables, beyond what reading them needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.sources.postgres.errors import service_error
from shopstream_assets.platform.sources.postgres.plan import BASE_TYPE, SourceColumn, catalogue
from shopstream_assets.platform.sources.postgres.session import LOOKING, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adbc_driver_manager.dbapi import Connection

KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table"}

# One row for each relation that can be a source; of a partitioned table the whole, not its partitions.
_RELATIONS = f"""
select c.relname::text, c.relkind::text, obj_description(c.oid, 'pg_class'),
       (
           select json_agg(json_build_object(
               'name', a.attname, 'comment', col_description(c.oid, a.attnum),
               'spelled', format_type(a.atttypid, a.atttypmod),
               'labels', (
                   select json_agg(e.enumlabel order by e.enumsortorder) from pg_enum as e where e.enumtypid = base.type
               )
           ))
           from pg_attribute as a cross join lateral ({BASE_TYPE}) as base
           where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
       )::text,
       (
           select json_agg(json_build_object('is_primary', i.indisprimary, 'columns', (
               select json_agg(a.attname order by k.place)
               from unnest(i.indkey::int2[]) with ordinality as k (number, place)
               join pg_attribute as a on a.attrelid = c.oid and a.attnum = k.number
               where k.place <= i.indnkeyatts
           )) order by i.indisprimary desc, i.indnkeyatts, i.indexrelid)
           from pg_index as i
           where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
       )::text,
       (
           select json_agg(a.attname)
           from pg_index as i
           join pg_class as x on x.oid = i.indexrelid join pg_am as m on m.oid = x.relam and m.amname = 'btree'
           join pg_attribute as a on a.attrelid = c.oid and a.attnum = i.indkey[0]
           where i.indrelid = c.oid and i.indisvalid and i.indpred is null
       )::text,
       (
           select json_agg(json_build_object(
               'columns', (
                   select json_agg(a.attname order by k.place)
                   from unnest(f.conkey) with ordinality as k (number, place)
                   join pg_attribute as a on a.attrelid = f.conrelid and a.attnum = k.number
               ),
               'parent_schema', pn.nspname, 'parent', p.relname,
               'parent_columns', (
                   select json_agg(a.attname order by k.place)
                   from unnest(f.confkey) with ordinality as k (number, place)
                   join pg_attribute as a on a.attrelid = f.confrelid and a.attnum = k.number
               )
           ) order by f.conname)
           from pg_constraint as f
           join pg_class as p on p.oid = f.confrelid join pg_namespace as pn on pn.oid = p.relnamespace
           where f.conrelid = c.oid and f.contype = 'f' and f.conparentid = 0
       )::text,
       (
           select json_agg(json_build_object(
               'name', f.conname, 'sql', pg_get_expr(f.conbin, f.conrelid), 'is_valid', f.convalidated,
               'columns', coalesce((
                   select json_agg(a.attname order by a.attnum) from pg_attribute as a
                   where a.attrelid = f.conrelid and a.attnum = any(f.conkey)
               ), '[]')
           ) order by f.conname)
           from pg_constraint as f
           where f.conrelid = c.oid and f.contype = 'c'
       )::text
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f')
  and (c.relname = any(string_to_array($2, chr(31))) or ($2 = '' and not c.relispartition))
order by c.relname
"""


@dataclass(frozen=True)
class FoundColumn:
    """A column: how it can be read, its type as the table was made with, its comment, and the labels of an enum."""

    read: SourceColumn
    spelled: str
    comment: str | None
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its name."""
        return self.read.name


@dataclass(frozen=True)
class ForeignKey:
    """Columns that name a row of a parent by its own."""

    columns: tuple[str, ...]
    parent_schema: str
    parent: str
    parent_columns: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """A condition over columns of one row, as Postgres writes it; `is_valid` is whether it holds for the old rows."""

    name: str
    sql: str
    columns: tuple[str, ...]
    is_valid: bool


@dataclass(frozen=True)
class FoundTable:
    """A table, view or the like as this role sees it.

    `unique` are the columns of its unique indexes that hold for all rows, the primary key first where there is one;
    `indexed` are the columns with which an index begins. `hides_rows`: row-level security would apply to the role.
    """

    schema: str
    name: str
    kind: str
    comment: str | None
    columns: tuple[FoundColumn, ...]
    primary_key: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...]
    indexed: frozenset[str]
    foreign_keys: tuple[ForeignKey, ...]
    checks: tuple[Check, ...]
    role: str
    hides_rows: bool


@contextmanager
def looking(dsn: str) -> Iterator[Connection]:
    """A session that only looks; raises ServiceError when the database refuses, does not answer or is no database."""
    import adbc_driver_postgresql.dbapi as adbc

    try:
        connection = connect(dsn, LOOKING, autocommit=True, default_transaction_read_only="on")
        with connection:
            yield connection
    except adbc.Error as error:
        raise service_error(error) from None


def found_tables(connection: Connection, schema: str, names: Sequence[str] = ()) -> list[FoundTable]:
    """The named relations of a schema, in that order; all of it, by name, where none is named.

    Raises Problem where one is not there.
    """
    with connection.cursor() as cursor:
        cursor.execute(_RELATIONS, (schema, "\x1f".join(names)))
        found = {table.name: table for table in (_found(connection, schema, *row) for row in cursor.fetchall())}
    if missing := [name for name in names if name not in found]:
        with connection.cursor() as cursor:
            cursor.execute(_RELATIONS, (schema, ""))
            others = ", ".join(str(row[0]) for row in cursor.fetchall())
        raise Problem(
            f"schema {schema} has no table {', '.join(missing)} that this role can see.",
            f"name some of these: {others}." if others else "correct the schema, or grant usage on it.",
        )
    if not found:
        raise Problem(
            f"schema {schema} has no table that this role can see.", "correct the schema, or grant usage on it."
        )
    return [found[name] for name in names] if names else list(found.values())


def _found(connection: Connection, schema: str, name: str, kind: str, comment: str | None, *details: str) -> FoundTable:
    columns, unique, indexed, foreign_keys, checks = (json.loads(detail) if detail else [] for detail in details)
    seen = catalogue(connection, schema, name)
    told = {column["name"]: column for column in columns}
    keys = [tuple(index["columns"]) for index in unique]
    return FoundTable(
        schema=schema,
        name=name,
        kind=KINDS[kind],
        comment=comment,
        columns=tuple(
            FoundColumn(
                read=column,
                spelled=told[column.name]["spelled"],
                comment=told[column.name]["comment"],
                labels=tuple(told[column.name]["labels"] or ()),
            )
            for column in (seen.columns if seen else ())
        ),
        primary_key=keys[0] if unique and unique[0]["is_primary"] else (),
        unique=tuple(keys),
        indexed=frozenset(indexed),
        foreign_keys=tuple(
            ForeignKey(
                columns=tuple(key["columns"]),
                parent_schema=key["parent_schema"],
                parent=key["parent"],
                parent_columns=tuple(key["parent_columns"]),
            )
            for key in foreign_keys
        ),
        checks=tuple(Check(one["name"], one["sql"], tuple(one["columns"]), one["is_valid"]) for one in checks),
        role=seen.role if seen else "",
        hides_rows=bool(seen and seen.hides_rows),
    )
