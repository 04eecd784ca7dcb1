"""Measures Postgres to S3: ours, the limit, and what else people use; `python -m benchmarks.extraction`.

The ways take turns, several rounds of them, and what counts is their ratio within this one run: seconds of another
machine, or of this one an hour ago, compare nothing. It starts a stack of its own in a temporary folder.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.ways import FIRST_DAY, WAYS, Cost, Task
from shopstream_assets.domains.shopstream.tables import ORDERS
from shopstream_assets.embedded import postgres, process, stack, state
from shopstream_assets.platform.declare.tables import postgres_ddl, quoted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

DAYS = 30
INCREMENT_ROWS = 5_500
# Minutes for each round: only when asked for.
SLOW = ("dlt-default",)
# Wall at most so many times the limit's; at least so many times faster than dlt; peak MB at most.
TIMES_LIMIT, TIMES_DLT, PEAK_MB = 2.5, 4.0, 300

# Orders as they lie in a table that grows: in time order with some scatter, most of them delivered, round and crooked
# amounts, some of them changed days after they were created.
ROWS = """
insert into {table} (id, user_id, status, currency, discount_amount, shipping_amount, total_amount, shipping_country,
                     payment_method, created_at, updated_at)
select {first_id} + n, 1 + floor(random() * 200000),
       (array['delivered', 'delivered', 'delivered', 'shipped', 'paid', 'pending', 'cancelled', 'refunded'])
           [1 + floor(random() * 8)],
       'EUR',
       case when random() < 0.8 then 0 else round((random() * 30)::numeric, 2) end,
       (array[0, 4.95, 9.90])[1 + floor(random() * 3)],
       round((5 + 200 * random() ^ 3)::numeric, 2),
       (array['FR', 'DE', 'ES', 'IT', 'NL', 'BE', 'PT', 'AT', 'IE', 'PL', 'SE', 'DK'])[1 + floor(12 * random() ^ 2)],
       (array['card', 'card', 'paypal', 'klarna', 'bank_transfer'])[1 + floor(random() * 5)],
       moment - random() ^ 4 * interval '20 days',
       least(greatest(moment + (random() - 0.5) * interval '2 hours', '{first}'),
             '{end}'::timestamptz - interval '1 us')
from (select n, '{first}'::timestamptz + (n::float8 / {rows}) * ('{end}'::timestamptz - '{first}') as moment
      from generate_series(0, {rows} - 1) as n) as orders
"""


def note(message: str) -> None:
    """Progress, for whoever watches."""
    print(message, file=sys.stderr, flush=True)


def machine() -> str:
    """What all of this ran on, in one line."""
    model = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    try:
        if found := re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()):
            model = found[1]
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{cores} cores of {model}, {memory:.0f} GB, {platform.system()}, Python {platform.python_version()}, "
        f"PostgreSQL {postgres.VERSION}"
    )


def fill(dsn: str, schema: str, batches: Iterable[tuple[int, dt.date, dt.date]]) -> None:
    """Make the orders table of a schema, with (rows, first, end) after each other, as an old table is: vacuumed."""
    import psycopg

    table = f"{quoted(schema)}.{quoted(ORDERS.name)}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"create schema {quoted(schema)}")  # type: ignore[arg-type]
        for statement in postgres_ddl(ORDERS, schema):
            connection.execute(statement)  # type: ignore[arg-type]
        connection.execute("select setseed(0.42)")
        first_id = 1
        for rows, first, end in batches:
            values = {"first": f"{first} 00:00:00+00", "end": f"{end} 00:00:00+00"}
            connection.execute(ROWS.format(table=table, first_id=first_id, rows=rows, **values))  # type: ignore[arg-type]
            first_id += rows
        connection.execute(f"vacuum (freeze, analyze) {table}")  # type: ignore[arg-type]
        connection.execute("checkpoint")


@dataclass
class Bench:
    """A stack with its tables, and the processes that are measured on it."""

    variables: Mapping[str, str]
    postgres_pid: int
    runs: int = field(default=0)

    def run(self, way: str, schema: str, first: dt.date, end: dt.date) -> tuple[Cost, int]:
        """What one run of a way cost, and how many bytes it stored."""
        self.runs += 1
        with self._bucket(f"bench-{self.runs}") as (bucket, client):
            task = Task(schema, first, end, bucket, self.postgres_pid)
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.ways", way, task.written()],
                env={**os.environ, **self.variables},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            cost = Cost(**json.loads(done.stdout.splitlines()[-1]))
            stored = sum(item["Size"] for item in _objects(client, bucket))
        note(f"  {way}: {cost.rows:,} rows in {cost.wall:.2f} s, {cost.cpu:.2f} s CPU, {cost.peak:.0f} MB")
        return cost, stored

    @contextmanager
    def _bucket(self, name: str) -> Iterator[tuple[str, S3Client]]:
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=self.variables["AWS_ENDPOINT_URL"],
            aws_access_key_id=self.variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.variables["AWS_SECRET_ACCESS_KEY"],
            region_name=self.variables["AWS_DEFAULT_REGION"],
        )
        client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        try:
            yield name, client
        finally:
            for item in list(_objects(client, name)):
                client.delete_object(Bucket=name, Key=item["Key"])
            client.delete_bucket(Bucket=name)


def _objects(client: S3Client, bucket: str) -> Iterator[ObjectTypeDef]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        yield from page.get("Contents", [])


@dataclass(frozen=True)
class Measured:
    """Medians over the rounds of one way."""

    rows: int
    wall: float
    cpu: float
    peak: float
    stored: int
    repeat: float
    walls: tuple[float, ...]

    def times(self, other: Measured) -> list[float]:
        """Its wall seconds as a multiple of another way's in the same round, smallest first."""
        return sorted(mine / theirs for mine, theirs in zip(self.walls, other.walls, strict=True))

    @classmethod
    def of(cls, runs: Sequence[tuple[Cost, int]]) -> Measured:
        """The medians; the largest of the peaks, for which there is no excuse."""
        costs = [cost for cost, _ in runs]
        return cls(
            rows=costs[0].rows,
            wall=statistics.median(cost.wall for cost in costs),
            cpu=statistics.median(cost.cpu for cost in costs),
            peak=max(cost.peak for cost in costs),
            stored=runs[-1][1],
            repeat=statistics.median([seconds for cost in costs for seconds in cost.repeats] or [0.0]),
            walls=tuple(cost.wall for cost in costs),
        )


def measure(bench: Bench, ways: Sequence[str], rounds: int, end: dt.date) -> tuple[dict[str, Measured], ...]:
    """Every way on the whole table, in turns; and ours on the table twice as long, and on one day of it."""
    twice_end = FIRST_DAY + (end - FIRST_DAY) * 2
    whole: dict[str, list[tuple[Cost, int]]] = {way: [] for way in ways}
    extra: dict[str, list[tuple[Cost, int]]] = {"twice": [], "day": []} if "ours" in ways else {}
    for number in range(1, rounds + 1):
        note(f"round {number} of {rounds}; load {os.getloadavg()[0]:.1f}")
        for way, runs in whole.items():
            runs.append(bench.run(way, "bench", FIRST_DAY, end))
        if extra:
            extra["twice"].append(bench.run("ours", "bench_twice", FIRST_DAY, twice_end))
            extra["day"].append(bench.run("ours", "bench_twice", twice_end, twice_end + dt.timedelta(days=1)))
    for way, runs in whole.items():
        if len({cost.rows for cost, _ in (*runs, *whole[ways[0]])}) != 1:
            raise SystemExit(f"{way} did not carry the rows that {ways[0]} carried: nothing to compare.")
    return (
        {way: Measured.of(runs) for way, runs in whole.items()},
        {way: Measured.of(runs) for way, runs in extra.items()},
    )


def report(whole: Mapping[str, Measured], extra: Mapping[str, Measured]) -> Iterator[str]:
    """The tables, in Markdown, and how ours stands to its targets."""
    limit = whole["limit"]
    yield f"{limit.rows:,} orders x {len(ORDERS.columns)} columns over {DAYS} days; {machine()}"
    yield ""
    yield "| way | wall s | wall x limit | lowest to highest | CPU x limit | peak MB | stored MB |"
    yield "|---|---|---|---|---|---|---|"
    for way, found in whole.items():
        stored = f"{found.stored / 1e6:.0f}" if found.stored else "–"
        ratios = found.times(limit)
        yield (
            f"| {WAYS[way].title} | {found.wall:.1f} | {statistics.median(ratios):.2f} | {ratios[0]:.2f} to "
            f"{ratios[-1]:.2f} | {found.cpu / limit.cpu:.1f} | {found.peak:.0f} | {stored} |"
        )
    if not extra:
        return
    ours, twice, day = whole["ours"], extra["twice"], extra["day"]
    yield ""
    yield "| ShopStream | rows | wall s | peak MB |"
    yield "|---|---|---|---|"
    yield f"| the table above | {ours.rows:,} | {ours.wall:.1f} | {ours.peak:.0f} |"
    yield f"| a table twice as long | {twice.rows:,} | {twice.wall:.1f} | {twice.peak:.0f} |"
    yield f"| one day, first in its process | {day.rows:,} | {day.wall:.3f} | {day.peak:.0f} |"
    yield f"| one day, again | {day.rows:,} | {day.repeat:.3f} | |"
    yield ""
    ratio = statistics.median(ours.times(limit))
    targets = [
        (f"wall at most {TIMES_LIMIT} x the limit", ratio, ratio <= TIMES_LIMIT),
        (f"peak at most {PEAK_MB} MB, at any length", max(ours.peak, twice.peak), twice.peak <= PEAK_MB >= ours.peak),
    ]
    for way, rival in whole.items():
        if way.startswith("dlt"):
            fold = statistics.median(rival.times(ours))
            targets.append((f"at least {TIMES_DLT:.0f} x faster than {WAYS[way].title}", fold, fold >= TIMES_DLT))
    for target, value, passed in targets:
        yield f"{'pass' if passed else 'FAIL'}: {target}: {value:.{0 if value > 100 else 2}f}"


@click.command()
@click.option("--rows", default=2_000_000, show_default=True, help="Rows of the orders table.")
@click.option("--rounds", default=3, show_default=True, help="How often each way runs; medians count.")
@click.option("--way", "chosen", multiple=True, type=click.Choice(list(WAYS)), help="Only these ways, and the limit.")
def main(rows: int, rounds: int, chosen: Sequence[str]) -> None:
    """Measure Postgres to S3 and print ratios to what Postgres can hand over at most."""
    ways = ["limit"]
    for name, way in WAYS.items():
        if way.missing:
            note(f"leaving out {name}: {', '.join(way.missing)} is not installed (`make bench` installs it)")
        elif name != "limit" and (name in chosen if chosen else name not in SLOW):
            ways.append(name)
    end = FIRST_DAY + dt.timedelta(days=DAYS)
    twice_end = FIRST_DAY + 2 * dt.timedelta(days=DAYS)
    # An empty proxy list: nothing here leaves the machine.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    with tempfile.TemporaryDirectory(prefix="shopstream-bench-") as folder:
        # PostgreSQL may run as another account than ours, and must reach its data.
        Path(folder).chmod(0o711)
        note("starting a stack of its own")
        with stack.running(Path(folder), note) as variables:
            server = process.find(state.home(Path(folder)), postgres.NAME)
            assert server is not None
            note(f"filling tables of {rows:,} and {2 * rows:,} orders")
            dsn = variables["SHOPSTREAM_POSTGRES_DSN"]
            fill(dsn, "bench", [(rows, FIRST_DAY, end)])
            increment = (INCREMENT_ROWS, twice_end, twice_end + dt.timedelta(days=1))
            fill(dsn, "bench_twice", [(2 * rows, FIRST_DAY, twice_end), increment])
            whole, extra = measure(Bench(variables, server.pid), ways, rounds, end)
    print("\n".join(report(whole, extra)))


if __name__ == "__main__":
    main()
