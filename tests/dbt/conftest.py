"""A warehouse of its own for the dbt tests: the embedded Snowflake on a free port, and dbt in this process."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from local_account import PASSWORD, LocalSnowflake
from small_store import Log, Row

from shopstream_assets.domains.shopstream.tables import TABLES
from shopstream_assets.platform.declare.settings import SCHEMAS
from shopstream_assets.platform.lake.added_columns import ADDED_COLUMNS
from shopstream_assets.platform.transform.dbt_invocation import invoke_dbt
from shopstream_assets.platform.transform.dbt_manifest import read_parsed

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest
    from snowflake.connector.cursor import SnowflakeCursor

PROJECT = Path(__file__).parents[2] / "dbt_project" / "shopstream"
DATABASE = "SHOPSTREAM_DWH"
COLUMNS = {table.name: [column.name for column in table.columns] for table in TABLES}
STAGING_TABLES = {table.name: f"{DATABASE}.STAGING.{table.staging_table}" for table in TABLES}
LOADED = f"{DATABASE}.STAGING.LOADED_PARTITIONS"
LOADED_AT = dt.datetime(2026, 6, 1)


def _literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.datetime | dt.date | str):
        return "'" + str(value).replace("'", "''") + "'"
    return str(value)


class Warehouse:
    """The warehouse under test: staging written by partition as the platform does, models built by dbt."""

    def __init__(self, port: int, manifest: Manifest, scratch: Path) -> None:
        import snowflake.connector

        self._connection = snowflake.connector.connect(
            account="local",
            user="tester",
            password=PASSWORD,
            host="127.0.0.1",
            port=port,
            protocol="http",
            network_timeout=30,
            login_timeout=30,
            session_parameters={"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
        )
        self._manifest = manifest
        self._scratch = scratch
        self._loads = 0

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.cursor().execute(sql).fetchall()  # type: ignore[union-attr,return-value]

    def cursor(self) -> SnowflakeCursor:
        """For what the platform asks."""
        return self._connection.cursor()  # type: ignore[return-value]

    def reset(self) -> None:
        """No models, and empty staging tables."""
        self.execute(f"create database if not exists {DATABASE}")
        for schema in SCHEMAS:
            self.execute(f"drop schema if exists {DATABASE}.{schema} cascade")
            self.execute(f"create schema {DATABASE}.{schema}")
        for table in TABLES:
            declared = {column.name: column.type.snowflake for column in table.columns} | ADDED_COLUMNS
            columns = ", ".join(f"{name} {kind}" for name, kind in declared.items())
            self.execute(f"create table {STAGING_TABLES[table.name]} ({columns})")
        self.execute(
            f"create table {LOADED} (table_name varchar, partition_date date, manifest_hash varchar, "
            "manifest_etag varchar, snapshot varchar, row_count number(38,0), loaded_at timestamp_ntz(6))"
        )

    def drop_models(self) -> None:
        """Forget what dbt built, keep staging."""
        for schema in ("CORE", "MARTS"):
            self.execute(f"drop schema if exists {DATABASE}.{schema} cascade")
            self.execute(f"create schema {DATABASE}.{schema}")

    def publish(self, table: str, day: dt.date, rows: list[Row]) -> None:
        """Replace one partition of one staging table, and say so in the ledger.

        A row gives the columns that it has; of the log's own it may give `_snapshot`, `_deleted` and `_quarantined`.
        """
        target = STAGING_TABLES[table]
        self._loads += 1
        loaded_at = LOADED_AT + dt.timedelta(seconds=self._loads)
        self.execute(f"delete from {target} where _partition_date = '{day}'::date")
        names = [*COLUMNS[table], "_snapshot", "_deleted", "_quarantined"]
        if rows:
            tuples = (
                (*(row.get(name) for name in names), day, f"{table}/{day}", number, loaded_at)
                for number, row in enumerate(rows, start=1)
            )
            values = ", ".join("(" + ", ".join(map(_literal, values)) + ")" for values in tuples)
            columns = ", ".join([*names, "_partition_date", "_source_file", "_source_row", "_loaded_at"])
            self.execute(f"insert into {target} ({columns}) values {values}")
        content = hashlib.sha256(repr([sorted(row.items()) for row in rows]).encode()).hexdigest()
        self.execute(f"delete from {LOADED} where table_name = '{table}' and partition_date = '{day}'::date")
        self.execute(
            f"insert into {LOADED} (table_name, partition_date, manifest_hash) values ('{table}', '{day}', '{content}')"
        )

    def loaded(self) -> dict[tuple[str, dt.date], str]:
        """(table, day) -> hash of what is staged."""
        return {
            (table, day): content
            for table, day, content in self.execute(f"select table_name, partition_date, manifest_hash from {LOADED}")
        }

    def built(self, model: str) -> dict[tuple[str, dt.date], str]:
        """(table, day) -> hash that the model says it was built from."""
        rows = self.execute(
            f"select table_name, partition_date, manifest_hash from {DATABASE}.CORE.BUILT_PARTITIONS "
            f"where model_name = '{model}'"
        )
        assert len({row[:2] for row in rows}) == len(rows), f"{model} says two things of a day"
        return {(table, day): content for table, day, content in rows}

    def stage(self, log: Log, days: set[dt.date] | None = None) -> None:
        """Publish the log, or its partitions of some days."""
        for table, partitions in log.items():
            for day, rows in partitions.items():
                if days is None or day in days:
                    self.publish(table, day, rows)

    def dbt(self, command: str, *args: str, window: tuple[dt.date, dt.date] | None = None) -> dbtRunnerResult:
        """Run dbt in this process, on the prepared manifest; the window is half-open."""
        call = [command, "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--quiet"]
        # Its debug log would be read by nobody.
        call += ["--target-path", str(self._scratch / "target"), "--log-level-file", "none", *args]
        if window is not None:
            call += ["--vars", json.dumps({"partition_start": str(window[0]), "partition_end": str(window[1])})]
        result = invoke_dbt(call, self._manifest)
        if result.exception is not None:
            raise result.exception
        return result

    def run(self, *args: str, window: tuple[dt.date, dt.date] | None = None) -> None:
        """Run the models; every one must succeed."""
        result = self.dbt("run", *args, window=window)
        failed = [f"{r.node.name}: {r.message}" for r in result.result if str(r.status) != "success"]  # type: ignore[union-attr]
        assert not failed, "\n".join(failed)

    def rows(self, model: str) -> list[tuple[Any, ...]]:
        """A model's rows, in the order of all its columns."""
        return sorted(self.execute(f"select * from {DATABASE}.{model}"), key=repr)

    def records(self, model: str) -> list[dict[str, Any]]:
        """A model's rows as dictionaries with lower-case names."""
        cursor = self._connection.cursor()
        cursor.execute(f"select * from {DATABASE}.{model}")
        names = [column.name.lower() for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@pytest.fixture(scope="session")
def warehouse_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The embedded Snowflake, started for these tests alone; no object store stands behind it."""
    server = LocalSnowflake(tmp_path_factory.mktemp("snowflake"), "http://127.0.0.1:9")
    yield server.port
    server.stop()


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dbt")


@pytest.fixture(scope="session")
def manifest(scratch: Path) -> Manifest:
    """The manifest, parsed once and without any variable of an account, as CI builds it."""
    call = ["--no-version-check", "parse", "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--quiet"]
    call += ["--target-path", str(scratch / "target"), "--log-path", str(scratch / "logs")]
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("SNOWFLAKE_", "SHOPSTREAM_"))]:
            patch.delenv(name)
        result = invoke_dbt(call)
    assert result.success, result.exception
    # As a step of the platform reads it.
    return read_parsed(scratch / "target" / "partial_parse.msgpack")


@pytest.fixture(scope="session")
def shared_warehouse(warehouse_port: int, manifest: Manifest, scratch: Path) -> Warehouse:
    return Warehouse(warehouse_port, manifest, scratch)


@pytest.fixture
def warehouse(shared_warehouse: Warehouse, warehouse_port: int, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """The warehouse with empty staging tables and no models."""
    # dbt reads the environment; other tests of this process have a warehouse of their own.
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT", "local")
    monkeypatch.setenv("SNOWFLAKE_HOST", "127.0.0.1")
    monkeypatch.setenv("SNOWFLAKE_PORT", str(warehouse_port))
    monkeypatch.setenv("SNOWFLAKE_PROTOCOL", "http")
    monkeypatch.setenv("SNOWFLAKE_USER", "tester")
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", PASSWORD)
    monkeypatch.setenv("SNOWFLAKE_DATABASE", DATABASE)
    monkeypatch.setenv("SHOPSTREAM_START_DATE", "2026-03-01")
    shared_warehouse.reset()
    return shared_warehouse
