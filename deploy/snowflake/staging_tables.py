"""Writes 07_staging_tables.sql from the table declarations: `python deploy/snowflake/staging_tables.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shopstream_assets.domains.shopstream.tables import TABLES
from shopstream_assets.platform.declare.tables import SourceTable, snowflake_name
from shopstream_assets.platform.lake.added_columns import ADDED_COLUMNS
from shopstream_assets.platform.staging.change_log import create_staging_table, staging_relation

FILE = Path(__file__).with_name("07_staging_tables.sql")
DATABASE = "SHOPSTREAM_DWH"
TAG = f"{DATABASE}.GOVERNANCE.PII"
# The types for which 06_personal_data.sql sets a masking policy on the tag.
MASKED_TYPES = ("varchar",)

HEADER = """\
-- Follows from the declarations in shopstream_assets/domains/shopstream/tables.py; after a change there, run
--   python deploy/snowflake/staging_tables.py
-- and run this file again: every statement may be repeated.
-- The tables with personal data, made before the first load exactly as the platform would make them, and owned by its
-- role, so that no row lies there unmasked for a moment. The platform finds them and leaves them as they are.
"""


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


def create_statement(table: SourceTable) -> str:
    """The statement with which the platform makes the table."""
    session = Statements(table)
    create_staging_table(session, DATABASE, table, ())  # type: ignore[arg-type]
    statement = session.executed[0]
    head, _, columns = statement.partition(" (")
    inner = columns.removesuffix(")").replace(', "', ',\n    "')
    return f"{head} (\n    {inner}\n);\n"


def tag_statements(table: SourceTable) -> list[str]:
    """One statement for each column with personal data.

    Raises ValueError for a column whose type has no masking policy: its tag would mask nothing.
    """
    statements = []
    for column in table.columns:
        if not column.pii:
            continue
        if column.type.snowflake not in MASKED_TYPES:
            raise ValueError(
                f"{table.name}.{column.name} is personal data of type {column.type.snowflake}, which has no masking "
                "policy. Next: add one to 06_personal_data.sql, and its type to MASKED_TYPES."
            )
        statements.append(
            f"alter table {staging_relation(DATABASE, table)}\n"
            f"    modify column {snowflake_name(column.name)} set tag {TAG} = 'true';\n"
        )
    return statements


def script() -> str:
    """The whole file."""
    personal = [table for table in TABLES if any(column.pii for column in table.columns)]
    creates = [create_statement(table) for table in personal]
    tags = [statement for table in personal for statement in tag_statements(table)]
    return "\n".join([f"{HEADER}use role SHOPSTREAM_TRANSFORMER;\n", *creates, "use role ACCOUNTADMIN;\n", *tags])


if __name__ == "__main__":
    FILE.write_text(script(), encoding="utf-8")
