"""A source table to spoil, and what became of its rows: the same few words for every test of bad input."""

from __future__ import annotations

import datetime as dt
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, LiteralString, cast

import dagster as dg
import psycopg
import pytest
from dagster_process import wait_for

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window, daily
from shopstream_assets.platform.declare.tables import (
    BIGINT,
    DATE,
    INTEGER,
    MONEY,
    TEXT,
    TIMESTAMP,
    Column,
    RowRule,
    SourceTable,
    postgres_ddl,
    quoted,
    snowflake_name,
)
from shopstream_assets.platform.errors import told_from
from shopstream_assets.platform.lake.asset import lake_asset
from shopstream_assets.platform.lake.extraction import extract_to_lake
from shopstream_assets.platform.lake.manifest import Manifest, manifest_key
from shopstream_assets.platform.staging.asset import staging_asset
from shopstream_assets.platform.staging.change_log import staging_relation
from shopstream_assets.platform.staging.loading import load_from_lake

FIRST = dt.date(2026, 3, 1)
DAY = Window(FIRST, FIRST + ONE_DAY)
DAYS = Window(FIRST, FIRST + 3 * ONE_DAY)
NOON = "2026-03-01 12:00+00"

LINES = SourceTable(
    name="lines",
    grain="One row per line.",
    description="Lines of orders.",
    owner="team:sales",
    columns=(
        Column("id", BIGINT, "Key."),
        Column("order_id", BIGINT, "Order.", nullable=True, references="orders.id"),
        Column("quantity", INTEGER, "Units.", nullable=True, minimum=1),
        Column("amount", MONEY, "Amount.", nullable=True),
        Column("status", TEXT, "State.", nullable=True, values=("paid", "it's late")),
        Column("note", TEXT, "Note.", nullable=True),
        Column("due", DATE, "Due.", nullable=True),
        Column("seen_at", TIMESTAMP, "Seen.", nullable=True),
        Column("updated_at", TIMESTAMP, "Cursor."),
    ),
    rules=(RowRule("a gift must be free", "note <> 'gift' or amount = 0", ("note", "amount")),),
)


@dataclass(frozen=True)
class Spoiled:
    """A table of the test's own schema on its way through the layers."""

    services: Services
    table: SourceTable

    @property
    def relation(self) -> str:
        return f"{quoted(self.services.source.schema_name)}.{quoted(self.table.name)}"

    def create(self, *, plain: bool = False) -> Spoiled:
        """The table as declared; `plain` leaves out its constraints and the limits of its numerics."""
        statement = postgres_ddl(self.table, self.services.source.schema_name)[0]
        if plain:
            columns = ", ".join(
                f"{quoted(c.name)} {c.type.name if c.type.name == 'numeric' else c.type.postgres}"
                for c in self.table.columns
            )
            statement = f"create table {self.relation} ({columns})"
        return self.run(statement)

    def run(self, *statements: str) -> Spoiled:
        """Execute in Postgres; {t} is the table. What the server counts is counted when this returns."""
        with psycopg.connect(self.services.source.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(cast(LiteralString, statement.replace("{t}", self.relation)))
            count_now(connection)
        return self

    def insert(self, **values: object) -> Spoiled:
        """One row; what is not given is null, the cursor noon of the first day."""
        row: dict[str, object] = {**({self.table.cursor: NOON} if self.table.cursor else {}), **values}
        with psycopg.connect(self.services.source.dsn, autocommit=True) as connection:
            connection.execute(
                cast(
                    LiteralString,
                    f"insert into {self.relation} ({', '.join(quoted(name).replace('%', '%%') for name in row)}) "
                    f"values ({', '.join(['%s'] * len(row))})",
                ).replace("{t}", self.relation),
                [str(value) if value is not None else None for value in row.values()],
            )
        return self

    def extract(self, window: Window = DAY) -> dict[dt.date, Manifest]:
        """As the lake asset does it."""
        with told_from("lake", self.table.name, window, "extracting changed rows to the lake"):
            return extract_to_lake(self.services.source, self.services.store, self.table, window)[1]

    def load(self, window: Window = DAY) -> None:
        """As the staging asset does it."""
        with told_from("staging", self.table.name, window, "loading the lake's partitions"):
            load_from_lake(self.services.store, self.services.warehouse, self.table, window)

    def stage(self, window: Window = DAY) -> Manifest:
        """Both; returns the first day's manifest."""
        manifests = self.extract(window)
        self.load(window)
        return manifests[window.first]

    def staged(self, *columns: str) -> list[tuple[Any, ...]]:
        """Those columns of the rows in staging as the newest snapshot saw them, ordered by all of them."""
        names = ", ".join(snowflake_name(name) for name in columns)
        key = ", ".join(snowflake_name(name) for name in self.table.primary_key)
        relation = (
            f"(select *, rank() over (partition by {key} order by _snapshot desc nulls last) as _place "
            f"from {staging_relation(self.services.warehouse.database, self.table)})"
        )
        with self.services.warehouse.connection("REPORTING_WH") as session, session.cursor() as cursor:
            cursor.execute(
                f"select {names} from {relation} "
                "where _place = 1 and not coalesce(_deleted, false) and not coalesce(_quarantined, false)"
            )
            return sorted((tuple(row) for row in cursor.fetchall()), key=repr)

    def quarantined(self, manifest: Manifest) -> list[dict[str, Any]]:
        """The manifest's quarantine: a reason and a row for each line."""
        contents = [self.services.store.get(item.key).decode() for item in manifest.quarantine_objects]
        return [json.loads(line) for content in contents for line in content.split("\n")[:-1]]

    def manifest_key(self, day: dt.date = FIRST) -> str:
        return manifest_key(self.table, day)

    def manifest_bytes(self, day: dt.date = FIRST) -> bytes:
        return self.services.store.get(self.manifest_key(day))

    def materialize(self, layer: Literal["lake", "staging"], window: Window = DAY) -> dg.ExecuteInProcessResult:
        """The real asset of a layer, on its own."""
        make = lake_asset if layer == "lake" else staging_asset
        domain = Domain("shop", (self.table,), simulator=lambda _: pytest.fail("nothing is simulated"))
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize(
                [make(domain, self.table, daily(FIRST))],
                partition_key=str(window.first),
                resources={
                    "source": self.services.source,
                    "store": self.services.store,
                    "warehouse": self.services.warehouse,
                },
                instance=instance,
                raise_on_error=False,
            )

    def by(self, **resources: Any) -> Spoiled:
        """The same table, reached by other connections."""
        return replace(self, services=replace(self.services, **resources))


def told(result: dg.ExecuteInProcessResult) -> str:
    """What a run that failed tells its user."""
    [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data
    return failure.user_failure_data.description or ""


def retried(result: dg.ExecuteInProcessResult) -> bool:
    """Whether Dagster tried the step again."""
    return any(event.is_step_up_for_retry for event in result.all_events)


def count_now(connection: psycopg.Connection) -> None:
    """Have the server's counters hold all that the session has done. Before Postgres 15 that ends the session."""
    if connection.info.server_version >= 150_000:
        connection.execute("select pg_stat_force_next_flush()")
        return
    where, password = connection.info.dsn, connection.info.password
    connection.close()
    with psycopg.connect(where, password=password, autocommit=True) as other:
        ended = other.execute("select clock_timestamp()").fetchone()
        # The collector writes down what it was told, at the latest when it is asked the next time but one.
        newer = "select pg_stat_get_snapshot_timestamp() > %s"
        wait_for(lambda: (other.execute(newer, ended).fetchone() or [False])[0], "the server's counters", 10)


class Proxy:
    """A TCP proxy on 127.0.0.1 that forwards until it is told to stall or to cut."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        self._flowing = threading.Event()
        self._flowing.set()
        self._bytes_until_cut: int | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def stall(self) -> None:
        """Keep every connection open, and forward nothing any more."""
        self._flowing.clear()

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        for item in self._sockets:
            with suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()
        self._flowing.set()

    def cut_after(self, answered: int) -> None:
        """Cut once this many more bytes of answers have passed."""
        self._bytes_until_cut = answered

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                self._sockets += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        answers = source.getpeername()[1] == self.target
        with suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
                if answers and self._bytes_until_cut is not None:
                    self._bytes_until_cut -= len(data)
                    if self._bytes_until_cut <= 0:
                        self.cut()
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A proxy before a port of 127.0.0.1, while the block lasts."""
    running = Proxy(target)
    try:
        yield running
    finally:
        running.cut()
