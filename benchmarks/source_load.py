"""What keeping up costs the source: `python -m benchmarks.source_load [ORDERS [MINUTES]]`.

A table of ORDERS (10 million) orders over a year, all of it in the lake, and a shop that changes a hundred of them a
minute. The change sensor's look runs every five seconds as it does under Dagster, and what it asks for is extracted at
once. What counts is what Postgres did for us: CPU seconds of all its processes but the shop's, and rows read. The
hourly audit and the daily comparison of the whole table are measured one by one.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from shopstream_assets.domains.shopstream.tables import ORDERS
from shopstream_assets.embedded import stack
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.simulator import Simulator
from shopstream_assets.platform.declare.tables import postgres_ddl
from shopstream_assets.platform.lake.extraction import extract_to_lake
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.refresh.change_sensor import INTERVAL_SECONDS, Cursor, look_for_changes
from shopstream_assets.platform.refresh.reconcile import LEVELS
from shopstream_assets.platform.sources.postgres.resource import PostgresResource

ROWS, MINUTES, DAYS = 10_000_000, 5, 365
CHANGES_PER_MINUTE = 100
HOUR = 3600
# Seconds after which an idle session has told the server's counters what it read.
TOLD_AFTER = 11

FILL = """
    insert into orders
    select n, 1 + n % 1000000, 'delivered', 'EUR', 0, 5, 50, 'DE', 'card', day, day
    from (
        select n, date_trunc('day', now()) - interval '{days} days' + n * (interval '{days} days' / {rows}) as day
        from generate_series(1, {rows}) as n
    ) as numbered
"""
# A change: the next status of a recent order, as a shop's is; every fourth is a new order.
CHANGE = "update orders set status = 'shipped', updated_at = now() where id = %s"
INSERT = "insert into orders select max(id) + 1, 1, 'paid', 'EUR', 0, 5, 50, 'DE', 'card', now(), now() from orders"


@dataclass
class Spent:
    """What Postgres did: CPU seconds, rows read, and how often."""

    cpu: float = 0.0
    rows: int = 0
    times: int = 0


class Source:
    """The source database, seen from outside."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._postmaster = next(
            process
            for process in psutil.process_iter(["name", "cmdline"])
            if any(
                connection.laddr.port == int(dsn.rpartition(":")[2].partition("/")[0])
                for connection in _listening(process)
            )
        )
        self.shop: int | None = None

    def cpu(self) -> float:
        """CPU seconds of the server so far, but for the shop's own session."""
        times = self._postmaster.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for child in self._postmaster.children():
            if child.pid != self.shop:
                try:
                    used = child.cpu_times()
                    total += used.user + used.system
                except psutil.NoSuchProcess:
                    continue
        return float(total)

    def rows(self) -> int:
        """Rows of the table read so far, by scans and through indexes; waits until all sessions have told."""
        query = "select seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_user_tables where relname = 'orders'"
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            before, found = -1, 0
            while found != before:
                before = found
                time.sleep(TOLD_AFTER)
                row = connection.execute(query).fetchone()
                found = int(row[0]) if row else 0
        return found

    @contextmanager
    def spent(self, on: Spent) -> Iterator[None]:
        """Add up the CPU seconds of the block."""
        cpu = self.cpu()
        yield
        on.cpu += self.cpu() - cpu
        on.times += 1

    @contextmanager
    def read(self, on: Spent) -> Iterator[None]:
        """Add up the rows that are read in the block, by whomever."""
        rows = self.rows()
        yield
        on.rows += self.rows() - rows


def _listening(process: psutil.Process) -> list[psutil._common.pconn]:
    if process.info["name"] != "postgres":
        return []
    try:
        return [each for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return []


def keep_changing(source: Source, rows: int, end: threading.Event) -> None:
    """The shop: a hundred changes a minute until told to stop."""
    draw = random.Random(1)
    with psycopg.connect(source.dsn, autocommit=True) as connection:
        source.shop = connection.info.backend_pid
        number = 0
        while not end.wait(60 / CHANGES_PER_MINUTE):
            number += 1
            if number % 4 == 0:
                connection.execute(INSERT)
            else:
                # Of the last month: the key is drawn here, for a volatile function would have Postgres try every row.
                connection.execute(CHANGE, (rows - draw.randrange(rows // 12),))


def main(rows: int, minutes: float) -> None:
    """Fill, keep up, print."""
    with tempfile.TemporaryDirectory(prefix="source-load-") as folder, stack.running(Path(folder)) as variables:
        os.environ.update(variables)
        dsn = variables["SHOPSTREAM_POSTGRES_DSN"]
        reader = PostgresResource(dsn=dsn, schema_name="public")
        store = ObjectStoreResource(bucket=variables["SHOPSTREAM_LAKE_BUCKET"])
        with psycopg.connect(dsn, autocommit=True) as connection:
            for statement in postgres_ddl(ORDERS, "public"):
                connection.execute(statement)  # type: ignore[arg-type]
            connection.execute(FILL.format(days=DAYS, rows=rows))  # type: ignore[arg-type]
            connection.execute("vacuum analyze orders")
        now = dt.datetime.now(dt.UTC)
        everything = Window.seen_at(now.date() - ONE_DAY * DAYS, now.date() + ONE_DAY, now)
        print(f"{rows:,} orders over {DAYS} days, {CHANGES_PER_MINUTE} changes a minute, {os.cpu_count()} cores")
        extract_to_lake(reader, store, ORDERS, everything)
        source, end = Source(dsn), threading.Event()
        looks, extractions, kept_up = Spent(), Spent(), Spent()
        before = source.rows()
        shop = threading.Thread(target=keep_changing, args=(source, rows, end))
        shop.start()
        try:
            keep_up(source, reader, store, everything, minutes, looks, extractions)
        finally:
            end.set()
            shop.join()
        kept_up.rows = source.rows() - before
        audit, history, keys = Spent(), Spent(), Spent()
        with source.read(audit), source.spent(audit):
            _look(reader, store, Cursor(), everything)
        with source.read(history), source.spent(history), reader.snapshot([ORDERS]) as read:
            read.fingerprints(ORDERS, everything)
        with source.read(keys), source.spent(keys), reader.snapshot([ORDERS]) as read:
            read.plan(ORDERS).keys(everything).ranges(LEVELS[0], [])
    factor = HOUR / (60 * minutes)
    print("| what | times an hour | CPU s an hour | rows read an hour |\n|---|---:|---:|---:|")
    print(f"| looks of the change sensor | {looks.times * factor:,.0f} | {looks.cpu * factor:,.1f} | |")
    told = f"{extractions.times * factor:,.0f} | {extractions.cpu * factor:,.1f} | {kept_up.rows * factor:,.0f}"
    print(f"| extractions of the days that changed | {told} with the looks |")
    for name, spent, times in (
        ("the audit", audit, 1.0),
        ("fingerprints of all days, once a day", history, 1 / 24),
        ("keys in ranges of a hash, once a day", keys, 1 / 24),
    ):
        print(f"| {name} | {times:.2f} | {spent.cpu * times:,.1f} | {spent.rows * times:,.0f} |")


def keep_up(
    source: Source,
    reader: PostgresResource,
    store: ObjectStoreResource,
    everything: Window,
    minutes: float,
    looks: Spent,
    extractions: Spent,
) -> None:
    """Look every five seconds and extract what is asked for, as the sensor and its runs do."""
    cursor = Cursor(audited_at=dt.datetime.now(dt.UTC))
    ends = time.monotonic() + 60 * minutes
    while (begun := time.monotonic()) < ends:
        with source.spent(looks):
            changes = _look(reader, store, cursor, everything)
        for day in sorted(changes):
            with source.spent(extractions):
                extract_to_lake(reader, store, ORDERS, Window.seen_at(day, day + ONE_DAY, dt.datetime.now(dt.UTC)))
        # The sensor's own clock, not a wait for something to happen.
        time.sleep(max(0.0, INTERVAL_SECONDS - (time.monotonic() - begun)))


def _look(reader: PostgresResource, store: ObjectStoreResource, cursor: Cursor, everything: Window) -> set[dt.date]:
    domain = Domain(name="shopstream", tables=(ORDERS,), simulator=_no_simulator)
    found = look_for_changes(domain, reader, store, cursor, everything, dt.datetime.now(dt.UTC), set)
    if found.faults:
        raise SystemExit(f"looking at orders: {found.faults}")
    return set(found.changes)


def _no_simulator(settings: DomainSettings) -> Simulator:
    raise SystemExit("nothing is simulated")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS, float(sys.argv[2]) if len(sys.argv) > 2 else MINUTES)
