"""Which part of the local Snowflake answers which statement."""

import re
from collections.abc import Callable
from typing import Any

from fakesnow.statement_type import SELECT, UNKNOWN, statement_type_id
from sqlglot import exp

from shopstream_assets.embedded.snowflake import (
    accounts,
    changes,
    comments,
    containers,
    control,
    queries,
    records,
    showing,
    tables,
)
from shopstream_assets.embedded.snowflake.dialect import parse
from shopstream_assets.embedded.snowflake.errors import compilation, does_not_exist, unsupported
from shopstream_assets.embedded.snowflake.sessions import Session
from shopstream_assets.embedded.snowflake.statements import Answer, Statement
from shopstream_assets.embedded.snowflake.types import Result

Handler = Callable[[Session, Statement], Result]

_COMMENT = re.compile(r"\s*(?:--[^\n]*(?:\n|$)|//[^\n]*(?:\n|$)|/\*.*?\*/)", re.DOTALL)


def run(session: Session, sql: str, parameters: list[Any], *, describe_only: bool = False, count: int = 1) -> Answer:
    """Run one statement in a session.

    Raises:
        SnowflakeError, sqlglot's and DuckDB's errors, and those that fakesnow's rewrites raise.
    """
    text = _without_leading_comments(sql)
    if accounts.has_no_effect(text):
        return Answer(Result.status(), UNKNOWN)
    if re.match(r"start\s+transaction\b", text, re.IGNORECASE):
        text = "begin"
    statement = Statement(text, parse(text, count), parameters, describe_only)
    if control.is_control(statement.tree) and not describe_only:
        return Answer(control.control(session, statement), SELECT)
    if isinstance(statement.tree, exp.Query):
        return Answer(queries.query(session, statement), SELECT)
    handler, type_id = _HANDLERS.get(type(statement.tree)), statement_type_id(statement.tree)
    if handler is None:
        raise unsupported(text[:200])
    if describe_only:
        return Answer(Result.status(), type_id)
    return Answer(handler(session, statement), type_id)


def run_many(session: Session, sql: str, rows: list[tuple[Any, ...]]) -> Answer:
    """Run one INSERT for each row of bound values; all or none."""
    tree = parse(_without_leading_comments(sql))
    type_id = statement_type_id(tree)
    return Answer(changes.insert_many(session, tree, rows), type_id)


def _without_leading_comments(sql: str) -> str:
    text = sql
    while match := _COMMENT.match(text):
        text = text[match.end() :]
    return text.strip()


def _by_kind(verb: str, handlers: dict[str, Handler]) -> Handler:
    def handle(session: Session, statement: Statement) -> Result:
        kind = str(statement.tree.args.get("kind")).upper()
        if kind not in handlers:
            raise unsupported(f"{verb} {kind}")
        return handlers[kind](session, statement)

    return handle


def _begin(session: Session, statement: Statement) -> Result:
    session.transactions.begin()
    return Result.status()


def _commit(session: Session, statement: Statement) -> Result:
    session.transactions.commit()
    return Result.status()


def _rollback(session: Session, statement: Statement) -> Result:
    session.transactions.rollback()
    return Result.status()


def _use(session: Session, statement: Statement) -> Result:
    kind = statement.tree.args.get("kind")
    word = kind.name.upper() if isinstance(kind, exp.Var) else str(kind or "").upper()
    table = statement.tree.this
    if word == "SCHEMA" or (not word and table.db):
        database, schema = table.db or session.namespace.database, table.name
        if not database:
            raise compilation(90105, "22000", "Cannot perform USE SCHEMA. This session has no current database.")
        records.require_schema(session, (database, schema, ""))
        session.namespace.database, session.namespace.schema = database, schema
    else:
        if not session.storage.has_database(table.name):
            raise does_not_exist("Database", table.name)
        session.namespace.database, session.namespace.schema = table.name, "PUBLIC"
    return Result.status()


def _alter(session: Session, statement: Statement) -> Result:
    if str(statement.tree.args.get("kind")) == "SESSION":
        return _alter_session(session, statement.tree.args["actions"][0])
    if commented := comments.of_alter(statement.sql):
        return tables.comment(session, *commented)
    return tables.alter(session, statement)


def _alter_session(session: Session, setting: exp.Expr) -> Result:
    for item in setting.expressions:
        if setting.args.get("unset"):
            session.unset_parameter(item.this.name.upper())
        else:
            value = item.this.expression
            text = str(value.this).lower() if isinstance(value, exp.Boolean) else value.name
            session.set_parameter(item.this.this.name.upper(), text)
    return Result.status()


def _command(session: Session, statement: Statement) -> Result:
    """What sqlglot leaves unparsed."""
    word = str(statement.tree.this).upper()
    if word == "SHOW":
        rest = re.sub(r"(?i)^show\s+(terse\s+)?", "", statement.sql)
        return showing.show_command(rest, session.parameters)
    if word == "ALTER" and (commented := comments.of_alter(statement.sql)):
        return tables.comment(session, *commented)
    raise unsupported(statement.sql[:200])


_HANDLERS: dict[type[exp.Expr], Handler] = {
    exp.Alter: _alter,
    exp.Command: _command,
    exp.Comment: tables.comment_on,
    exp.Commit: _commit,
    exp.Copy: changes.copy_into,
    exp.Create: _by_kind(
        "CREATE",
        {
            "DATABASE": containers.create_database,
            "FILE FORMAT": containers.create_file_format,
            "SCHEMA": containers.create_schema,
            "STAGE": containers.create_stage,
            "TABLE": tables.create_table,
            "VIEW": tables.create_view,
        },
    ),
    exp.Delete: changes.delete,
    exp.Describe: queries.describe,
    exp.Drop: _by_kind(
        "DROP",
        {
            "DATABASE": containers.drop_database,
            "FILE FORMAT": containers.drop_file_format,
            "SCHEMA": containers.drop_schema,
            "STAGE": containers.drop_stage,
            "TABLE": tables.drop,
            "VIEW": tables.drop,
        },
    ),
    exp.Insert: changes.insert,
    exp.ListStage: queries.list_stage,
    exp.Merge: changes.merge,
    exp.Rollback: _rollback,
    exp.Show: queries.show,
    exp.Transaction: _begin,
    exp.TruncateTable: changes.truncate,
    exp.Update: changes.update,
    exp.Use: _use,
}
