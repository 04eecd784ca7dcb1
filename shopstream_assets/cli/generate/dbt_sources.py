"""The dbt sources that a domain's table declarations call for."""

from __future__ import annotations

import json
import re
import textwrap

import yaml  # type: ignore[import-untyped]

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.tables import Column, SourceTable
from shopstream_assets.platform.lake.added_columns import ADDED_COLUMNS, ADDED_DESCRIPTIONS

LINE_LENGTH = 120


def sources_yaml(domain: Domain) -> str:
    """The whole of a project's models/sources.yml, without the line that says what wrote it."""
    return f"""\
sources:
  - name: {domain.name}
    description: >-
      Staging tables: logs of what snapshots of the source saw, one partition per day of change. A key may appear in
      several partitions and more than once; see shared/macros/staging_log.sql for how its state is found.
    database: "{{{{ env_var('{domain.database_variable}', '{domain.database}') }}}}"
    schema: STAGING
    tables:
""" + "\n".join(source_yaml(domain, table) for table in domain.tables)


def source_yaml(domain: Domain, table: SourceTable) -> str:
    """The entry of one table under `tables:`."""
    text = f"      - name: {table.staging_table}\n" + _described(f"{table.grain} {table.description}", 8)
    text += (
        "        config:\n          meta:\n            dagster:\n"
        f"              asset_key: [{domain.name}, staging, {table.name}]\n"
        "        columns:\n"
    )
    text += "".join(_column(table, column) for column in table.columns)
    for name, data_type in ADDED_COLUMNS.items():
        text += f"          - name: {name}\n            data_type: {data_type}\n"
        text += _described(ADDED_DESCRIPTIONS[name], 12)
    return text


def _column(table: SourceTable, column: Column) -> str:
    text = f"          - name: {column.name}\n            data_type: {column.type.snowflake}\n"
    text += _described(column.description, 12)
    if column.pii:
        text += "            config:\n              meta:\n                pii: true\n"
    if column.values:
        text += (
            "            data_tests:\n"
            "              - accepted_values:\n"
            f"                  name: {table.staging_table.lower()}_{column.name}_is_declared\n"
            "                  arguments:\n"
            f"                    values: [{', '.join(map(_text, column.values))}]\n"
        )
    return text


def _described(text: str, indent: int) -> str:
    pad = " " * indent
    plain = text[:1].isalnum() and not re.search(r": |:$| #", text)
    if plain and len(pad) + len("description: ") + len(text) <= LINE_LENGTH:
        return f"{pad}description: {text}\n"
    folded = textwrap.wrap(text, LINE_LENGTH - indent - 2)
    return f"{pad}description: >-\n" + "".join(f"{pad}  {line}\n" for line in folded)


def _text(value: str) -> str:
    """A value in a list of YAML, quoted where it would be read as something else: no, 2024, [a]."""
    plain = re.fullmatch(r"\w[\w +./-]*", value) and yaml.safe_load(value) == value
    return value if plain else json.dumps(value, ensure_ascii=False)
