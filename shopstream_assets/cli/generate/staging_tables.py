"""The staging tables with personal data, as an administrator makes them and tags their columns."""

from __future__ import annotations

from typing import Any

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.tables import SourceTable, snowflake_name
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake.added_columns import ADDED_COLUMNS
from shopstream_assets.platform.staging.change_log import create_staging_table, staging_relation

# The types for which 06_personal_data.sql sets a masking policy on the tag.
MASKED_TYPES = ("varchar",)


class Statements:
    """A session that takes down what it is told; its only table has the columns that were declared."""

    def __init__(self, table: SourceTable) -> None:
        names = [column.name for column in table.columns] + list(ADDED_COLUMNS)
        self.description = [type("Column", (), {"name": name.upper()}) for name in names]
        self.executed: list[str] = []

    def cursor(self) -> Statements:
        """Itself."""
        return self

    def execute(self, sql: str, parameters: Any = None) -> None:
        """Take the statement down."""
        self.executed.append(sql)

    def __enter__(self) -> Statements:
        return self

    def __exit__(self, *error: object) -> None:
        return None


def create_statements(domain: Domain) -> list[str]:
    """For each table with personal data, the statement with which the platform makes it."""
    return [_create(domain.database, table) for table in _personal(domain)]


def tag_statements(domain: Domain) -> list[str]:
    """One statement for each column with personal data.

    Raises Problem for a column whose type has no masking policy: its tag would mask nothing.
    """
    tag = f"{domain.database}.GOVERNANCE.PII"
    statements = []
    for table in _personal(domain):
        for column in table.columns:
            if not column.pii:
                continue
            if column.type.snowflake not in MASKED_TYPES:
                raise Problem(
                    f"generating the staging tables of {domain.name}: {table.name}.{column.name} is personal data of "
                    f"type {column.type.snowflake}, which has no masking policy.",
                    "add one to deploy/templates/snowflake/06_personal_data.sql, and its type to MASKED_TYPES in "
                    "cli/generate/staging_tables.py.",
                )
            statements.append(
                f"alter table {staging_relation(domain.database, table)}\n"
                f"    modify column {snowflake_name(column.name)} set tag {tag} = 'true';\n"
            )
    return statements


def _personal(domain: Domain) -> list[SourceTable]:
    return [table for table in domain.tables if any(column.pii for column in table.columns)]


def _create(database: str, table: SourceTable) -> str:
    session = Statements(table)
    create_staging_table(session, database, table, ())  # type: ignore[arg-type]
    statement = session.executed[0]
    head, _, columns = statement.partition(" (")
    inner = columns.removesuffix(")").replace(', "', ',\n    "')
    return f"{head} (\n    {inner}\n);\n"
