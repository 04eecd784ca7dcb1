"""How long a backfill of every asset takes, launched as the page's button does: `python -m benchmarks.backfill [DAYS]`.

A stack of its own for each length, so that nothing is there before. A year, and two: the time must not grow faster
than the days, and the memory not at all.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import psutil

from shopstream_assets.embedded import stack
from tests.dagster_process import FINISHED, Dagster, dagster, wait_for

DAYS = 365
LIMIT_SECONDS = 3600


@dataclass(frozen=True)
class Cost:
    """What a backfill cost. Seconds are since the launch; `peak` in MB, of the process that ran it; `load` is the
    machine's load average of the last minute, before and after."""

    days: int
    runs: int
    seen: float
    started: float
    done: float
    cpu: float
    peak: float
    load: tuple[float, float]


class Worker(Thread):
    """Watches the process of a run: CPU seconds and peak memory."""

    def __init__(self, running: Dagster) -> None:
        super().__init__(daemon=True)
        self._running, self._end = running, Event()
        self.peak = self.cpu = 0.0

    def run(self) -> None:
        """Look twice a second."""
        while not self._end.wait(0.5):
            for pid in self._running.run_workers():
                try:
                    process = psutil.Process(pid)
                    times = process.cpu_times()
                    self.cpu = max(self.cpu, times.user + times.system)
                    self.peak = max(self.peak, process.memory_info().rss / 1024**2)
                except psutil.NoSuchProcess:
                    continue

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while the block lasts."""
        self.start()
        yield
        self._end.set()
        self.join()


def measure(days: int) -> Cost:
    """Backfill the last `days` complete days of every asset on a new stack."""
    last = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    wanted = [(last - dt.timedelta(days=n)).isoformat() for n in reversed(range(days))]
    with new_stack(wanted[0]) as (variables, folder), dagster(variables, folder, sensors=False) as running:
        worker, before = Worker(running), os.getloadavg()[0]
        with worker.watching():
            launched = time.time()
            backfill = running.backfill(running.assets(), wanted)
            wait_for(lambda: finished(running, backfill), f"a backfill of {days} days", LIMIT_SECONDS)
        runs = running.runs(dagster__backfill=backfill)
        failed = [run for run in runs if run["status"] != "SUCCESS"]
        if failed:
            raise SystemExit(running.failures(failed[0]["runId"]))
        return Cost(
            days=days,
            runs=len(runs),
            seen=runs[0]["creationTime"] - launched,
            started=runs[0]["startTime"] - launched,
            done=runs[-1]["endTime"] - launched,
            cpu=worker.cpu,
            peak=worker.peak,
            load=(before, os.getloadavg()[0]),
        )


def finished(running: Dagster, backfill: str) -> bool:
    """Whether the backfill has runs, all of which ended."""
    runs = running.runs(dagster__backfill=backfill)
    return bool(runs) and all(run["status"] in FINISHED for run in runs)


@contextmanager
def new_stack(first_day: str) -> Iterator[tuple[Mapping[str, str], Path]]:
    """A simulated store at reference volumes in a folder that is deleted, whose first partition is `first_day`."""
    settings = {"SHOPSTREAM_START_DATE": first_day, "SHOPSTREAM_SCALE": "1", "SHOPSTREAM_SOURCE_MODE": "simulated"}
    before = {name: os.environ.get(name) for name in settings}
    with tempfile.TemporaryDirectory(prefix="shopstream-bench-") as folder:
        os.environ.update(settings)
        try:
            with stack.running(Path(folder)) as variables:
                yield variables, Path(folder) / "ui"
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def report(costs: Sequence[Cost]) -> str:
    """A Markdown table."""
    lines = [
        "| days | runs | launch to marts | of it until the run starts | per day | worker CPU | peak memory | load |",
        "|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for cost in costs:
        lines.append(
            f"| {cost.days} | {cost.runs} | {cost.done:.1f} s | {cost.started:.1f} s "
            f"| {1000 * cost.done / cost.days:.0f} ms | {cost.cpu:.1f} s | {cost.peak:.0f} MB "
            f"| {cost.load[0]:.1f} to {cost.load[1]:.1f} |"
        )
    return "\n".join(lines)


def main(days: int) -> None:
    """Measure `days` and twice as many."""
    print(f"Backfill of every asset, {os.cpu_count()} cores, reference volumes (scale 1):\n")
    print(report([measure(days), measure(2 * days)]))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else DAYS)
