"""A small streaming service on its whole way: played into Postgres, extracted, staged, and built by dbt."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString, cast

import psycopg

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.streamvision.simulator import Simulator
from shopstream_assets.domains.streamvision.tables import TABLES
from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.lake.extraction import extract_to_lake
from shopstream_assets.platform.sources.postgres.play import play
from shopstream_assets.platform.staging.loading import load_from_lake
from shopstream_assets.platform.transform.dbt_invocation import invoke_dbt

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest

PROJECT = Path(__file__).parents[2] / "dbt_project" / "streamvision"
START = dt.date(2026, 2, 20)
SCALE = 0.03


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def days(first: int, end: int) -> Window:
    """Days `first` to `end` excluded."""
    return Window(day(first), day(end))


@dataclass
class Road:
    """The service's own Postgres schema, bucket and database."""

    services: Services
    manifest: Manifest
    scratch: Path
    simulator: Simulator = field(default_factory=lambda: Simulator(START, scale=SCALE))

    def play(self, window: Window) -> None:
        """Let the days happen in Postgres."""
        for table in TABLES:
            with self.services.source.transaction() as connection:
                play(connection, self.simulator, table, self.services.source.schema_name, window.first, window.end)

    def stage(self, window: Window, *names: str) -> None:
        """Extract the days of some tables, or all, to the lake and load them."""
        for table in TABLES:
            if not names or table.name in names:
                extract_to_lake(self.services.source, self.services.store, table, window)
                load_from_lake(self.services.store, self.services.warehouse, table, window)

    def dbt(self, command: str, *args: str, window: Window | None = None) -> dbtRunnerResult:
        """Run dbt in this process, on the prepared manifest."""
        call = [command, "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--quiet"]
        # Its debug log would be read by nobody.
        call += ["--target-path", str(self.scratch / "target"), "--log-level-file", "none", *args]
        if window is not None:
            call += ["--vars", json.dumps({"partition_start": str(window.first), "partition_end": str(window.end)})]
        result = invoke_dbt(call, self.manifest)
        if result.exception is not None:
            raise result.exception
        results: Any = result.result
        failed = [f"{r.node.name}: {r.message}" for r in results if str(r.status) not in ("success", "pass", "no-op")]
        assert not failed, "\n".join(failed)
        return result

    def refresh(self, window: Window) -> None:
        """Play the days, take them along, and build what they touch."""
        self.play(window)
        self.stage(window)
        self.dbt("run", "--select", "tag:partitioned", window=window)

    def rows(self, model: str) -> list[tuple[Any, ...]]:
        """A model's rows, in the order of all its columns."""
        return sorted(self.query(f"select * from {self.services.warehouse.database}.{model}"), key=repr)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.services.warehouse.connection("REPORTING_WH") as session, session.cursor() as cursor:
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()]

    def records(self, model: str) -> list[dict[str, Any]]:
        """A model's rows as dictionaries with lower-case names."""
        with self.services.warehouse.connection("REPORTING_WH") as session, session.cursor() as cursor:
            cursor.execute(f"select * from {self.services.warehouse.database}.{model}")
            names = [column.name.lower() for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def postgres(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query in the service's own schema."""
        with psycopg.connect(self.services.source.dsn, autocommit=True) as connection:
            connection.execute("select set_config('search_path', %s, false)", [f'"{self.services.source.schema_name}"'])
            connection.execute("set time zone 'UTC'")
            return connection.execute(cast(LiteralString, sql)).fetchall()
