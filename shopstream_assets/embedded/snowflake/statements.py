"""A statement on its way to an answer."""

from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from shopstream_assets.embedded.snowflake.dialect import Namespace
from shopstream_assets.embedded.snowflake.errors import unsupported
from shopstream_assets.embedded.snowflake.transactions import Target
from shopstream_assets.embedded.snowflake.types import Result


@dataclass(frozen=True)
class Statement:
    """One statement of a client: its text, its tree (consumed when run) and its bound values."""

    sql: str
    tree: exp.Expr
    parameters: list[Any]
    describe_only: bool = False

    @property
    def bound(self) -> list[Any] | None:
        """The bound values, if the tree has a place for them: DuckDB refuses any that are too many."""
        return self.parameters if self.tree.find(exp.Placeholder) else None


@dataclass(frozen=True)
class Answer:
    """A statement's result, and the protocol's number for its kind."""

    result: Result
    type_id: int


def target(namespace: Namespace, table: exp.Expr, *, exclusive: bool = True) -> Target:
    """What to lock to write to a table."""
    if isinstance(table, exp.Schema):
        table = table.this
    if not isinstance(table, exp.Table):
        raise unsupported(f"writing to {table.sql(dialect='snowflake')}")
    return Target(".".join(namespace.resolve(table)).upper(), exclusive)
