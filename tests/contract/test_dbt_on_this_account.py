"""A small dbt project of every kind that dbt_project/ uses, run by dbt-snowflake against the account."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contract_account import Account, query
from dbt.cli.main import dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

from shopstream_assets.platform.transform.dbt_invocation import invoke_dbt

PROJECT = {
    "name": "contract",
    "version": "1.0",
    "profile": "contract",
    "flags": {"send_anonymous_usage_stats": False},
    "models": {"+persist_docs": {"relation": True, "columns": True}, "+query_tag": "contract"},
    "vars": {"day": 1},
}

MODELS = {
    "models/changes.sql": """
        {{ config(materialized='view') }}
        select id, amount, day, '2026-01-01'::timestamp_ntz as changed_at from {{ ref('seeded') }}
        where day <= {{ var('day') }}
    """,
    "models/merged.sql": """
        {{ config(materialized='incremental', unique_key='id', on_schema_change='append_new_columns') }}
        select id, amount, {% if var('day') == 2 %} 'late'::varchar as note, {% endif %} day from {{ ref('changes') }}
        {% if is_incremental() %} where day = {{ var('day') }} {% endif %}
        qualify row_number() over (partition by id order by day desc) = 1
    """,
    "models/replaced.sql": """
        {{ config(materialized='incremental', unique_key='day', incremental_strategy='delete+insert') }}
        select day, sum(amount)::number(38,2) as amount, count(*)::number(38,0) as n from {{ ref('changes') }}
        {% if is_incremental() %} where day = {{ var('day') }} {% endif %}
        group by day
    """,
    "models/contracted.sql": """
        {{ config(materialized='table', transient=true) }}
        select id::number(38,0) as id, amount::number(12,2) as amount, 'x'::varchar as code from {{ ref('merged') }}
    """,
    "snapshots/history.sql": """
        {% snapshot history %}
        {{ config(unique_key='id', strategy='check', check_cols=['amount']) }}
        select id, amount from {{ ref('merged') }}
        {% endsnapshot %}
    """,
    "tests/no_negative_amounts.sql": "select * from {{ ref('merged') }} where amount < 0",
    "seeds/seeded.csv": "id,amount,day\n1,10.50,1\n2,20.25,1\n2,21.00,2\n3,30.00,2\n",
}

SCHEMA = {
    "version": 2,
    "seeds": [{"name": "seeded", "config": {"column_types": {"amount": "number(12,2)"}}}],
    "models": [
        {
            "name": "merged",
            "description": "One row per id, as of its latest day. It's $1.",
            "columns": [
                {
                    "name": "id",
                    "description": "the 'key'",
                    "data_tests": [
                        "unique",
                        "not_null",
                        {"relationships": {"arguments": {"to": "ref('seeded')", "field": "id"}}},
                    ],
                },
            ],
        },
        {
            "name": "contracted",
            "config": {"contract": {"enforced": True}},
            "columns": [
                {
                    "name": "id",
                    "data_type": "number(38,0)",
                    "constraints": [{"type": "not_null"}, {"type": "primary_key"}],
                },
                {"name": "amount", "data_type": "number(12,2)"},
                {
                    "name": "code",
                    "data_type": "varchar",
                    "data_tests": [{"accepted_values": {"arguments": {"values": ["x"]}}}],
                },
            ],
        },
    ],
    "unit_tests": [
        {
            "name": "the_latest_day_wins",
            "model": "merged",
            "overrides": {"macros": {"is_incremental": False}, "vars": {"day": 3}},
            "given": [
                {
                    "input": "ref('changes')",
                    "rows": [{"id": 1, "amount": 1.5, "day": 1}, {"id": 1, "amount": 2.5, "day": 2}],
                }
            ],
            "expect": {"rows": [{"id": 1, "amount": 2.5, "day": 2}]},
        }
    ],
}  # fmt: skip

Dbt = Callable[..., dbtRunnerResult]
Query = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def module_schema(account: Account) -> Iterator[str]:
    name = f"DBT_{os.getpid()}"
    yield name
    with account.connect() as connection:
        connection.cursor().execute(f"drop schema if exists {account.database}.{name} cascade")


@pytest.fixture(scope="module")
def ask(account: Account, module_schema: str) -> Iterator[Query]:
    with account.connect(database=account.database) as connection:

        def execute(sql: str) -> list[tuple[Any, ...]]:
            query(connection, f"use schema {account.database}.{module_schema}")
            return query(connection, sql)

        yield execute


@pytest.fixture(scope="module")
def dbt(account: Account, module_schema: str, tmp_path_factory: pytest.TempPathFactory) -> Dbt:
    """Runs dbt in a project of its own; the first build is of day 1."""
    project = tmp_path_factory.mktemp("dbt")
    target = {"type": "snowflake", "database": account.database, "schema": module_schema, "threads": 3}
    target |= {"retry_all": False, "connect_retries": 0} | account.settings
    for unknown in ("network_timeout", "login_timeout"):
        target.pop(unknown, None)
    files = {name: text for name, text in MODELS.items()} | {
        "dbt_project.yml": json.dumps(PROJECT),
        "profiles.yml": json.dumps({"contract": {"target": "t", "outputs": {"t": target}}}),
        "models/schema.yml": json.dumps(SCHEMA),
    }
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    where = ["--project-dir", str(project), "--profiles-dir", str(project), "--quiet", "--no-use-colors"]
    parsed = invoke_dbt(["parse", *where, "--vars", "day: 1"])
    manifest = parsed.result
    assert isinstance(manifest, Manifest), parsed.exception

    def run(*arguments: str) -> dbtRunnerResult:
        return invoke_dbt([*arguments, *where], manifest)

    return run


@pytest.fixture(scope="module")
def built(dbt: Dbt) -> Path:
    """The project built for day 1, and then for day 2."""
    for day in (1, 2):
        result = dbt("build", "--vars", f"day: {day}")
        assert result.success, (_failures(result), result.exception)
    return Path()


def _failures(result: dbtRunnerResult) -> list[str]:
    nodes: Any = result.result or ()
    return [f"{node.node.name}: {node.message}" for node in nodes if node.status not in ("success", "pass")]


def test_a_build_of_every_kind_of_node_succeeds_twice(built: Path) -> None:
    """Seed, view, table, incremental models, snapshot, contract, unit test and data tests."""


def test_an_incremental_merge_updates_inserts_and_adds_columns(built: Path, ask: Query) -> None:
    assert ask("select id, amount::varchar, note, day from merged order by id") == [
        (1, "10.50", None, 1),
        (2, "21.00", "late", 2),
        (3, "30.00", "late", 2),
    ]


def test_an_incremental_delete_and_insert_replaces_its_partition(built: Path, ask: Query) -> None:
    assert ask("select day, amount::varchar, n from replaced order by day") == [
        (1, "30.75", 2),
        (2, "51.00", 2),
    ]


def test_a_snapshot_keeps_both_versions(built: Path, ask: Query) -> None:
    assert ask(
        "select id, amount::varchar, dbt_valid_to is null from history order by id, dbt_valid_to nulls last"
    ) == [(1, "10.50", True), (2, "20.25", False), (2, "21.00", True), (3, "30.00", True)]


def test_docs_are_persisted_as_comments(built: Path, ask: Query, module_schema: str) -> None:
    assert ask(
        f"select comment from information_schema.tables where table_schema = '{module_schema}' "
        "and table_name = 'MERGED'"
    ) == [("One row per id, as of its latest day. It's [$]1.",)]
    assert ask(
        f"select comment from information_schema.columns where table_schema = '{module_schema}' "
        "and table_name = 'MERGED' and column_name = 'ID'"
    ) == [("the 'key'",)]


def test_a_contract_declares_types_and_not_null(built: Path, ask: Query) -> None:
    described = {row[0]: (row[1], row[3]) for row in ask("describe table contracted")}
    assert described["ID"] == ("NUMBER(38,0)", "N")
    assert described["AMOUNT"] == ("NUMBER(12,2)", "Y")


def test_no_temporary_relations_are_left(built: Path, ask: Query, account: Account, module_schema: str) -> None:
    names = [row[1] for row in ask(f"show objects in {account.database}.{module_schema} limit 100")]
    assert sorted(names) == ["CHANGES", "CONTRACTED", "HISTORY", "MERGED", "REPLACED", "SEEDED"]


def test_a_failing_data_test_is_reported(built: Path, dbt: Dbt, ask: Query) -> None:
    ask("update merged set amount = -1 where id = 1")
    result = dbt("test", "--select", "no_negative_amounts", "--vars", "day: 2")
    assert not result.success
    ask("update merged set amount = 10.50 where id = 1")


def test_a_full_refresh_rebuilds_a_table(built: Path, dbt: Dbt, ask: Query) -> None:
    result = dbt("run", "--select", "contracted", "--full-refresh", "--vars", "day: 2")
    assert result.success
    assert ask("select count(*) from contracted") == [(3,)]


def test_the_catalog_of_docs_generate_can_be_read(built: Path, dbt: Dbt) -> None:
    result = dbt("docs", "generate", "--vars", "day: 2", "--no-compile")
    assert result.success, result.exception
    catalog: Any = result.result
    assert {key.rpartition(".")[2] for key in catalog.nodes} >= {"merged", "changes", "seeded"}
