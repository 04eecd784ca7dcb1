"""How a table of Postgres is read: its declaration, held against the catalogue, as SQL.

Values that the next layer could not hold exactly (NaN, infinity, too many digits) and rows that break a rule are told
apart by Postgres itself, so that the rows that travel need no second look.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shopstream_assets.platform.declare.tables import (
    BIGINT,
    BOOLEAN,
    DATE,
    INTEGER,
    JSON,
    TEXT,
    TEXTS,
    TIMESTAMP,
    UUID,
    Column,
    ColumnType,
    SourceTable,
    literal,
    quoted,
)
from shopstream_assets.platform.sources.postgres.cursor import moment
from shopstream_assets.platform.sources.postgres.errors import hidden_rows
from shopstream_assets.platform.sources.postgres.reading import PostgresReading, is_wide
from shopstream_assets.platform.sources.reading import Drift, SchemaMismatch

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

# Snowflake's VARCHAR holds 16 MB, its BINARY half of that.
TEXT_BYTES = 16 * 1024 * 1024
BINARY_BYTES = TEXT_BYTES // 2

# Said of every column that holds days or times, the cursor among them.
IN_RANGE = "{0} >= '0001-01-01' and {0} < '10000-01-01'"
# Bytes that are UTF-8. A database of encoding SQL_ASCII takes every byte for a character, and so does its regex.
UTF8 = (
    r"'^([\u0001-\u007f]|[\u00c2-\u00df][\u0080-\u00bf]|\u00e0[\u00a0-\u00bf][\u0080-\u00bf]"
    r"|[\u00e1-\u00ec\u00ee\u00ef][\u0080-\u00bf]{2}|\u00ed[\u0080-\u009f][\u0080-\u00bf]"
    r"|\u00f0[\u0090-\u00bf][\u0080-\u00bf]{2}|[\u00f1-\u00f3][\u0080-\u00bf]{3}"
    r"|\u00f4[\u0080-\u008f][\u0080-\u00bf]{2})*$'"
)
# Types made of letters: what they hold is as good as the encoding of the database.
SPELLED = (TEXT, TEXTS, JSON, UUID)
# How Postgres sends a type, where the column may be of another.
SENT_AS: Mapping[str, str] = {
    "text": "text",
    "uuid": "text",
    "jsonb": "text",
    "text[]": "text[]",
    "uuid[]": "text[]",
    "bigint[]": "bigint[]",
    "integer[]": "integer[]",
    "smallint": "smallint",
    "integer": "integer",
    "bigint": "bigint",
    "real": "real",
    "double precision": "double precision",
}

# What a declared type can be read from without changing a value.
WIDENINGS: Mapping[str, tuple[str, ...]] = {
    "bigint": ("bigint", "integer", "smallint"),
    "integer": ("integer", "smallint", "bigint"),
    "smallint": ("smallint", "integer", "bigint"),
    "numeric": ("numeric", "bigint", "integer", "smallint"),
    "real": ("real",),
    "double precision": ("double precision", "real"),
    # And whatever has no type of its own, see `_takes`.
    "text": ("text", "character varying", "character", "citext", "uuid", "name", "enum", "numeric"),
    "text[]": ("text[]", "character varying[]", "uuid[]"),
    "boolean": ("boolean",),
    "timestamptz": ("timestamp with time zone",),
    "timestamp": ("timestamp without time zone",),
    "date": ("date",),
    "time": ("time without time zone",),
    "uuid": ("uuid", "text", "character varying"),
    "jsonb": ("jsonb", "json"),
    "bytea": ("bytea",),
    "bigint[]": ("bigint[]", "integer[]", "smallint[]"),
    "integer[]": ("integer[]", "smallint[]"),
    "smallint[]": ("smallint[]",),
    "boolean[]": ("boolean[]",),
    "uuid[]": ("uuid[]", "text[]", "character varying[]"),
}
# Types that are declared as what they are: a column that comes to be one of them is no longer the text it was.
OF_THEIR_OWN = frozenset(found for kind in WIDENINGS.values() for found in kind)
# Whole numbers that have outgrown their declaration travel in the type that they have now.
GROWN: Mapping[tuple[str, str], ColumnType] = {
    ("smallint", "integer"): INTEGER,
    ("smallint", "bigint"): BIGINT,
    ("integer", "bigint"): BIGINT,
}
# How a column that nobody declared travels; anything else goes as its text.
UNDECLARED: Mapping[str, ColumnType] = {
    "bigint": BIGINT,
    "integer": INTEGER,
    "smallint": INTEGER,
    "boolean": BOOLEAN,
    "timestamp with time zone": TIMESTAMP,
    "date": DATE,
    "uuid": UUID,
    "jsonb": JSON,
}


@dataclass(frozen=True)
class SourceColumn:
    """A column as the catalogue of Postgres has it.

    `type` is without its modifier, as "numeric", and of a domain that which it is made of; `modifier` has it, as
    "numeric(12,2)"; `long` is whether the table may hold a value of over TEXT_BYTES;
    `readable` is whether this role may read the column.
    """

    name: str
    type: str
    modifier: str
    not_null: bool
    long: bool
    readable: bool


@dataclass(frozen=True)
class Catalogue:
    """A table as this role sees it.

    `hides_rows` is whether row-level security would apply to the role; `any_byte` is whether the database, of encoding
    SQL_ASCII, vouches for no text; `enters` is whether the role may use the schema.
    """

    role: str
    hides_rows: bool
    any_byte: bool
    enters: bool
    columns: tuple[SourceColumn, ...]


# The type that a domain is made of, and its modifier; of any other type itself. `a` is the row of pg_attribute.
BASE_TYPE = """
with recursive made_of as (
    select a.atttypid as type, a.atttypmod as modifier
    union all
    select d.typbasetype, case when m.modifier = -1 then d.typtypmod else m.modifier end
    from made_of as m join pg_type as d on d.oid = m.type
    where d.typtype = 'd'
)
select m.type, m.modifier from made_of as m join pg_type as b on b.oid = m.type where b.typtype <> 'd'
"""


def catalogue(connection: Connection, schema: str, table: str) -> Catalogue | None:
    """A table with its columns in their order; None when there is no such table."""
    with connection.cursor() as cursor:
        cursor.execute(
            # Values of over 2 kB lie in the table's TOAST relation, compressed to a 255th at best. A type of another
            # schema is printed with it.
            f"""
            select current_user::text, row_security_active(c.oid), d.encoding = 0,
                   has_schema_privilege(n.oid, 'usage'),
                   a.attname::text,
                   case when t.typtype = 'e' then 'enum' when t.typname = 'citext' then 'citext'
                        else format_type(t.oid, null) end,
                   format_type(t.oid, base.modifier), a.attnotnull,
                   c.relkind not in ('r', 'm') or coalesce(pg_relation_size(c.reltoastrelid), 0) > {TEXT_BYTES // 256},
                   has_column_privilege(c.oid, a.attnum, 'select')
            from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
            cross join lateral ({BASE_TYPE}) as base
            join pg_type t on t.oid = base.type join pg_database d on d.datname = current_database()
            where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p', 'v', 'm', 'f')
              and a.attnum > 0 and not a.attisdropped
            order by a.attnum
            """,
            (schema, table),
        )
        rows = cursor.fetchall()
    if not rows:
        return None
    role, hides_rows, any_byte, enters = rows[0][:4]
    return Catalogue(role, hides_rows, any_byte, enters, tuple(SourceColumn(*row[4:]) for row in rows))


def plan(connection: Connection, table: SourceTable, schema: str) -> PostgresReading:
    """Compare the table with its declaration and say how to read it.

    Raises SchemaMismatch when there is no such table, its key or cursor is gone, a type changed into one whose values
    would not survive, a declared column may not be read, or there is an undeclared one that the declaration refuses;
    ServiceError when row-level security would hide rows.
    """
    found_table = catalogue(connection, schema, table.name)
    if found_table is None:
        raise SchemaMismatch(
            f"Postgres has no table {schema}.{table.name} that this role can see.",
            "create it, correct the schema setting, or grant SELECT on it.",
        )
    if found_table.hides_rows:
        raise hidden_rows(f"{schema}.{table.name}", quoted(found_table.role))
    _require_grants(found_table, table, schema)
    actual = {column.name: column for column in found_table.columns if column.readable}
    any_byte = found_table.any_byte
    key_types = {name: actual[name].modifier for name in table.primary_key if name in actual}
    columns: list[Column] = []
    select: list[str] = []
    reasons: list[tuple[str, str]] = []
    kept: list[str] = []
    dropped, widened = [], []
    for column in table.columns:
        found = actual.pop(column.name, None)
        if found is None:
            if column.name in table.version:
                raise SchemaMismatch(
                    f"column {column.name} is gone from {schema}.{table.name}, and it is its key or cursor.",
                    "restore or rename it back, or change the declaration of the table.",
                )
            dropped.append(column.name)
            columns.append(replace(column, nullable=True))
            select.append(f"{_read('null', column.type, 'unknown')} as {quoted(column.name)}")
            continue
        if not _takes(column.type, found.type):
            raise _mismatch(column, found)
        carried = column
        if grown := GROWN.get((column.type.name, found.type)):
            carried = replace(column, type=grown)
            widened.append(column.name)
        columns.append(carried)
        select.append(f"{_read(quoted(column.name), carried.type, found.type)} as {quoted(column.name)}")
        reasons.extend(_rules(column, found, any_byte))
        # Without its key nobody would find the row again.
        is_key = column.name in table.primary_key
        kept.append(_kept(column, any_byte, masked=column.pii and not is_key, is_key=is_key))
    added = () if table.undeclared == "ignore" else tuple(actual.values())
    if added and table.undeclared == "refuse":
        raise SchemaMismatch(
            f"{schema}.{table.name} has columns that are not declared: {', '.join(column.name for column in added)}.",
            "declare them; or let them travel (undeclared='carry') or stay behind (undeclared='ignore').",
        )
    for found in added:
        kind = UNDECLARED.get(found.type, TEXT)
        column = Column(found.name, kind, "Not declared; found in the source.", nullable=True)
        columns.append(column)
        select.append(f"{_read(quoted(found.name), kind, found.type)} as {quoted(found.name)}")
        reasons.extend(_rules(column, found, any_byte))
        kept.append(_kept(column, any_byte, masked=False, is_key=False))
    reasons.extend(
        (rule.name, f"({rule.sql}) is not false") for rule in table.rules if not set(dropped) & set(rule.columns)
    )
    return PostgresReading(
        table=table,
        columns=tuple(columns),
        drift=Drift(added=tuple(column.name for column in added), dropped=tuple(dropped), widened=tuple(widened)),
        digest=hashlib.sha256(repr((tuple(select), tuple(reasons))).encode()).hexdigest()[:16],
        connection=connection,
        source=f"{quoted(schema)}.{quoted(table.name)}",
        select=tuple(select),
        reasons=tuple(reasons),
        key_types=tuple(key_types[name] for name in table.primary_key),
        kept=tuple(kept),
    )


def _takes(kind: ColumnType, found: str) -> bool:
    """Whether a declared type holds the values of the one that was found: as text, all that have no type of their own.

    So an interval, an address, a range, a composite type; and an array of dates.
    """
    if found in WIDENINGS[kind.name]:
        return True
    return found not in OF_THEIR_OWN and (kind == TEXTS if found.endswith("[]") else kind == TEXT)


def _mismatch(column: Column, found: SourceColumn) -> SchemaMismatch:
    next_step = "change the type back, or declare the new one and rebuild the table from its first partition."
    if found.type == "timestamp without time zone":
        next_step = (
            "declare it with the zone whose local time it holds, as local_timestamp('Europe/Berlin') or "
            f"local_timestamp('UTC'); or {next_step}"
        )
    return SchemaMismatch(f"column {column.name} is now {found.modifier}, declared {column.type.postgres}.", next_step)


def _require_grants(found: Catalogue, table: SourceTable, schema: str) -> None:
    """Raise SchemaMismatch where the role may not read a declared column; with the GRANT to type."""
    declared = {column.name for column in table.columns}
    withheld = [column.name for column in found.columns if column.name in declared and not column.readable]
    relation, role = f"{quoted(schema)}.{quoted(table.name)}", quoted(found.role)
    some = any(column.readable for column in found.columns)
    grants = []
    if not found.enters:
        grants.append(f"grant usage on schema {quoted(schema)} to {role};")
    if withheld:
        which = f" ({', '.join(map(quoted, withheld))})" if some else ""
        grants.append(f"grant select{which} on {relation} to {role};")
    if not grants:
        return
    what = f"column {', '.join(withheld)} of " if withheld and some else ""
    raise SchemaMismatch(
        f"the role {found.role} may not read {what}{schema}.{table.name}.", f"`{' '.join(grants)}` (as its owner)."
    )


def _kept(column: Column, any_byte: bool, *, masked: bool, is_key: bool) -> str:
    """SQL of a column in a row that goes to quarantine."""
    name = f"t.{quoted(column.name)}"
    if masked:
        return f"'***(' || length({name}::text) || ')' as {quoted(column.name)}"
    if any_byte and column.type in SPELLED:
        # As \351 where it is no UTF-8: it could not be sent as it is.
        escaped = f"encode(convert_to({name}::text, 'SQL_ASCII'), 'escape')"
        return f"case when {name}::text ~ {UTF8} then {name}::text else {escaped} end as {quoted(column.name)}"
    if is_key and column.type == TEXT:
        # As it travels: JSON has a char(n) with its blanks, and an address without its netmask.
        return f"{name}::text as {quoted(column.name)}"
    return f"{name} as {quoted(column.name)}"


def _read(value: str, kind: ColumnType, found: str) -> str:
    """SQL that hands a value over in a type that ADBC carries exactly."""
    if kind.name == "numeric" and is_wide(kind):
        return f"{value}::{kind.postgres}::text"
    if kind.name == "numeric":
        # ADBC has no exact numeric: the value travels as an integer of its smallest unit, see `_exact`. The product of
        # integers could overflow their type.
        exact = value if found == "numeric" else f"{value}::numeric"
        return f"({exact} * {10 ** (kind.scale or 0)})::int8"
    if kind.name == "timestamp":
        return moment(value if found != "unknown" else f"{value}::timestamp", kind)
    target = SENT_AS.get(kind.name)
    if target and found != target:
        return f"{value}::{target}"
    return value if found != "unknown" else f"{value}::{kind.postgres}"


def _rules(column: Column, found: SourceColumn, any_byte: bool) -> Iterator[tuple[str, str]]:
    """(reason, SQL condition) for whatever the catalogue does not guarantee."""
    name, kind = quoted(column.name), column.type
    if not column.nullable and not found.not_null:
        yield f"{column.name} is null", f"{name} is not null"
    if kind.name == "numeric":
        limit = 10 ** ((kind.precision or 0) - (kind.scale or 0))
        # NaN is greater than every number and infinity is no number: one range leaves both outside.
        in_range = f"{name} < {limit}" + ("" if _bounded(column) else f" and {name} > -{limit}")
        if found.modifier != kind.postgres and found.type == "numeric":
            in_range += f" and {name} = round({name}, {kind.scale})"
        yield f"{column.name} does not fit {kind.postgres}", f"({in_range}) is not false"
    if kind.is_moment or kind == DATE:
        in_range = IN_RANGE.format(moment(name, kind))
        yield f"{column.name} is not a time between the years 1 and 9999", f"({in_range}) is not false"
    if kind.name == "time":
        yield f"{column.name} is 24:00, which is no time of a day", f"({name} < '24:00') is not false"
    if kind.name == "bytea":
        fits = f"octet_length({name}) <= {BINARY_BYTES}"
        yield f"{column.name} is longer than {BINARY_BYTES} bytes", f"({fits}) is not false"
    if kind.element:
        # ADBC lays the dimensions of an array end to end, and reads none that begins at another place.
        listed = f"array_ndims({name}) = 1 and array_lower({name}, 1) = 1"
        yield f"{column.name} is no plain list: an array of one dimension, numbered from 1", f"({listed}) is not false"
    if any_byte and kind in SPELLED:
        yield f"{column.name} is not UTF-8", f"({name}::text ~ {UTF8}) is not false"
    if found.long and (kind in (TEXT, JSON) or kind.element):
        # Snowflake holds an array as JSON.
        text = f"to_json({name})::text" if kind.element else f"{name}::text"
        # Turning every json into text twice would cost more than reading its size.
        fits = f"pg_column_size({name}) < 8192 or octet_length({text}) <= {TEXT_BYTES}"
        yield f"{column.name} is longer than {TEXT_BYTES} bytes", f"({fits}) is not false"
    if column.values:
        accepted = ", ".join(map(literal, column.values))
        yield f"{column.name} is not one of {', '.join(column.values)}", f"({name}::text in ({accepted})) is not false"
    if column.minimum is not None:
        yield f"{column.name} is below {column.minimum}", f"({name} >= {column.minimum}) is not false"


def _bounded(column: Column) -> bool:
    """Whether the declared minimum alone keeps a number above the smallest that its type holds."""
    return column.minimum is not None and column.minimum >= 0
