"""The source is read from a hot standby: one that follows a primary of the tests' own by streaming replication."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
import pytest
from bad_input import FIRST, LINES, Spoiled

from shopstream_assets.cli.summary import Services
from shopstream_assets.embedded.postgres import binaries
from shopstream_assets.embedded.process import free_ports
from shopstream_assets.platform.errors import LayerError
from shopstream_assets.platform.sources.postgres.reader import PostgresReader
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.sources.snapshot import Snapshot

SECONDS = 30
FILL = "insert into {t} (id, note, updated_at) select n, 'old', '2026-03-01 12:00+00' from generate_series(1, 3000) n"


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server in `folder`, of an account that is not root's, which it refuses."""

    folder: Path
    port: int

    @property
    def dsn(self) -> str:
        return f"postgresql://shop@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *options: str) -> None:
        """A program of PostgreSQL's, as its account."""
        account: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        # pg_ctl leaves the server its output, which nobody would read: a log file instead of a pipe.
        log = self.folder.with_suffix(".console")
        with log.open("ab") as console:
            done = subprocess.run(
                [binaries() / program, *options],
                env={"LC_ALL": "C", "TZ": "UTC"},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                timeout=60,
                **account,
            )
        assert done.returncode == 0, f"{program}: {log.read_text()[-2000:]}"

    def start(self, **settings: str) -> None:
        ours = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": "", **settings}
        options = " ".join(f"-c {name}='{value}'" for name, value in ours.items())
        log = str(self.folder.with_suffix(".log"))
        self.run("pg_ctl", "start", "--wait", "-D", str(self.folder), "-l", log, "-o", options)

    def stop(self) -> None:
        self.run("pg_ctl", "stop", "--mode=immediate", "-D", str(self.folder))

    def value(self, sql: LiteralString) -> Any:
        """The first column of the first row."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            row = connection.execute(sql).fetchone()
            assert row is not None
            return row[0]


@dataclass(frozen=True)
class Pair:
    """A primary with the table, the standby that follows it, and the table as either has it."""

    primary: Server
    standby: Server
    on_primary: Spoiled
    on_standby: Spoiled

    def catch_up(self) -> None:
        """Wait until the standby has replayed all that the primary has logged."""
        # What vacuum logs is flushed with the next transaction that commits.
        self.primary.value("select pg_logical_emit_message(true, 'tests', 'flush')::text")
        wanted = self.primary.value("select pg_current_wal_flush_lsn()::text")
        until = time.monotonic() + SECONDS
        with psycopg.connect(self.standby.dsn, autocommit=True) as connection:
            while connection.execute("select pg_last_wal_replay_lsn() < %s::text::pg_lsn", (wanted,)).fetchone() == (
                True,
            ):
                assert time.monotonic() < until, "the standby does not catch up"
                time.sleep(0.02)

    def notes(self) -> set[object]:
        """What staging says of the notes, once the lake's day is loaded."""
        self.on_standby.load()
        return {note for (note,) in self.on_standby.staged("note")}


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    # pytest's own folders are closed to the account that the servers run as.
    folder = Path(tempfile.mkdtemp(prefix="replica-"))
    primary, standby = (Server(folder / name, port) for name, port in zip(("a", "b"), free_ports(2), strict=True))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    started: list[Server] = []
    try:
        primary.run(
            "initdb", "-D", str(primary.folder), "--username=shop", "--auth=trust", "--encoding=UTF8", "--no-sync"
        )
        primary.start(fsync="off")
        started.append(primary)
        copied_from = f"host=127.0.0.1 port={primary.port} user=shop"
        options = ("-d", copied_from, "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        standby.run("pg_basebackup", "-D", str(standby.folder), *options)
        # Whoever reads here may hold up the replay for no time at all.
        standby.start(fsync="off", max_standby_streaming_delay="0", hot_standby_feedback="off")
        started.append(standby)
        yield primary, standby
    finally:
        for server in started:
            server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def pair(servers: tuple[Server, Server], services: Services) -> Pair:
    primary, standby = servers
    schema = services.source.schema_name
    on_primary, on_standby = (
        Spoiled(services, LINES).by(source=PostgresResource(dsn=server.dsn, schema_name=schema)) for server in servers
    )
    on_primary.run(f'create schema "{schema}"').create().run(FILL)
    pair = Pair(primary, standby, on_primary, on_standby)
    pair.catch_up()
    return pair


def test_what_the_replica_has_is_extracted_and_the_primary_goes_on_from_there(pair: Pair) -> None:
    assert pair.on_standby.extract()[FIRST].rows == 3000
    pair.on_primary.run("update {t} set note = 'new'", "delete from {t} where id = 1")
    assert pair.on_primary.extract()[FIRST].rows == 2999
    pair.catch_up()
    assert pair.on_standby.extract()[FIRST].rows == 2999
    assert pair.notes() == {"new"}


def test_a_replica_that_lags_behind_the_lake_is_waited_for_and_its_old_rows_are_not_taken(pair: Pair) -> None:
    pair.standby.value("select pg_wal_replay_pause()::text")
    try:
        pair.on_primary.run("update {t} set note = 'new'", "delete from {t} where id = 1")
        pair.on_primary.extract()
        published = pair.on_primary.manifest_bytes()

        with pytest.raises(LayerError, match="a replica that lags behind what the lake has already seen") as failed:
            pair.on_standby.extract()
        assert "wait until it has caught up; it is tried again" in str(failed.value)
        assert failed.value.allow_retries
        assert pair.on_primary.manifest_bytes() == published
    finally:
        pair.standby.value("select pg_wal_replay_resume()::text")
    pair.catch_up()
    assert pair.on_standby.extract()[FIRST].rows == 2999
    assert pair.notes() == {"new"}


def test_an_extraction_that_the_replica_ends_for_its_replay_is_tried_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, times = PostgresReader.moment, []

    def then_the_primary_cleans_up(reader: PostgresReader) -> Snapshot:
        found = real(reader)
        times.append(found)
        if len(times) == 1:
            # Rows that the snapshot sees are removed for good, which the replay cannot wait for.
            pair.on_primary.run("delete from {t} where id <= 1500", "vacuum {t}")
            pair.catch_up()
        return found

    monkeypatch.setattr(PostgresReader, "moment", then_the_primary_cleans_up)
    with pytest.raises(LayerError, match="conflict with recovery") as failed:
        pair.on_standby.extract()
    assert "hot_standby_feedback = on" in str(failed.value)
    assert failed.value.allow_retries
    assert pair.on_standby.extract()[FIRST].rows == 1500
    assert len(times) == 2


def test_the_change_sensor_sees_what_a_replica_replayed_though_that_counts_no_rows(pair: Pair) -> None:
    def probed() -> str:
        with pair.on_standby.services.source.snapshot() as reader:
            return reader.probe(LINES)

    before = probed()
    assert probed() == before
    pair.on_primary.run("update {t} set note = 'new' where id = 7")
    pair.catch_up()
    assert probed() != before
    assert cast(bool, pair.standby.value("select pg_is_in_recovery()"))
    assert pair.on_standby.extract()[FIRST].rows == 3000
