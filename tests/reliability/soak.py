"""`make soak`: ten writers at a shop for an hour; nothing may fail, nothing may grow without end, all must be right.

Starts `shopstream stack up --ui` in a temporary folder, over a small shop that the writers commit to all the time:
inserts, updates, deletes, cursors and keys that move, reloads, rows that break a rule. Every minute it takes down what
each kind of process holds: memory, open files, connections to Postgres; and how large Dagster's storage is. When the
writers stop, every layer must equal the source after two refreshes, and no run may have failed. Then Dagster's storage
is pruned of all history, and the lake of all that was superseded. Ends with status 1 where something is wrong; what
lies on disk is printed, and grows with what is written.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import random
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
from installation import OTHER, RUN
from siege import Siege, drawn_change
from small_shop import SmallShop

from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.platform.lake.superseded import delete_superseded

EVERY_SECONDS = 60
# Caches fill, and the first minutes are those of a start.
WARM = 0.2
MB = 1024 * 1024
# A process that grows by less in an hour than this share of what it had would take days to matter.
GROWTH = 0.25
# In less time than this, all that can be seen is how it warms up.
JUDGED_MINUTES = 30
# Processes that end soon, and what is passing through.
PASSING = (RUN, OTHER)
# Refreshes after the last commit, until every layer equals the source; and the audit's, which sees deleted rows.
REFRESHES = 2 + 1
# What a writer meets because of the others.
FORBIDDEN = (psycopg.errors.DeadlockDetected, psycopg.errors.IntegrityError, psycopg.errors.LockNotAvailable)


@dataclass
class Sample:
    """What was held at a moment: megabytes and open files by kind of process, connections, megabytes on disk.

    `memory` is what no other process has too.
    """

    minute: float
    memory: Mapping[str, float]
    files: Mapping[str, int]
    connections: int
    dagster: float
    lake: float
    warehouse: float


@dataclass
class Writers:
    """Sessions that commit to the shop, each with its own seed, until told to end."""

    dsn: str
    count: int
    seed: int
    pause: float
    done: Counter[str] = field(default_factory=Counter)
    last_commit: float = 0
    failed: list[str] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._threads = [
            threading.Thread(target=self._write, args=(number,), name=f"writer {number}")
            for number in range(self.count)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _write(self, number: int) -> None:
        chance, shop = random.Random(f"{self.seed} {number}"), SmallShop(self.dsn, "public")
        try:
            while not self._end.wait(chance.uniform(0, 2 * self.pause)):
                name, table, args = drawn_change(chance)
                try:
                    getattr(shop, name)(table, *args)
                    self.done["commits"] += 1
                    self.last_commit = time.time()
                except FORBIDDEN:
                    self.done["commits that another writer forbade"] += 1
        except Exception as error:
            self.failed.append(f"writer {number} ended: {type(error).__name__}: {error}")
            raise
        finally:
            shop.close()


def sample(siege: Siege, begun: float) -> Sample:
    """What is held now. A process that ends meanwhile counts no more."""
    memory: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for role, processes in siege.installation.processes().items():
        for each in processes:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                # What is its own: forks share their code, and the processes of Postgres its buffers.
                memory[role] += each.memory_full_info().uss
                files[role] += each.num_fds()
    with psycopg.connect(siege.shop.dsn, autocommit=True) as connection:
        connections, dagster = connection.execute(
            "select (select count(*) from pg_stat_activity where backend_type = 'client backend'), "
            "(select sum(pg_database_size(datname)) from pg_database where datname = 'dagster')"
        ).fetchone() or (0, 0)
    home = siege.installation.home.folder
    return Sample(
        minute=(time.monotonic() - begun) / 60,
        memory={role: size / MB for role, size in memory.items()},
        files=dict(files),
        connections=connections,
        dagster=float(dagster or 0) / MB,
        lake=_size(home / "aws"),
        warehouse=_size(home / "snowflake"),
    )


def _size(folder: Path) -> float:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total / MB


def per_hour(samples: list[Sample], value: str, role: str = "") -> tuple[float, float, float]:
    """What it was at first and at last, and its growth per hour by the least squares, once it was warm."""
    warm = samples[int(len(samples) * WARM) :]
    found = [getattr(each, value) for each in warm]
    values = [float(each.get(role, 0)) for each in found] if role else [float(each) for each in found]
    minutes = [each.minute for each in warm]
    mean_x, mean_y = sum(minutes) / len(minutes), sum(values) / len(values)
    spread = sum((x - mean_x) ** 2 for x in minutes)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(minutes, values, strict=True)) / spread if spread else 0
    return values[0], values[-1], slope * 60


def soak(siege: Siege, minutes: float, writers: Writers) -> tuple[list[str], list[Sample]]:
    """Let the writers write for so long; returns what is wrong after that, and what was held meanwhile."""
    begun, started = time.monotonic(), time.time()
    samples = [sample(siege, begun)]
    writers.start()
    try:
        while time.monotonic() - begun < minutes * 60:
            time.sleep(EVERY_SECONDS)
            samples.append(sample(siege, begun))
            print(f"{samples[-1].minute:5.1f} min, {writers.done['commits']} commits", flush=True)
    finally:
        writers.stop()
    rest = siege.rest()
    runs = [run for run in siege.page.runs() if run["creationTime"] >= started]
    ends = Counter(run["status"] for run in runs)
    later = [run for run in runs if run["creationTime"] > writers.last_commit]
    # A request of the sensors is a run, or a backfill of days that are scattered: a run for each row of days.
    requests = {run["tags"].get("dagster/backfill", run["runId"]) for run in later}
    print(f"{ends.total()} runs: {dict(ends)}; {len(requests)} refreshes after the last commit; {rest}")
    for run in later:
        after = run["creationTime"] - writers.last_commit
        asked = {name: value for name, value in run["tags"].items() if not name.startswith(".")}
        print(f"{after:6.1f} s after the last commit: {run['runId']} {asked}")
    for run in runs:
        if run["status"] != "SUCCESS":
            print(f"{run['creationTime'] - started:6.0f} s after the first commit: {run['runId']} {run['status']}")
            print(siege.page.failures(run["runId"])[:3000])
    print("\n".join(siege.acts))
    wrong = [] if rest.how == "by itself" else [f"no rest by itself: {rest}"]
    if ends.keys() - {"SUCCESS"}:
        wrong.append(f"runs ended otherwise than by success: {dict(ends)}")
    if len(requests) > REFRESHES:
        wrong.append(f"{len(requests)} refreshes after the last commit, {REFRESHES} are allowed")
    return [*wrong, *siege.wrong(rest, started)], samples


def report(samples: list[Sample]) -> list[str]:
    """Print what was held; returns what grows as if without end, where that can be told."""
    wrong = []
    is_judged = samples[-1].minute >= JUDGED_MINUTES
    roles = sorted({role for each in samples for role in each.memory})
    print("| held by | MB at first | MB at last | MB an hour | files at last |\n|---|---:|---:|---:|---:|")
    for role in roles:
        first, last, slope = per_hour(samples, "memory", role)
        print(f"| {role} | {first:,.0f} | {last:,.0f} | {slope:+,.1f} | {samples[-1].files.get(role, 0)} |")
        files, _, more = per_hour(samples, "files", role)
        if role in PASSING or not is_judged:
            continue
        if slope > GROWTH * max(first, 40):
            wrong.append(f"{role} grows by {slope:.0f} MB an hour from {first:.0f} MB")
        if more > GROWTH * max(files, 20):
            wrong.append(f"{role} opens {more:.0f} files an hour more")
    for name, value in (("Dagster's storage", "dagster"), ("the lake", "lake"), ("the warehouse's file", "warehouse")):
        first, last, slope = per_hour(samples, value)
        print(f"| {name}, on disk | {first:,.1f} | {last:,.1f} | {slope:+,.1f} | |")
    first, last, slope = per_hour(samples, "connections")
    print(f"connections to Postgres: {first:.0f} at first, {last:.0f} at last")
    if is_judged and slope > GROWTH * max(first, 20):
        wrong.append(f"connections to Postgres grow by {slope:.0f} an hour")
    return wrong


# What is held for one partition of an asset: its newest event of a kind. What pruning itself logs comes after it.
SUPERSEDED = """
    select count(*) from (
        select asset_key, dagster_event_type, "partition" from event_logs
        where asset_key is not null and dagster_event_type in ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')
        group by 1, 2, 3 having count(*) > 1
    ) as twice
"""
SIZES = """
    select relname, pg_total_relation_size(oid) / 1048576.0 from pg_class
    where relkind = 'r' and relnamespace = 'public'::regnamespace
"""


def prune(siege: Siege) -> list[str]:
    """Prune of everything, as the job does on Sundays of what is older than 30 days; prints what that brought.

    Returns what is wrong with it.
    """
    config = siege.installation.folder / "prune.yaml"
    config.write_text("ops: {prune: {config: {days_kept: 0}}}")
    module = "shopstream_assets.domains.shopstream.definitions"
    with psycopg.connect(f"{siege.shop.dsn.rpartition('/')[0]}/dagster", autocommit=True) as connection:

        def held() -> Counter[str]:
            connection.execute("vacuum full")
            return Counter({name: float(size) for name, size in connection.execute(SIZES)})

        before = held()
        told = siege.installation.type_dagster(
            "job", "execute", "-m", module, "-j", "prune_event_log", "--config", str(config)
        )
        assert told.returncode == 0, told.stderr[-2000:]
        after = held()
        (twice,) = connection.execute(SUPERSEDED).fetchone() or (0,)
    print(f"Dagster's storage without gaps: {before.total():.1f} MB, pruned of all history {after.total():.1f} MB")
    print("| table | MB | MB pruned |\n|---|---:|---:|")
    for name, size in before.most_common(8):
        print(f"| {name} | {size:.1f} | {after[name]:.1f} |")
    return [f"pruning left {twice} partitions with more than one event of a kind"] if twice else []


def prune_lake(siege: Siege) -> list[str]:
    """Prune of what was superseded, as the job does a day later; prints what that brought, returns what is wrong."""
    services = siege.platform.services

    def held() -> str:
        sizes = [size for _, size, _ in services.store.listed("")]
        return f"{sum(sizes) / MB:.1f} MB in {len(sizes)} objects"

    before, now = held(), dt.datetime.now(dt.UTC)
    for table in SHOPSTREAM.tables:
        delete_superseded(services.source, services.store, table, now, now)
    print(f"The lake: {before}, pruned of what was superseded {held()}")
    return list(siege.wrong_lake())


def main() -> None:
    """Soak, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--writers", type=int, default=10)
    parser.add_argument("--pause", type=float, default=2, help="seconds between two commits of a writer, on average")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    with (
        tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder,
        Siege.laid(Path(folder), patience=900) as siege,
    ):
        dsn = os.environ["SHOPSTREAM_POSTGRES_DSN"].partition("?")[0]
        writers = Writers(dsn, given.writers, given.seed, given.pause)
        print(f"{given.writers} writers for {given.minutes:g} minutes, seed {given.seed}", flush=True)
        wrong, samples = soak(siege, given.minutes, writers)
        print(dict(writers.done))
        wrong += writers.failed + report(samples) + prune(siege) + prune_lake(siege)
    print("\n".join(wrong) or "nothing is wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    main()
