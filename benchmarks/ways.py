"""Ways from Postgres to S3, one function each; `python -m benchmarks.ways NAME` runs one and prints what it cost.

Each runs in a process of its own, so that its peak memory is its own. Imports are made before the clock starts, for
every way: a run of Dagster has made them by the time a step begins, and a script pays for them once.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib.util
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shopstream_assets.domains.shopstream.tables import ORDERS
from shopstream_assets.platform.declare.tables import SourceTable, quoted

FIRST_DAY = dt.date(2025, 1, 1)
INCREMENTS = 5


@dataclass(frozen=True)
class Task:
    """What to carry: `table` of `schema` on the days [first, end), to a bucket of its own."""

    schema: str
    first: dt.date
    end: dt.date
    bucket: str
    postgres_pid: int

    @classmethod
    def read(cls, text: str) -> Task:
        """The task as the parent process wrote it."""
        found = json.loads(text)
        return cls(
            **{**found, "first": dt.date.fromisoformat(found["first"]), "end": dt.date.fromisoformat(found["end"])}
        )

    def written(self) -> str:
        """The task in a form that survives a command line."""
        return json.dumps(dataclasses.asdict(self), default=str)


@dataclass(frozen=True)
class Cost:
    """What a way cost. `cpu` is that of the process and of Postgres, in seconds; `peak` in MB, of the process alone.

    `repeats` are the wall seconds of doing the same again in the same process.
    """

    rows: int
    wall: float
    cpu: float
    peak: float
    repeats: tuple[float, ...] = ()


class Clock:
    """Wall and CPU seconds of a block."""

    def __init__(self, postgres_pid: int) -> None:
        self._postgres_pid = postgres_pid
        self.wall = self.cpu = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure the block."""
        cpu, wall = self._cpu(), time.perf_counter()
        yield
        self.wall = time.perf_counter() - wall
        # Postgres counts a session's seconds once it has collected the session's process.
        time.sleep(0.5)
        self.cpu = self._cpu() - cpu

    def _cpu(self) -> float:
        """CPU seconds so far of this process, the children it waited for, and every process of Postgres."""
        import psutil

        own = os.times()
        server = psutil.Process(self._postgres_pid)
        spent = server.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        total += spent.user + spent.system + spent.children_user + spent.children_system
        for backend in server.children():
            try:
                times = backend.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total


def peak_mb() -> float:
    """Largest resident size of this process so far."""
    try:
        # Unlike ru_maxrss, it does not start at what the parent had when it started us.
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) / 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024


def select(task: Task, table: SourceTable = ORDERS) -> str:
    """The declared columns of the table, as they are."""
    return f"select {', '.join(quoted(c.name) for c in table.columns)} from {quoted(task.schema)}.{quoted(table.name)}"


def limit(task: Task) -> Cost:
    """Postgres hands the rows over in its own binary format, and nobody looks at them."""
    from psycopg.conninfo import conninfo_to_dict

    from shopstream_assets.embedded.postgres import binaries

    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    login = conninfo_to_dict(os.environ["SHOPSTREAM_POSTGRES_DSN"])
    env = {**os.environ, **{variable: str(login[name]) for name, variable in names.items()}}
    copy = f"copy ({select(task)}) to stdout (format binary)"
    clock = Clock(task.postgres_pid)
    with clock.running():
        command = [str(binaries() / "psql"), "--no-psqlrc", "--quiet", "--command", copy]
        subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
    return Cost(_count(task), clock.wall, clock.cpu, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)


def _count(task: Task) -> int:
    import psycopg

    with psycopg.connect(os.environ["SHOPSTREAM_POSTGRES_DSN"]) as connection:
        (rows,) = connection.execute(f"select count(*) from ({select(task)}) as t").fetchone() or (0,)  # type: ignore[arg-type]
        return int(rows)


def ours(task: Task) -> Cost:
    """What the lake asset does: one snapshot, one ordered scan, Parquet objects per day, manifests."""
    import adbc_driver_postgresql.dbapi  # noqa: F401
    import boto3  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from shopstream_assets.platform.declare.partitions import Window
    from shopstream_assets.platform.lake.extraction import extract_to_lake
    from shopstream_assets.platform.lake.object_store import ObjectStoreResource
    from shopstream_assets.platform.sources.postgres.resource import PostgresResource

    source = PostgresResource(dsn=os.environ["SHOPSTREAM_POSTGRES_DSN"], schema_name=task.schema)
    store = ObjectStoreResource(bucket=task.bucket)
    window = Window(task.first, task.end)
    clock = Clock(task.postgres_pid)
    with clock.running():
        _, manifests = extract_to_lake(source, store, ORDERS, window)
    peak, repeats = peak_mb(), []
    # A day is what a schedule asks for again and again.
    for _ in range(INCREMENTS if (task.end - task.first).days == 1 else 0):
        started = time.perf_counter()
        extract_to_lake(source, store, ORDERS, window)
        repeats.append(time.perf_counter() - started)
    return Cost(sum(m.rows for m in manifests.values()), clock.wall, clock.cpu, peak, tuple(repeats))


def pandas(task: Task) -> Cost:
    """The script that everybody writes first."""
    import boto3
    import pandas as pd
    import sqlalchemy

    engine = sqlalchemy.create_engine(_sqlalchemy_url())
    client = boto3.client("s3")
    clock = Clock(task.postgres_pid)
    with clock.running():
        frame = pd.read_sql(sqlalchemy.text(select(task)), engine.connect())
        client.put_object(Bucket=task.bucket, Key="orders.csv", Body=frame.to_csv(index=False).encode())
    return Cost(len(frame), clock.wall, clock.cpu, peak_mb())


def dlt_connectorx(task: Task) -> Cost:
    """Its fastest backend, streaming as its documentation recommends for tables larger than memory."""
    return _dlt(task, "connectorx", {"return_type": "arrow_stream"})


def dlt_pyarrow(task: Task) -> Cost:
    """Its Arrow backend over SQLAlchemy, which needs no further package."""
    return _dlt(task, "pyarrow", {})


def dlt_default(task: Task) -> Cost:
    """The backend that it takes when none is named: rows through SQLAlchemy."""
    return _dlt(task, "sqlalchemy", {})


def _dlt(task: Task, backend: str, options: Mapping[str, str]) -> Cost:
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "CRITICAL"
    import dlt
    import s3fs  # noqa: F401
    from dlt.destinations import filesystem
    from dlt.sources.sql_database import sql_table

    if backend == "connectorx":
        import connectorx  # noqa: F401

    credentials = {
        "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "region_name": os.environ["AWS_DEFAULT_REGION"],
        "endpoint_url": os.environ["AWS_ENDPOINT_URL"],
    }
    clock = Clock(task.postgres_pid)
    with tempfile.TemporaryDirectory() as folder, clock.running():
        pipeline = dlt.pipeline(
            "bench",
            pipelines_dir=folder,
            destination=filesystem(f"s3://{task.bucket}", credentials=credentials),
            dataset_name="lake",
        )
        table = sql_table(
            credentials=_sqlalchemy_url(),
            schema=task.schema,
            table=ORDERS.name,
            backend=backend,  # type: ignore[arg-type]
            chunk_size=100_000,
            reflection_level="full_with_precision",
            backend_kwargs=dict(options),
        )
        pipeline.run(table, loader_file_format="parquet", write_disposition="replace").raise_on_failed_jobs()
        rows = pipeline.last_trace.last_normalize_info.row_counts[ORDERS.name]
    return Cost(rows, clock.wall, clock.cpu, peak_mb())


def _sqlalchemy_url() -> str:
    return os.environ["SHOPSTREAM_POSTGRES_DSN"].replace("postgresql://", "postgresql+psycopg2://", 1)


@dataclass(frozen=True)
class Way:
    """A way as the table names it; `needs` are the modules without which it is left out."""

    title: str
    run: Callable[[Task], Cost]
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> Sequence[str]:
        """Those of its modules that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


WAYS: Mapping[str, Way] = {
    "limit": Way("the limit: COPY … (FORMAT BINARY), thrown away", limit),
    "ours": Way("ShopStream: Postgres → Arrow → Parquet by day, manifests", ours),
    "dlt": Way("dlt 1.31, connectorx, Parquet", dlt_connectorx, ("dlt", "s3fs", "connectorx")),
    "dlt-pyarrow": Way("dlt 1.31, pyarrow, Parquet", dlt_pyarrow, ("dlt", "s3fs")),
    "dlt-default": Way("dlt 1.31, as it comes, Parquet", dlt_default, ("dlt", "s3fs")),
    "pandas": Way("pandas.read_sql, to_csv, put_object", pandas),
}


if __name__ == "__main__":
    name, task = sys.argv[1:]
    print(json.dumps(dataclasses.asdict(WAYS[name].run(Task.read(task)))))
