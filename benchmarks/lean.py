"""What Dagster and the project cost before any work is done: `python -m benchmarks.lean`.

Definitions load, run start, step overhead, and a whole run that takes one small day through every layer.
"""

from __future__ import annotations

import datetime as dt
import os
import statistics
import subprocess
import sys
import time

from benchmarks.backfill import new_stack
from tests.dagster_process import FINISHED, dagster, wait_for

IMPORTS = {
    "dagster alone": "import dagster",
    "dagster, its Postgres storage and dagster-dbt": "import dagster, dagster_postgres, dagster_dbt",
    "the project's definitions": "import shopstream_assets.domains.shopstream.definitions as found; "
    "found.defs.resolve_asset_graph()",
}
TIMES, RUNS = 5, 3


def import_seconds(code: str) -> tuple[float, float]:
    """Median (wall, CPU) seconds of a new process that runs `code`."""
    walls, cpus = [], []
    for _ in range(TIMES):
        before, started = os.times(), time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        after = os.times()
        walls.append(time.perf_counter() - started)
        cpus.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return statistics.median(walls), statistics.median(cpus)


def main() -> None:
    """Measure and print, with the machine's load."""
    yesterday = (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)).isoformat()
    with new_stack(yesterday) as (variables, folder):
        os.environ.update(variables)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; medians\n")
        print("| what | wall | CPU |\n|---|---:|---:|")
        for what, code in IMPORTS.items():
            wall, cpu = import_seconds(code)
            print(f"| load {what} | {wall:.2f} s | {cpu:.2f} s |", flush=True)
        with dagster(variables, folder, sensors=False) as running:
            assets, found = running.assets(), []
            for _ in range(RUNS + 1):
                asked = time.time()
                run_id = running.launch(assets, yesterday, yesterday)
                wait_for(lambda run_id=run_id: running.run(run_id)["status"] in FINISHED, "the run", 300)  # type: ignore[misc]
                run = running.run(run_id)
                if run["status"] != "SUCCESS":
                    raise SystemExit(running.failures(run_id))
                found.append((asked, run))
        # The first run creates tables and warms the services.
        rows: dict[str, list[float]] = {
            "run start, asked to first step": [],
            "steps": [],
            "between the steps": [],
            "": [],
        }
        for asked, run in found[1:]:
            steps = [step for step in run["stepStats"] if step["startTime"]]
            inside = sum(step["endTime"] - step["startTime"] for step in steps)
            first = min(step["startTime"] for step in steps)
            rows["run start, asked to first step"].append(first - asked)
            rows["steps"].append(inside)
            rows["between the steps"].append(run["endTime"] - first - inside)
            rows[""].append(run["endTime"] - asked)
        for what, values in rows.items():
            name = what or "one day through every layer, asked to done (at most 15 s)"
            print(f"| {name} | {statistics.median(values):.2f} s | |")
        last = found[-1][1]
        for step in last["stepStats"]:
            print(f"|   {step['stepKey']} | {step['endTime'] - step['startTime']:.2f} s | |")
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
