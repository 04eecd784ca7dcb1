"""Which columns each column of a dbt model comes from, read from the model's SQL when the manifest is built.

Runs and pages then pay nothing for it. A model whose SQL cannot be understood has no entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.transform.dbt_invocation import invoke_dbt

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

DIALECT = "snowflake"

# A model's or source's unique id in the manifest, and the name of a column of it.
Origin = tuple[str, str]
# Model -> column -> the columns whose values it is made of. Those that only choose rows (where, join) do not count.
Lineage = Mapping[str, Mapping[str, Sequence[Origin]]]


def column_lineage(manifest: Manifest, directories: Sequence[str]) -> Lineage:
    """The lineage of every model of a parsed project, without a connection.

    `directories` are dbt's arguments for the project, its profile and where compiled files go. Raises Problem where dbt
    refuses to compile.
    """
    from sqlglot.errors import SqlglotError

    found = {}
    columns = {
        node.relation_name: (node.unique_id, {name: column.data_type for name, column in node.columns.items()})
        for node in (*manifest.nodes.values(), *manifest.sources.values())
        if node.resource_type in ("model", "source") and node.relation_name
    }
    for unique_id, sql in _compiled(manifest, directories):
        try:
            found[unique_id] = traced(sql, columns)
        except SqlglotError:
            continue
    return found


def _compiled(manifest: Manifest, directories: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(model, SQL) as a first run would execute it, on an empty warehouse."""
    arguments = ["--quiet", "--no-use-colors", "compile", "--no-populate-cache", "--select", "resource_type:model"]
    with _empty_warehouse():
        compiled = invoke_dbt([*arguments, "--indirect-selection", "empty", *directories], manifest)
    if compiled.exception:
        raise Problem(f"dbt cannot compile the models: {compiled.exception}.", "correct the model that it names.")
    for result in getattr(compiled.result, "results", ()):
        if result.node.compiled_code:
            yield result.node.unique_id, result.node.compiled_code


@contextmanager
def _empty_warehouse() -> Iterator[None]:
    """Let dbt's question whether a model's table exists be answered with no, without asking the warehouse."""
    from dbt.adapters.base import BaseAdapter

    asks = BaseAdapter.get_relation
    BaseAdapter.get_relation = lambda *_: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        BaseAdapter.get_relation = asks  # type: ignore[method-assign]


def traced(sql: str, relations: Mapping[str, tuple[str, Mapping[str, str | None]]]) -> dict[str, list[Origin]]:
    """The origins of each column of a query, sorted.

    `relations`: the relations it may read, by name, each with its id and columns with their types. Raises sqlglot's
    errors where the SQL cannot be parsed.
    """
    from sqlglot import MappingSchema, exp, parse_one
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    schema = MappingSchema(dialect=DIALECT)
    ids = {}
    for relation, (unique_id, columns) in relations.items():
        table = exp.to_table(relation, dialect=DIALECT)
        schema.add_table(table, {name: kind or "varchar" for name, kind in columns.items()}, dialect=DIALECT)
        ids[_name(table)] = unique_id
    # Columns that sqlglot does not know, as COLUMN1 of a VALUES clause, come from nowhere.
    query: Any = qualify(
        parse_one(sql, dialect=DIALECT), schema=schema, dialect=DIALECT, validate_qualify_columns=False
    )
    scope = build_scope(query)
    found: dict[str, list[Origin]] = {}
    for column in query.named_selects:
        origins = set()
        for node in lineage(column, query, schema=schema, dialect=DIALECT, scope=scope, copy=False).walk():
            table = node.expression.find(exp.Table)
            if not node.downstream and table is not None and _name(table) in ids:
                origins.add((ids[_name(table)], exp.to_column(node.name).name.lower()))
        found[column.lower()] = sorted(origins)
    return found


def _name(table: Any) -> str:
    """The relation's full name, in capitals as Snowflake has it."""
    return ".".join(part.name.upper() for part in table.parts)
