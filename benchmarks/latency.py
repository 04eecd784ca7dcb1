"""From COMMIT in Postgres to the refreshed mart, and what idling costs: `python -m benchmarks.latency [ROUNDS [DAYS]]`.

Default settings: webserver, daemon and every sensor on, DAYS (90) of a store at reference volumes behind it. A round
inserts a paid order with one line and waits until the sales mart counts it.
"""

from __future__ import annotations

import datetime as dt
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg

from benchmarks.backfill import new_stack
from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.embedded import stack
from shopstream_assets.platform.declare.settings import REPORTING
from tests.dagster_process import FINISHED, Dagster, dagster, wait_for

ROUNDS, DAYS = 20, 90
QUIET_SECONDS, IDLE_SECONDS = 20, 120
ROUND_SECONDS = 300

ORDER = """
    with new_order as (
        insert into orders select (jsonb_populate_record(null::orders, to_jsonb(o) || jsonb_build_object(
            'id', (select max(id) + 1 from orders), 'status', 'paid', 'created_at', now(), 'updated_at', now()))).*
        from (select * from orders order by id desc limit 1) as o
        returning id
    )
    insert into order_items select (jsonb_populate_record(null::order_items, to_jsonb(i) || jsonb_build_object(
        'id', (select max(id) + 1 from order_items), 'order_id', (select id from new_order),
        'created_at', now(), 'updated_at', now()))).*
    from (select * from order_items order by id desc limit 1) as i
"""
PLACED = "select sum(orders_placed) from {database}.MARTS.MART_SALES_OVERVIEW"


def commit_order(dsn: str) -> float:
    """Insert an order with one line; returns the moment after its COMMIT, in seconds since the epoch."""
    with psycopg.connect(dsn) as connection:
        connection.execute(ORDER)
    return time.time()


def round_seconds(running: Dagster, services: Services, rounds: int) -> Iterator[float]:
    """Seconds from each COMMIT to the mart that counts its order."""
    dsn = running.variables["SHOPSTREAM_POSTGRES_DSN"]
    with services.warehouse.connection(REPORTING) as session, session.cursor() as cursor:

        def placed() -> int:
            cursor.execute(PLACED.format(database=services.warehouse.database))
            found = cursor.fetchone()
            return int(found[0]) if isinstance(found, tuple) else 0

        for number in range(rounds):
            before = placed()
            # Rounds must not fall into step with the sensor: each starts at another moment of its interval.
            time.sleep(number % 5 + number / rounds)
            committed = commit_order(dsn)
            wait_for(lambda before=before: placed() > before, "the mart", ROUND_SECONDS)  # type: ignore[misc]
            taken = time.time() - committed
            print(f"  round {number + 1}: {taken:.1f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
            yield taken
            settle(running)


def settle(running: Dagster) -> None:
    """Wait until no run is under way."""
    wait_for(
        lambda: all(run["status"] in FINISHED for run in running.runs()), "every run to end", ROUND_SECONDS, every=0.5
    )


def idle_cpu(running: Dagster, folder: Path) -> dict[str, float]:
    """CPU seconds per hour of each part while nothing changes."""
    started, before = time.monotonic(), cpu_seconds(running, folder)
    time.sleep(IDLE_SECONDS)
    after, passed = cpu_seconds(running, folder), time.monotonic() - started
    return {part: (after[part] - before[part]) * 3600 / passed for part in after}


def cpu_seconds(running: Dagster, folder: Path) -> dict[str, float]:
    """CPU seconds so far of each part and what it started."""
    roots = {row.service: row.pid for row in stack.status(folder) if row.pid}
    roots |= {part: process.pid for part, process in running.processes.items()}
    spent = {}
    for part, pid in roots.items():
        root = psutil.Process(pid)
        total = 0.0
        for process in (root, *root.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        # Short-lived children, as a Postgres session, are counted by their parent once they have ended.
        ended = root.cpu_times()
        spent[part] = total + ended.children_user + ended.children_system
    return spent


def main(rounds: int = ROUNDS, days: int = DAYS) -> None:
    """Load the store, wait for quiet, measure, print."""
    today = dt.datetime.now(dt.UTC).date()
    with new_stack((today - dt.timedelta(days=days)).isoformat()) as (variables, folder):
        os.environ.update(variables)
        services = Services.of(SHOPSTREAM)
        with dagster(variables, folder) as running:
            sensors = running.switch_off_sensors()
            first = (today - dt.timedelta(days=days)).isoformat()
            run_id = running.launch(running.assets(), first, today.isoformat())
            wait_for(lambda: running.run(run_id)["status"] in FINISHED, "the first load", 600, every=1)
            if running.run(run_id)["status"] != "SUCCESS":
                raise SystemExit(running.failures(run_id))
            running.switch_on_sensors(sensors)
            time.sleep(QUIET_SECONDS)
            settle(running)
            load = os.getloadavg()[0]
            seconds = sorted(round_seconds(running, services, rounds))
            runs = running.runs()
            time.sleep(QUIET_SECONDS)
            idle = idle_cpu(running, folder.parent)
    p95 = statistics.quantiles(seconds, n=20)[18]
    machine = f"{os.cpu_count()} cores, load {load:.1f} to {os.getloadavg()[0]:.1f}"
    print(f"COMMIT to mart, {days} days, {rounds} rounds, {machine}:")
    print(f"  p50 {statistics.median(seconds):.1f} s (at most 15)   p95 {p95:.1f} s (at most 30)")
    print(f"  least {seconds[0]:.1f} s   most {seconds[-1]:.1f} s   runs {len(runs) - 1}")
    print(f"Idle, CPU seconds per hour: {sum(idle.values()):.0f} ({sum(idle.values()) / 36:.0f} % of one core)")
    for part, spent in idle.items():
        print(f"  {part:<12} {spent:5.0f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
