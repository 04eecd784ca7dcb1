"""The dbt sources that the table declarations call for: `python tests/dbt/source_declarations.py` writes the file."""

from __future__ import annotations

import textwrap
from pathlib import Path

from shopstream_assets.domains.shopstream.tables import TABLES
from shopstream_assets.platform.declare.tables import Column, SourceTable
from shopstream_assets.platform.lake.added_columns import ADDED_COLUMNS, ADDED_DESCRIPTIONS

SOURCES_FILE = Path(__file__).parents[2] / "dbt_project" / "shopstream" / "models" / "sources.yml"

HEADER = """\
# Follows from the declarations in shopstream_assets/domains/shopstream/tables.py; after a change there, run
#   python tests/dbt/source_declarations.py
sources:
  - name: shopstream
    description: >-
      Staging tables: logs of what snapshots of the source saw, one partition per day of change. A key may appear in
      several partitions and more than once; see shared/macros/staging_log.sql for how its state is found.
    database: "{{ env_var('SNOWFLAKE_DATABASE', 'SHOPSTREAM_DWH') }}"
    schema: STAGING
    tables:
"""


def _described(text: str, indent: int) -> str:
    pad = " " * indent
    if ": " not in text and len(pad) + len("description: ") + len(text) <= 120:
        return f"{pad}description: {text}\n"
    folded = textwrap.wrap(text, 120 - indent - 2)
    return f"{pad}description: >-\n" + "".join(f"{pad}  {line}\n" for line in folded)


def _column(table: SourceTable, column: Column) -> str:
    yaml = f"          - name: {column.name}\n            data_type: {column.type.snowflake}\n"
    yaml += _described(column.description, 12)
    if column.pii:
        yaml += "            config:\n              meta:\n                pii: true\n"
    if column.values:
        yaml += (
            "            data_tests:\n"
            "              - accepted_values:\n"
            f"                  name: {table.staging_table.lower()}_{column.name}_is_declared\n"
            "                  arguments:\n"
            f"                    values: [{', '.join(column.values)}]\n"
        )
    return yaml


def source_yaml(table: SourceTable) -> str:
    """The entry of one table under `tables:`."""
    yaml = f"      - name: {table.staging_table}\n" + _described(f"{table.grain} {table.description}", 8)
    yaml += (
        "        config:\n          meta:\n            dagster:\n"
        f"              asset_key: [shopstream, staging, {table.name}]\n"
        "        columns:\n"
    )
    yaml += "".join(_column(table, column) for column in table.columns)
    for name, data_type in ADDED_COLUMNS.items():
        yaml += f"          - name: {name}\n            data_type: {data_type}\n"
        yaml += _described(ADDED_DESCRIPTIONS[name], 12)
    return yaml


def sources_yaml() -> str:
    """The whole of sources.yml."""
    return HEADER + "\n".join(source_yaml(table) for table in TABLES)


if __name__ == "__main__":
    SOURCES_FILE.write_text(sources_yaml(), encoding="utf-8")
