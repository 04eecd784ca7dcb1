"""Statements that change rows: INSERT, UPDATE, DELETE, MERGE, TRUNCATE, COPY."""

from typing import Any

from fakesnow import transforms
from sqlglot import exp

from shopstream_assets.embedded.snowflake import copying, merging, records
from shopstream_assets.embedded.snowflake.dialect import to_duckdb
from shopstream_assets.embedded.snowflake.errors import unsupported
from shopstream_assets.embedded.snowflake.queries import session_functions
from shopstream_assets.embedded.snowflake.sessions import Session
from shopstream_assets.embedded.snowflake.statements import Statement, target
from shopstream_assets.embedded.snowflake.transactions import Kind, Target
from shopstream_assets.embedded.snowflake.types import Result


def insert(session: Session, statement: Statement) -> Result:
    """INSERT, and INSERT OVERWRITE."""
    written = target(session.namespace, statement.tree.this, exclusive=bool(statement.tree.args.get("overwrite")))
    bound = statement.bound
    parts = [session_functions(part, session) for part in transforms.insert_overwrite(statement.tree)]
    with session.transactions.statement(Kind.WRITE, (written,)):
        for part in parts:
            session.duck.execute(to_duckdb(part, session.namespace), bound if part.find(exp.Placeholder) else None)
        return _counted(session, "number of rows inserted")


def insert_many(session: Session, tree: exp.Expr, rows: list[tuple[Any, ...]]) -> Result:
    """An INSERT with an array of bindings: one statement, all rows or none."""
    if not isinstance(tree, exp.Insert):
        raise unsupported("array bindings for anything but INSERT")
    written = target(session.namespace, tree.this, exclusive=False)
    with session.transactions.statement(Kind.WRITE, (written,)):
        session.duck.executemany(to_duckdb(tree, session.namespace), rows)
    return Result.named(["number of rows inserted"], [[len(rows)]])


def update(session: Session, statement: Statement) -> Result:
    """UPDATE."""
    count = _change(session, statement)
    return Result.named(["number of rows updated", "number of multi-joined rows updated"], [[count], [0]])


def delete(session: Session, statement: Statement) -> Result:
    """DELETE."""
    return Result.named(["number of rows deleted"], [[_change(session, statement)]])


def _change(session: Session, statement: Statement) -> int:
    written = target(session.namespace, statement.tree.this)
    bound = statement.bound
    sql = to_duckdb(session_functions(statement.tree, session), session.namespace)
    with session.transactions.statement(Kind.WRITE, (written,)):
        return int(session.duck.execute(sql, bound).fetchall()[0][0])


def merge(session: Session, statement: Statement) -> Result:
    """MERGE."""
    assert isinstance(statement.tree, exp.Merge)
    written = target(session.namespace, statement.tree.this)
    bound = statement.bound
    performed = merging.operations(statement.tree)
    tree = session_functions(merging.prepare(statement.tree), session)
    sql = to_duckdb(tree, session.namespace)
    with session.transactions.statement(Kind.WRITE, (written,)):
        return merging.merge(sql, performed, bound, session.duck)


def truncate(session: Session, statement: Statement) -> Result:
    """TRUNCATE, which forgets what was loaded as well."""
    table = statement.tree.expressions[0]
    name = session.namespace.resolve(table)
    written = target(session.namespace, table)
    with session.transactions.statement(Kind.WRITE, (written,)):
        if statement.tree.args.get("exists") and not records.exists(session, name):
            return Result.status()
        statement.tree.set("exists", None)
        session.duck.execute(to_duckdb(statement.tree, session.namespace))
        records.forget_loads(session, name)
    return Result.status()


def copy_into(session: Session, statement: Statement) -> Result:
    """COPY INTO."""
    assert isinstance(statement.tree, exp.Copy)
    copy = copying.understand(statement.tree, session.namespace)
    if copy.table in session.namespace.temporary:
        raise unsupported("COPY INTO a temporary table")
    # exclusive, so that two sessions cannot both find a file not loaded yet
    written = Target(".".join(copy.table), exclusive=True)
    with session.transactions.statement(Kind.WRITE, (written,)):
        return copying.copy_into(copy, session.duck, session.namespace, session.storage, session.objects)


def _counted(session: Session, name: str) -> Result:
    return Result.named([name], [[int(session.duck.fetchall()[0][0])]])
