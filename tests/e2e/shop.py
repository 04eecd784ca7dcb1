"""A shop in live mode on a stack of its own: its Postgres tables are loaded once, the platform only reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import olist
import pandas as pd
import pytest

from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.staging.warehouse import WarehouseResource

BACKFILL = Path(__file__).with_name("backfill.py")
SCHEMA = "olist"
Report = Mapping[str, Any]


@dataclass(frozen=True)
class Shop:
    """The environment of a running stack whose source schema has been loaded; `folder` takes logs and reports."""

    variables: Mapping[str, str]
    folder: Path

    def backfill(self, *spans: tuple[str, str]) -> list[Report]:
        """Materialize every asset over each span of days [first, last], a run per span, in the order given.

        A process of its own, as definitions read the environment when they are imported. Fails the test with the
        failures of the run that failed; returns the report of each run.
        """
        found, log = self.folder / "runs.json", self.folder / "runs.log"
        days = [day for span in spans for day in span]
        with log.open("w") as output:
            worker = subprocess.run(
                [sys.executable, str(BACKFILL), str(found), *days],
                env={**os.environ, **self.variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        reports: list[Report] = json.loads(found.read_text()) if found.exists() else []
        if worker.returncode:
            told = "\n".join(reports[-1]["failures"]) if reports else log.read_text()[-3000:]
            pytest.fail(f"run {len(reports)} of {len(spans)} failed; the log is {log}:\n{told}")
        return reports

    def table(self, relation: str) -> pd.DataFrame:
        """A table of the warehouse, as "MARTS.MART_SALES_OVERVIEW"; column names in lower case."""
        columns, rows = self._read(relation)
        return pd.DataFrame.from_records(rows, columns=columns)

    def rows(self, relation: str) -> list[tuple[object, ...]]:
        """The rows of a table as they are, in the order of all of their columns."""
        return sorted(self._read(relation)[1], key=repr)

    def _read(self, relation: str) -> tuple[list[str], list[tuple[object, ...]]]:
        fields = WarehouseResource.model_fields
        warehouse = WarehouseResource(**{name: self.variables.get(f"SNOWFLAKE_{name.upper()}", "") for name in fields})
        with warehouse.connection(REPORTING) as session, session.cursor() as cursor:
            cursor.execute(f"select * from {warehouse.database}.{relation}")
            rows: list[Any] = cursor.fetchall()
            return [column.name.lower() for column in cursor.description], rows


@contextmanager
def open_shop(folder: Path, rows: Mapping[str, pd.DataFrame], first_day: str) -> Iterator[Shop]:
    """A stack in `folder` with `rows` in its Postgres, for as long as the block lasts."""
    from shopstream_assets.embedded import stack

    with stack.running(folder) as variables:
        live = {
            "SHOPSTREAM_SOURCE_MODE": "live",
            "SHOPSTREAM_START_DATE": first_day,
            "SHOPSTREAM_POSTGRES_SCHEMA": SCHEMA,
        }
        olist.load(rows, variables["SHOPSTREAM_POSTGRES_DSN"], SCHEMA)
        yield Shop({**variables, **live}, folder)
