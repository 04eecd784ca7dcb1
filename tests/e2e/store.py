"""A simulated store with Dagster around it: what a test asks of it, and what it finds in the marts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
import psutil
from dagster_process import FINISHED, Dagster, wait_for

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.domains.shopstream.sales_comparison import Sales, compare_sales

RUN_SECONDS = 240
Run = dict[str, Any]


@dataclass(frozen=True)
class Store:
    """A running store whose first partition is `first`."""

    dagster: Dagster
    first: dt.date

    def days(self, start: int, count: int) -> list[str]:
        """Partition keys of `count` days, from the `start`-th of the store's history."""
        return [(self.first + dt.timedelta(days=start + n)).isoformat() for n in range(count)]

    def finished_runs(self, **tags: str) -> list[Run]:
        """Wait until there are runs with these tags and all have ended for good; returns them, oldest first."""

        def ended() -> list[Run]:
            runs = self.dagster.runs(**tags)
            return runs if runs and all(run["status"] in FINISHED for run in runs) else []

        return wait_for(ended, f"runs with {tags} (logs: {self.dagster.folder})", RUN_SECONDS, every=0.5)

    def started_runs(self, **tags: str) -> list[Run]:
        """Wait until there are runs with these tags."""
        return wait_for(lambda: self.dagster.runs(**tags), f"a run with {tags}", RUN_SECONDS)

    def completes(self, backfill: str) -> None:
        """Wait until Dagster calls a backfill completed."""
        what = f"backfill {backfill} to be completed"
        wait_for(lambda: self.dagster.backfill_status(backfill) == "COMPLETED_SUCCESS", what, RUN_SECONDS)

    def succeeded(self, run_id: str) -> Run:
        """Wait until a run, or a later attempt at it, has succeeded; returns that attempt."""

        def attempts() -> Run | None:
            runs = [self.run(run_id), *self.dagster.runs(dagster__root_run_id=run_id)]
            return next((run for run in runs if run["status"] == "SUCCESS"), None)

        return wait_for(attempts, f"the success of {run_id} (logs: {self.dagster.folder})", RUN_SECONDS, every=0.5)

    def run(self, run_id: str) -> Run:
        """A run as it is now."""
        return self.dagster.run(run_id)

    def worker(self, run_id: str) -> psutil.Process:
        """The process of a run, as its events name it."""
        with self.instance() as instance:
            events = (entry.dagster_event for entry in instance.all_logs(run_id))
            return psutil.Process(next(event.pid for event in events if event and event.step_key and event.pid))

    def reaches(self, run_id: str, layer: str) -> None:
        """Wait until a run is inside a step of a layer, as "lake" or "dbt"."""

        def is_there() -> bool:
            run = self.run(run_id)
            inside = [step["stepKey"] for step in run["stepStats"] if step["startTime"] and not step["endTime"]]
            if run["status"] in FINISHED:
                raise AssertionError(f"{run_id} ended as {run['status']} before it was seen in {layer}")
            return any(key.startswith(f"shopstream__{layer}") for key in inside)

        wait_for(is_there, f"{run_id} to reach {layer}", RUN_SECONDS, every=0.05)

    def workers(self) -> list[int]:
        """Processes of runs that are still there: what the code server started beyond itself."""
        return self.dagster.run_workers()

    def step_spans(self, step: str) -> list[tuple[float, float]]:
        """(start, end) of every execution of a step; one that was killed ended with its run."""
        found = []
        for run in self.dagster.runs():
            for stats in run["stepStats"]:
                if stats["stepKey"] == step and stats["startTime"]:
                    found.append((stats["startTime"], stats["endTime"] or run["endTime"]))
        return found

    def totals(self) -> tuple[Mapping[dt.date, Sales], Mapping[dt.date, Sales | None]]:
        """Sales by order date, but for dates that have moved on: in Postgres without quarantine, and in the mart."""
        services = Services.of(SHOPSTREAM)
        found = compare_sales(services.source, services.store, services.warehouse, self.first)
        settled = [date for date in found.dates if date not in found.moving]
        return {date: found.expected(date) for date in settled}, {date: found.mart.get(date) for date in settled}

    def materialized(self, layer: str, table: str) -> set[str]:
        """The days of an asset that are materialized."""
        with self.instance() as instance:
            return set(instance.get_materialized_partitions(dg.AssetKey(["shopstream", layer, table])))

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Dagster's instance, as the daemon sees it."""
        with dg.DagsterInstance.get() as instance:
            yield instance
