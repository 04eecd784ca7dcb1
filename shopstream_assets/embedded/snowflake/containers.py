"""Databases, schemas, stages and file formats: created and dropped."""

import datetime as dt
import json

from sqlglot import exp

from shopstream_assets.embedded.snowflake import records
from shopstream_assets.embedded.snowflake.errors import already_exists, does_not_exist, unsupported
from shopstream_assets.embedded.snowflake.information import OWN_SCHEMA
from shopstream_assets.embedded.snowflake.sessions import Session
from shopstream_assets.embedded.snowflake.stages import Stages
from shopstream_assets.embedded.snowflake.statements import Statement
from shopstream_assets.embedded.snowflake.storage import identifier
from shopstream_assets.embedded.snowflake.transactions import Kind, Target
from shopstream_assets.embedded.snowflake.types import Result

_NAMED = "database_name = ? and schema_name = ? and name = ?"


def create_database(session: Session, statement: Statement) -> Result:
    """CREATE DATABASE, which becomes the session's."""
    name = statement.tree.this.name
    session.transactions.commit_open()
    created = session.storage.create_database(
        name,
        if_not_exists=bool(statement.tree.args.get("exists")),
        replace=bool(statement.tree.args.get("replace")),
    )
    if not created:
        return Result.status(f"{name} already exists, statement succeeded.")
    session.namespace.database, session.namespace.schema = name, "PUBLIC"
    return Result.status(f"Database {name} successfully created.")


def create_schema(session: Session, statement: Statement) -> Result:
    """CREATE SCHEMA, which becomes the session's."""
    database, schema = records.schema_name(session, statement.tree.this)
    if not session.storage.has_database(database):
        raise does_not_exist("Database", database)
    session.transactions.commit_open()
    if session.storage.has_schema(database, schema):
        if statement.tree.args.get("exists"):
            return Result.status(f"{schema} already exists, statement succeeded.")
        if not statement.tree.args.get("replace"):
            raise already_exists(f"{database}.{schema}")
        _drop_with_contents(session, database, schema)
    written = Target(f"{database}.{schema}".upper(), exclusive=True)
    with session.transactions.statement(Kind.DEFINE, (written,)):
        session.duck.execute(f"create schema if not exists {identifier(database)}.{identifier(schema)}")
    session.namespace.database, session.namespace.schema = database, schema
    return Result.status(f"Schema {schema} successfully created.")


def create_stage(session: Session, statement: Statement) -> Result:
    """CREATE STAGE with an s3:// URL."""
    name = session.namespace.resolve(statement.tree.this)
    options = _options(statement.tree)
    url = options.pop("URL", "")
    if not url.startswith("s3://"):
        raise unsupported("internal stages; give the stage an s3:// URL")
    with session.transactions.statement(Kind.DEFINE):
        records.require_schema(session, name)
        created = Stages(session.duck).create(
            name,
            url,
            options.get("STORAGE_INTEGRATION", ""),
            options.get("COMMENT", ""),
            exists=bool(statement.tree.args.get("exists")),
            replace=bool(statement.tree.args.get("replace")),
        )
    if not created:
        return Result.status(f"{name[2]} already exists, statement succeeded.")
    return Result.status(f"Stage area {name[2]} successfully created.")


def create_file_format(session: Session, statement: Statement) -> Result:
    """CREATE FILE FORMAT of type PARQUET."""
    name = session.namespace.resolve(statement.tree.this)
    options = _options(statement.tree)
    if options.get("TYPE", "CSV").upper() != "PARQUET":
        raise unsupported("file formats other than PARQUET")
    with session.transactions.statement(Kind.DEFINE):
        records.require_schema(session, name)
        known = session.duck.execute(f"select 1 from _account.main.file_formats where {_NAMED}", [*name]).fetchone()
        if known and not statement.tree.args.get("replace"):
            if statement.tree.args.get("exists"):
                return Result.status(f"{name[2]} already exists, statement succeeded.")
            raise already_exists(".".join(name))
        session.duck.execute(f"delete from _account.main.file_formats where {_NAMED}", [*name])
        session.duck.execute(
            "insert into _account.main.file_formats values (?, ?, ?, ?, ?, ?)",
            [*name, json.dumps(options), options.get("COMMENT", ""), dt.datetime.now(dt.UTC)],
        )
    return Result.status(f"File format {name[2]} successfully created.")


def drop_database(session: Session, statement: Statement) -> Result:
    """DROP DATABASE."""
    name, exists = statement.tree.args["tables"][0].name, bool(statement.tree.args.get("exists"))
    session.transactions.commit_open()
    if not session.storage.drop_database(name, if_exists=exists):
        return Result.status("Drop statement executed successfully (already dropped).")
    if session.namespace.database == name:
        session.namespace.database = session.namespace.schema = None
    return Result.status(f"{name} successfully dropped.")


def drop_schema(session: Session, statement: Statement) -> Result:
    """DROP SCHEMA with everything in it."""
    database, schema = records.schema_name(session, statement.tree.args["tables"][0])
    exists = bool(statement.tree.args.get("exists"))
    if not (session.storage.has_database(database) and session.storage.has_schema(database, schema)):
        if exists:
            return Result.status("Drop statement executed successfully (already dropped).")
        raise does_not_exist("Schema", f"{database}.{schema}")
    _drop_with_contents(session, database, schema)
    if (session.namespace.database, session.namespace.schema) == (database, schema):
        session.namespace.schema = None
    return Result.status(f"{schema} successfully dropped.")


def _drop_with_contents(session: Session, database: str, schema: str) -> None:
    own = f"{identifier(database)}.{OWN_SCHEMA}"
    written = Target(f"{database}.{schema}".upper(), exclusive=True)
    with session.transactions.statement(Kind.DEFINE, (written,)):
        session.duck.execute(f"drop schema {identifier(database)}.{identifier(schema)} cascade")
        session.duck.execute(f"delete from {own}.load_history where SCHEMA_NAME = ?", [schema])
        session.duck.execute(f"delete from {own}.text_lengths where schema_name = ?", [schema])
    with session.transactions.statement(Kind.DEFINE):  # in another file, so in a transaction of its own
        for kind in ("stages", "file_formats"):
            session.duck.execute(
                f"delete from _account.main.{kind} where database_name = ? and schema_name = ?",
                [database, schema],
            )


def drop_stage(session: Session, statement: Statement) -> Result:
    """DROP STAGE."""
    name = session.namespace.resolve(statement.tree.args["tables"][0])
    with session.transactions.statement(Kind.DEFINE):
        Stages(session.duck).drop(name, exists=bool(statement.tree.args.get("exists")))
    return Result.status(f"{name[2]} successfully dropped.")


def drop_file_format(session: Session, statement: Statement) -> Result:
    """DROP FILE FORMAT."""
    name = session.namespace.resolve(statement.tree.args["tables"][0])
    with session.transactions.statement(Kind.DEFINE):
        session.duck.execute(f"delete from _account.main.file_formats where {_NAMED}", [*name])
    return Result.status(f"{name[2]} successfully dropped.")


def _options(tree: exp.Expr) -> dict[str, str]:
    """The properties of a CREATE as text."""
    found: dict[str, str] = {}
    properties = tree.args.get("properties")
    for item in properties.expressions if properties else ():
        if isinstance(item, exp.SchemaCommentProperty):
            found["COMMENT"] = item.this.name
        elif isinstance(item, exp.Property) and isinstance(item.this, exp.Var):
            value = item.args.get("value")
            found[item.this.name.upper()] = value.name if value is not None else ""
    return found
