"""Statements that read: SELECT, SHOW, DESCRIBE, LIST."""

from sqlglot import exp

from shopstream_assets.embedded.snowflake import showing
from shopstream_assets.embedded.snowflake.dialect import to_duckdb
from shopstream_assets.embedded.snowflake.errors import unsupported
from shopstream_assets.embedded.snowflake.history import with_history
from shopstream_assets.embedded.snowflake.rewrites import named_projections
from shopstream_assets.embedded.snowflake.sessions import Session
from shopstream_assets.embedded.snowflake.stages import Stages
from shopstream_assets.embedded.snowflake.statements import Statement
from shopstream_assets.embedded.snowflake.transactions import Kind
from shopstream_assets.embedded.snowflake.types import Result


def query(session: Session, statement: Statement) -> Result:
    """SELECT and other queries."""
    with_history(statement.tree, session)
    named_projections(statement.tree)
    sql = to_duckdb(session_functions(statement.tree, session), session.namespace)
    if statement.describe_only:
        sql = f"select * from ({sql}) limit 0"
    with session.transactions.statement(Kind.READ):
        session.duck.execute(sql, statement.bound)
        return Result.read(session.duck)


def show(session: Session, statement: Statement) -> Result:
    """SHOW."""
    assert isinstance(statement.tree, exp.Show)
    with session.transactions.statement(Kind.READ):
        return showing.show(statement.tree, session.namespace, session.storage, session.duck)


def describe(session: Session, statement: Statement) -> Result:
    """DESCRIBE TABLE and DESCRIBE VIEW."""
    kind, table = str(statement.tree.args.get("kind") or "").upper(), statement.tree.this
    if kind not in ("TABLE", "VIEW") or not isinstance(table, exp.Table):
        raise unsupported(statement.sql[:200])
    with session.transactions.statement(Kind.READ):
        name = session.namespace.resolve(table)
        return showing.describe(name, session.namespace, session.storage, session.duck, kind)


def list_stage(session: Session, statement: Statement) -> Result:
    """LIST @stage."""
    with session.transactions.statement(Kind.READ):
        url = Stages(session.duck).locate(statement.tree.this.name, session.namespace)
    files = session.objects.under(url)
    return Result.of(
        name=[file.url for file in files],
        size=[file.size for file in files],
        md5=[None] * len(files),
        last_modified=[file.modified.strftime("%a, %d %b %Y %H:%M:%S GMT") for file in files],
    )


def session_functions(tree: exp.Expr, session: Session) -> exp.Expr:
    """What only the session knows. DuckDB would answer with names of its own."""
    known: dict[str, str | None] = {
        "CURRENT_DATABASE": session.namespace.database,
        "CURRENT_SCHEMA": session.namespace.schema,
        "CURRENT_USER": session.user,
        "CURRENT_ROLE": "SYSADMIN",
        "CURRENT_WAREHOUSE": "LOCAL",
        "CURRENT_ACCOUNT": "LOCAL",
        "CURRENT_REGION": "LOCAL",
        "CURRENT_SESSION": session.number,
    }
    kinds: dict[type[exp.Expr], str] = {
        exp.CurrentDatabase: "CURRENT_DATABASE",
        exp.CurrentSchema: "CURRENT_SCHEMA",
        exp.CurrentUser: "CURRENT_USER",
        exp.CurrentRole: "CURRENT_ROLE",
        exp.CurrentWarehouse: "CURRENT_WAREHOUSE",
        exp.CurrentAccount: "CURRENT_ACCOUNT",
        exp.CurrentRegion: "CURRENT_REGION",
        exp.CurrentSession: "CURRENT_SESSION",
    }

    def answer(node: exp.Expr) -> exp.Expr:
        name = kinds.get(type(node)) or (node.name.upper() if isinstance(node, exp.Anonymous) else "")
        if name not in known:
            return node
        value = known[name]
        return exp.Null() if value is None else exp.Literal.string(value)

    if any(isinstance(node, (*kinds, exp.Anonymous)) for node in tree.walk()):
        return tree.transform(answer, copy=False)
    return tree
