"""System functions that stop what other sessions run: SYSTEM$CANCEL_QUERY and the like.

dbt cancels with SYSTEM$CANCEL_ALL_QUERIES, asked in a session of its own. Users are not told apart here, so whoever is
logged in may cancel everything; on Snowflake that takes the same user, or OPERATE on the warehouse.
"""

from sqlglot import exp

from shopstream_assets.embedded.snowflake.errors import SnowflakeError
from shopstream_assets.embedded.snowflake.sessions import Session
from shopstream_assets.embedded.snowflake.statements import Statement
from shopstream_assets.embedded.snowflake.types import Result

_PREFIX = "SYSTEM$"


def is_control(tree: exp.Expr) -> bool:
    """Whether a query is a call of one of these functions and nothing else."""
    return _call(tree) is not None


def control(session: Session, statement: Statement) -> Result:
    """Stop what is asked for; answers when it has ended."""
    call = _call(statement.tree)
    assert call is not None
    name, value = call.name.upper().removeprefix(_PREFIX), _argument(call, statement)
    if name == "CANCEL_QUERY":
        found = [other.cancel(lambda running: running.query == value) for other in session.account.sessions.all()]
        said = f"query [{value}] terminated." if any(found) else f"{value} is not running."
        return Result.named([call.name.upper()], [[said]])
    other = session.account.sessions.numbered(value)
    if other is None:
        raise SnowflakeError(2, "02000", f"Session {value} does not exist.")
    if other is session:
        # It would wait for its own end.
        raise SnowflakeError(2, "0A000", "Unsupported feature in the local Snowflake: a session that stops itself")
    if name == "ABORT_SESSION":
        session.account.sessions.remove(other.token)
        return Result.named([call.name.upper()], [["session aborted"]])
    cancelled = other.cancel()
    return Result.named([call.name.upper()], [["all queries cancelled." if cancelled else "no queries to cancel."]])


def _call(tree: exp.Expr) -> exp.Anonymous | None:
    if not isinstance(tree, exp.Select) or len(tree.expressions) != 1 or tree.args.get("from_"):
        return None
    call = tree.expressions[0].unalias()
    names = {f"{_PREFIX}{name}" for name in ("CANCEL_QUERY", "CANCEL_ALL_QUERIES", "ABORT_SESSION")}
    return call if isinstance(call, exp.Anonymous) and call.name.upper() in names else None


def _argument(call: exp.Anonymous, statement: Statement) -> str:
    (argument,) = call.expressions
    return str(statement.parameters[0]) if isinstance(argument, exp.Placeholder) else str(argument.this)
