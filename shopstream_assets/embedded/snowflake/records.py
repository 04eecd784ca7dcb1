"""What is known about schemas and tables beside their rows: existence, load history, lengths of texts."""

from sqlglot import exp

from shopstream_assets.embedded.snowflake.dialect import TableName
from shopstream_assets.embedded.snowflake.errors import compilation, does_not_exist
from shopstream_assets.embedded.snowflake.information import OWN_SCHEMA
from shopstream_assets.embedded.snowflake.sessions import Session
from shopstream_assets.embedded.snowflake.storage import identifier

_UNBOUNDED = 16_777_216


def schema_name(session: Session, table: exp.Table) -> tuple[str, str]:
    """Database and schema named by a CREATE, DROP or USE SCHEMA."""
    database, schema = table.catalog or session.namespace.database, table.db or table.name
    if not database:
        raise compilation(90105, "22000", "Cannot perform operation. This session does not have a current database.")
    return database, schema


def require_schema(session: Session, name: TableName) -> None:
    """Fail, naming it, when the database or the schema of an object is not there."""
    if not session.storage.has_database(name[0]):
        raise does_not_exist("Database", name[0])
    if not session.storage.has_schema(name[0], name[1]):
        raise does_not_exist("Schema", f"{name[0]}.{name[1]}")


def exists(session: Session, name: TableName) -> bool:
    """Whether there is a table or view of this name."""
    row = session.duck.execute(
        "select 1 from duckdb_columns() where database_name = ? and schema_name = ? and table_name = ? limit 1",
        [*name],
    ).fetchone()
    return row is not None


def forget_loads(session: Session, name: TableName) -> None:
    """A new, dropped or truncated table has no load history."""
    if name in session.namespace.temporary:
        return
    session.duck.execute(
        f"delete from {identifier(name[0])}.{OWN_SCHEMA}.load_history where SCHEMA_NAME = ? and TABLE_NAME = ?",
        [name[1], name[2]],
    )


def text_lengths(tree: exp.Expr) -> dict[str, int]:
    """Columns declared VARCHAR(n), which DuckDB would not remember."""
    found: dict[str, int] = {}
    items: list[exp.Expr] = list(tree.args.get("actions") or [])
    if isinstance(tree.this, exp.Schema):
        items = list(tree.this.expressions)
    elif isinstance(tree, exp.Create) and isinstance(tree.expression, exp.Query):
        query = tree.expression.unnest() if isinstance(tree.expression, exp.Subquery) else tree.expression
        items = list(query.expressions) if isinstance(query, exp.Select) else []
    for item in items:
        declared = item.this if isinstance(item, exp.Alias) else item
        kind = declared.args.get("to") or declared.args.get("kind") or declared.args.get("dtype")
        if isinstance(kind, exp.DataType) and kind.is_type(*exp.DataType.TEXT_TYPES) and kind.expressions:
            length = int(kind.expressions[0].this.name)
            if length < _UNBOUNDED:
                found[item.alias_or_name] = length
    return found


def remember_lengths(session: Session, name: TableName, lengths: dict[str, int], *, replace: bool) -> None:
    """Note declared lengths: of these columns, or (replace) of the whole table."""
    if name in session.namespace.temporary or not (lengths or replace):
        return
    table = f"{identifier(name[0])}.{OWN_SCHEMA}.text_lengths"
    columns = None if replace else list(lengths)
    session.duck.execute(
        f"delete from {table} where schema_name = ? and table_name = ? "
        "and (? is null or list_contains(?, column_name))",
        [name[1], name[2], columns, columns],
    )
    for column, length in lengths.items():
        session.duck.execute(f"insert into {table} values (?, ?, ?, ?)", [name[1], name[2], column, length])
