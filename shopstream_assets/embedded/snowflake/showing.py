"""SHOW and DESCRIBE.

fakesnow 0.12.1 ignores STARTS WITH, FROM and LIKE of most SHOW commands, reports an unknown schema as an empty
one, and knows neither row types beyond its own nor comments.
"""

from dataclasses import dataclass
from typing import Any

import duckdb
import sqlglot
from sqlglot import TokenType, exp

from shopstream_assets.embedded.snowflake.dialect import Namespace, TableName
from shopstream_assets.embedded.snowflake.errors import SnowflakeError, compilation, unsupported
from shopstream_assets.embedded.snowflake.information import MACROS, OWN_SCHEMA
from shopstream_assets.embedded.snowflake.storage import Storage, identifier
from shopstream_assets.embedded.snowflake.types import Result

_CREATED = "null::timestamptz as created_on"

# SHOW <kind> -> the rows of one database, with columns as Snowflake names them
_OBJECTS = f"""
    select {_CREATED}, object_name as name, database_name, schema_name, kind, coalesce(comment, '') as comment,
        '' as cluster_by, row_count as rows, null::bigint as bytes, 'SYSADMIN' as owner, '1' as retention_time,
        'ROLE' as owner_role_type, 'N' as is_hybrid, 'N' as is_dynamic, 'N' as is_iceberg, 'N' as is_interactive
    from {MACROS}._ss_objects($database)
"""
_VIEWS = f"""
    select {_CREATED}, object_name as name, '' as reserved, database_name, schema_name, 'SYSADMIN' as owner,
        coalesce(comment, '') as comment, definition as text, 'false' as is_secure, 'false' as is_materialized,
        'ROLE' as owner_role_type, 'OFF' as change_tracking
    from {MACROS}._ss_objects($database) where kind = 'VIEW'
"""
_SCHEMAS = f"""
    select {_CREATED}, SCHEMA_NAME as name, 'N' as is_default, 'N' as is_current, CATALOG_NAME as database_name,
        'SYSADMIN' as owner, coalesce(COMMENT, '') as comment, '' as options, '1' as retention_time,
        'ROLE' as owner_role_type, null::varchar as kind, CATALOG_NAME as schema_name
    from {MACROS}._ss_schemata($database)
"""
_DATABASES = f"""
    select {_CREATED}, DATABASE_NAME as name, 'N' as is_default, 'N' as is_current, '' as origin,
        'SYSADMIN' as owner, coalesce(COMMENT, '') as comment, '' as options, '1' as retention_time,
        'STANDARD' as kind, 'ROLE' as owner_role_type, null::varchar as database_name, null::varchar as schema_name
    from {MACROS}._ss_databases(null)
"""
_STAGES = """
    select created_on, name, database_name, schema_name, url, 'N' as has_credentials, 'N' as has_encryption_key,
        'SYSADMIN' as owner, comment, 'EXTERNAL' as type, 'AWS' as cloud, storage_integration,
        'ROLE' as owner_role_type
    from _account.main.stages where database_name = $database
"""
_FORMATS = """
    select created_on, name, database_name, schema_name, 'PARQUET' as type, 'SYSADMIN' as owner, comment,
        options as format_options, 'ROLE' as owner_role_type
    from _account.main.file_formats where database_name = $database
"""
_COLUMNS = f"""
    select table_name, schema_name, column_name, snowflake_type as data_type,
        case when is_nullable then 'true' else 'false' end as "null?", coalesce(column_default, '') as "default",
        'COLUMN' as kind, '' as expression, coalesce(comment, '') as comment, database_name, '' as autoincrement,
        column_name as name
    from {MACROS}._ss_column_types($database) where schema_name not in ('main', '{OWN_SCHEMA}')
"""
_WAREHOUSES = f"""
    select 'LOCAL' as name, 'STARTED' as state, 'STANDARD' as type, 'X-Small' as size, 0 as running, 0 as queued,
        'Y' as is_default, 'Y' as is_current, 600 as auto_suspend, 'true' as auto_resume, {_CREATED},
        'SYSADMIN' as owner, '' as comment, null::varchar as database_name, null::varchar as schema_name
"""

_IN_SCHEMA = {
    "OBJECTS": _OBJECTS,
    "TABLES": f"select * from ({_OBJECTS}) where kind = 'TABLE'",
    "VIEWS": _VIEWS,
    "STAGES": _STAGES,
    "FILE FORMATS": _FORMATS,
    "COLUMNS": _COLUMNS,
}
_IN_DATABASE = {"SCHEMAS": _SCHEMAS}
_IN_ACCOUNT = {"DATABASES": _DATABASES, "WAREHOUSES": _WAREHOUSES}
_TERSE = "created_on, name, kind, database_name, schema_name"

# Kinds that the local account never has, with the columns that a client may read.
_NEVER_ANY = {
    "GRANTS": "created_on privilege granted_on name granted_to grantee_name grant_option granted_by",
    "USER FUNCTIONS": "created_on name schema_name is_builtin arguments description catalog_name language",
    "PROCEDURES": "created_on name schema_name arguments description catalog_name",
    "FUNCTIONS": "created_on name schema_name is_builtin arguments description catalog_name",
    "PRIMARY KEYS": "created_on database_name schema_name table_name column_name key_sequence constraint_name",
    "UNIQUE KEYS": "created_on database_name schema_name table_name column_name key_sequence constraint_name",
    "IMPORTED KEYS": "created_on pk_database_name pk_schema_name pk_table_name pk_column_name fk_database_name",
    "SEQUENCES": "created_on name database_name schema_name",
    "ROLES": "created_on name comment",
    "USERS": "name created_on login_name comment",
    "INTEGRATIONS": "name type category enabled comment created_on",
    "STORAGE INTEGRATIONS": "name type category enabled comment created_on",
    "DYNAMIC TABLES": "created_on name database_name schema_name",
    "STREAMS": "created_on name database_name schema_name",
    "TASKS": "created_on name database_name schema_name",
}


@dataclass(frozen=True)
class _Scope:
    database: str | None
    schema: str | None


def show(statement: exp.Show, namespace: Namespace, storage: Storage, duck: duckdb.DuckDBPyConnection) -> Result:
    """The SHOW commands that sqlglot parses."""
    kind = statement.name.upper()
    if kind in _NEVER_ANY:
        return _empty(kind)
    query = _IN_SCHEMA.get(kind) or _IN_DATABASE.get(kind) or _IN_ACCOUNT.get(kind)
    if query is None:
        raise unsupported(f"SHOW {kind}")
    scope = _scope(statement, kind, namespace, storage)
    conditions, parameters = ["true"], {"database": scope.database} if "$database" in query else {}
    if scope.schema is not None:
        conditions.append("schema_name = $schema")
        parameters["schema"] = scope.schema
    for argument, condition in (
        ("like", "name ilike $like"),
        ("starts_with", "starts_with(name, $starts_with)"),
    ):
        if isinstance(value := statement.args.get(argument), exp.Literal):
            conditions.append(condition)
            parameters[argument] = value.name
    if isinstance(value := statement.args.get("from_"), exp.Literal):
        conditions.append("name > $after")
        parameters["after"] = value.name
    limit = statement.args.get("limit")
    columns = _TERSE if statement.args.get("terse") and "kind" in query else "*"
    duck.execute(
        f"select {columns} from ({query}) where {' and '.join(conditions)} order by name"
        f"{' limit ' + limit.expression.name if limit else ''}",
        parameters,
    )
    return Result.read(duck)


def show_command(text: str, parameters: dict[str, str]) -> Result:
    """The SHOW commands that sqlglot does not parse: PARAMETERS, GRANTS, ..."""
    tokens = sqlglot.tokenize(text, read="snowflake")
    words = [token.text.upper() for token in tokens]
    if words and words[0] == "PARAMETERS":
        like = None
        if words[1:2] == ["LIKE"] and tokens[2].token_type in (TokenType.STRING, TokenType.RAW_STRING):
            like = tokens[2].text.upper()
        found = {name: value for name, value in parameters.items() if like in (None, "%", name)}
        return Result.of(
            key=list(found),
            value=list(found.values()),
            default=[""] * len(found),
            level=["SESSION"] * len(found),
            description=[""] * len(found),
            type=["STRING"] * len(found),
        )
    for length in (2, 1):
        kind = " ".join(words[:length])
        if kind in _NEVER_ANY:
            return _empty(kind)
    raise unsupported(f"SHOW {text.strip()}")


def describe(
    name: TableName, namespace: Namespace, storage: Storage, duck: duckdb.DuckDBPyConnection, kind: str
) -> Result:
    """DESCRIBE TABLE or VIEW."""
    database, schema, table = name
    lengths: dict[str, int] = {}
    if temporary := namespace.temporary.get(name):
        database, schema, table = "temp", "main", temporary
    elif storage.has_database(database):
        rows = duck.execute(
            f"select column_name, length from {identifier(database)}.{OWN_SCHEMA}.text_lengths "
            "where schema_name = ? and table_name = ?",
            [schema, table],
        ).fetchall()
        lengths = dict(rows)
    found = duck.execute(
        "select column_name, snowflake_type, number_precision, number_scale, is_nullable, column_default, comment "
        f"from {MACROS}._ss_column_types(?) where schema_name = ? and table_name = ? order by column_index",
        [database, schema, table],
    ).fetchall()
    if not found:
        raise compilation(2003, "42S02", f"{kind.capitalize()} '{'.'.join(name)}' does not exist or not authorized.")
    nothing: list[Any] = [None] * len(found)
    no = ["N"] * len(found)
    return Result.named(
        ["name", "type", "kind", "null?", "default", "primary key", "unique key", "check", "expression", "comment",
         "policy name", "privacy domain"],
        [
            [row[0] for row in found],
            [_type_text(row[1], row[2], row[3], lengths.get(row[0])) for row in found],
            ["COLUMN"] * len(found),
            ["Y" if row[4] else "N" for row in found],
            [row[5] for row in found],
            no, no, nothing, nothing,
            [row[6] for row in found],
            nothing, nothing,
        ],
    )  # fmt: skip


def _type_text(kind: str, precision: int | None, scale: int | None, length: int | None) -> str:
    match kind:
        case "NUMBER":
            return f"NUMBER({precision},{scale})"
        case "TEXT":
            return f"VARCHAR({length or 16_777_216})"
        case "BINARY":
            return "BINARY(8388608)"
        case "TIMESTAMP_NTZ" | "TIMESTAMP_TZ" | "TIME":
            return f"{kind}(9)"
        case _:
            return kind


def _scope(statement: exp.Show, kind: str, namespace: Namespace, storage: Storage) -> _Scope:
    if kind in _IN_ACCOUNT:
        return _Scope(None, None)
    table, scope_kind = statement.args.get("scope"), (statement.args.get("scope_kind") or "").upper()
    database, schema = namespace.database, namespace.schema
    if isinstance(table, exp.Table):
        if scope_kind == "DATABASE" or kind in _IN_DATABASE:
            database, schema = table.name, None
        elif scope_kind in ("TABLE", "VIEW") and kind == "COLUMNS":
            database, schema = table.catalog or namespace.database, table.db or namespace.schema
        else:
            database, schema = table.db or namespace.database, table.name
    elif scope_kind in ("DATABASE", "ACCOUNT") or kind in _IN_DATABASE:
        schema = None
    if database is None:
        raise SnowflakeError(90105, "22000", f"Cannot perform SHOW {kind}. This session has no current database.")
    if not storage.has_database(database) or (schema is not None and not storage.has_schema(database, schema)):
        missing = database if schema is None else f"{database}.{schema}"
        raise compilation(
            2043,
            "02000",
            f"Object does not exist, or operation cannot be performed: '{missing}' (SHOW {kind}).",
        )
    return _Scope(database, schema)


def _empty(kind: str) -> Result:
    names = _NEVER_ANY[kind].split()
    return Result.named(names, [[] for _ in names])
