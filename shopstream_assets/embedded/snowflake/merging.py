"""MERGE on DuckDB's own MERGE INTO.

fakesnow 0.12.1 splits a MERGE into a temporary table and up to three statements (not atomic, and it fails on dbt's
form, where INSERT's values carry no qualifier). DuckDB's is atomic and refuses a target row matched twice.
"""

import duckdb
import pyarrow.compute as pc
from sqlglot import exp

from shopstream_assets.embedded.snowflake.types import Result, fetch

# Snowflake reports the operations that the statement can perform, in this order.
_OPERATIONS = {"INSERT": "inserted", "UPDATE": "updated", "DELETE": "deleted"}


def prepare(statement: exp.Merge) -> exp.Merge:
    """Say what Snowflake infers: INSERT's values come from the source, SET's columns are the target's."""
    source = statement.args["using"].alias_or_name
    for when in statement.args["whens"].expressions:
        then = when.args["then"]
        if isinstance(then, exp.Insert):
            for column in then.expression.find_all(exp.Column) if then.expression else ():
                if not column.table:
                    column.set("table", exp.to_identifier(source, quoted=True))
            if isinstance(then.this, exp.Tuple):
                for column in then.this.find_all(exp.Column):
                    column.set("table", None)
        elif isinstance(then, exp.Update):
            for assignment in then.expressions:
                assignment.set("this", exp.column(assignment.this.this.copy()))
    return statement


def operations(statement: exp.Merge) -> list[str]:
    """INSERT, UPDATE, DELETE: those that occur."""
    found = {_operation(when.args["then"]) for when in statement.args["whens"].expressions}
    return [operation for operation in _OPERATIONS if operation in found]


def merge(sql: str, performed: list[str], parameters: list[object] | None, duck: duckdb.DuckDBPyConnection) -> Result:
    """Run the MERGE; one row with a count per operation."""
    duck.execute(f"{sql} returning merge_action", parameters)
    actions = fetch(duck).column(0)
    counts = {item["values"].as_py(): item["counts"].as_py() for item in pc.value_counts(actions)}
    return Result.named(
        [f"number of rows {_OPERATIONS[operation]}" for operation in performed],
        [[counts.get(operation, 0)] for operation in performed],
    )


def _operation(then: exp.Expr) -> str:
    if isinstance(then, exp.Insert):
        return "INSERT"
    return "UPDATE" if isinstance(then, exp.Update) else "DELETE"
