"""INFORMATION_SCHEMA.QUERY_HISTORY and its kin, as far as they tell what runs now. What has ended is not kept."""

import re

from sqlglot import exp

from shopstream_assets.embedded.snowflake.sessions import Session

_FUNCTIONS = {"QUERY_HISTORY", "QUERY_HISTORY_BY_SESSION", "QUERY_HISTORY_BY_USER"}
_COMMENTS = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_COLUMNS = {
    "QUERY_ID": "varchar",
    "QUERY_TEXT": "varchar",
    "DATABASE_NAME": "varchar",
    "SCHEMA_NAME": "varchar",
    "QUERY_TYPE": "varchar",
    "SESSION_ID": "bigint",
    "USER_NAME": "varchar",
    "QUERY_TAG": "varchar",
    "EXECUTION_STATUS": "varchar",
    "START_TIME": "timestamptz",
    "END_TIME": "timestamptz",
}


def with_history(tree: exp.Expr, session: Session) -> exp.Expr:
    """The query with calls of these functions replaced by what runs now, this query included as on Snowflake."""
    for found in list(tree.find_all(exp.TableFromRows)):
        call = found.this
        while isinstance(call, exp.Dot):
            call = call.expression
        if isinstance(call, exp.Anonymous) and call.name.upper() in _FUNCTIONS:
            found.replace(_running(session).subquery(found.alias or "query_history"))
    return tree


def _type(sql: str) -> str:
    """Snowflake's kind of a statement, by its first word."""
    word = _COMMENTS.sub(" ", sql).split(maxsplit=1)[0].upper()
    return "SELECT" if word == "WITH" else word


def _running(session: Session) -> exp.Select:
    rows = []
    for other in session.account.sessions.all():
        if running := other.running:
            place = other.namespace
            values = (
                *(running.query, running.sql, place.database, place.schema, _type(running.sql), other.number),
                *(other.user, other.parameters["QUERY_TAG"], "RUNNING", running.started.isoformat(), None),
            )
            rows.append(exp.Tuple(expressions=[exp.convert(value) for value in values]))
    names = [exp.to_identifier(name, quoted=True) for name in _COLUMNS]
    columns = [
        exp.cast(exp.column(name.copy()), kind, dialect="duckdb").as_(name.copy())
        for name, kind in zip(names, _COLUMNS.values(), strict=True)
    ]
    alias = exp.TableAlias(this=exp.to_identifier("running"), columns=names)
    return exp.select(*columns).from_(exp.Values(expressions=rows, alias=alias))
