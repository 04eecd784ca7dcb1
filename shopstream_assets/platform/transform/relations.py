"""What a domain's database holds: which tables, with which columns and comments. One question to the warehouse."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shopstream_assets.platform.declare.tables import SourceTable, snowflake_name, upper
from shopstream_assets.platform.staging.change_log import declared_columns

if TYPE_CHECKING:
    from snowflake.connector.cursor import SnowflakeCursor


@dataclass
class Relation:
    """A table or view as it is: its comment, and those of its columns by name in capitals."""

    comment: str = ""
    columns: dict[str, str] = field(default_factory=dict)

    def has(self, columns: Collection[str]) -> bool:
        """Whether it has the columns, named as in the declaration of a table or a model."""
        return {upper(name) for name in columns} <= self.columns.keys()

    def has_comments_of(self, node: Mapping[str, Any]) -> bool:
        """Whether it is documented as dbt would document the model."""
        told = {upper(name): column["description"] for name, column in node["columns"].items()}
        return self.comment == _written(node["description"]) and all(
            self.columns.get(name) == _written(text) for name, text in told.items()
        )


class Relations(dict[str, Relation]):
    """Relations by schema and name, as CORE.FACT_ORDERS; one that is not there has no columns."""

    def __missing__(self, name: str) -> Relation:
        return Relation()

    def of_model(self, node: Mapping[str, Any]) -> Relation:
        """That of a dbt model."""
        return self[f"{node['schema']}.{node['alias']}".upper()]

    def staged(self, table: SourceTable) -> bool:
        """Whether a source table has its staging table, as declared."""
        return self[f"STAGING.{upper(table.staging_table)}"].has(declared_columns(table))


def relations(cursor: SnowflakeCursor, database: str) -> Relations:
    """The relations of the schemas STAGING, CORE and MARTS."""
    found = Relations()
    cursor.execute(
        f"""
        select t.table_schema || '.' || t.table_name, t.comment, c.column_name, c.comment
        from {snowflake_name(database)}.information_schema.tables as t
        join {snowflake_name(database)}.information_schema.columns as c
            on t.table_schema = c.table_schema and t.table_name = c.table_name
        where t.table_schema in ('STAGING', 'CORE', 'MARTS') and c.table_schema in ('STAGING', 'CORE', 'MARTS')
        """
    )
    for name, comment, column, text in cursor.fetchall():
        found.setdefault(name, Relation(comment or "")).columns[upper(column)] = text or ""
    return found


def _written(description: str) -> str:
    """A description as dbt-snowflake writes it between two pairs of dollar signs."""
    return description.replace("$", "[$]")
