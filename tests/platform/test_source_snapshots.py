"""An extraction that begins while its table is being truncated or rewritten sees it before or after, never empty."""

import datetime as dt
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString, cast

import psycopg
import pytest
from bad_input import DAY, FIRST, LINES, NOON, Spoiled

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.errors import LayerError, ServiceError
from shopstream_assets.platform.sources.postgres import kept_connection, resource, snapshot
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.sources.postgres.session import Limits

ROWS = 6000
FILL = f"insert into {{t}} (id, note, updated_at) select n, 'new', '{NOON}' from generate_series(1, {ROWS}) n"
REWRITES = {
    "truncated and loaded again": ("truncate {t}", FILL),
    "a type changed": ("alter table {t} alter quantity type bigint",),
}


@pytest.fixture
def lines(services: Services) -> Spoiled:
    return Spoiled(services, LINES).create().run(FILL.replace("'new'", "'old'"))


@contextmanager
def open_transaction(lines: Spoiled, *statements: str) -> Iterator[psycopg.Connection]:
    """The statements in a transaction of another session, which the block may commit."""
    with psycopg.connect(lines.services.source.dsn) as connection:
        for statement in statements:
            connection.execute(cast(LiteralString, statement.replace("{t}", lines.relation)))
        yield connection


def waits(lines: Spoiled, pid: int, seconds: float = 20) -> bool:
    """Whether a session comes to wait for the one with that process id."""
    with psycopg.connect(lines.services.source.dsn, autocommit=True) as connection:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = connection.execute(
                "select 1 from pg_stat_activity where %s = any(pg_blocking_pids(pid))", (pid,)
            ).fetchone()
            if found:
                return True
            time.sleep(0.02)
    return False


def extracted_during(lines: Spoiled, *statements: str) -> tuple[int, int]:
    """(rows in the source's count, rows in the lake) of an extraction that began while the transaction was open."""
    found: list[tuple[int, int]] = []

    def extract() -> None:
        manifest = lines.extract()[FIRST]
        found.append((manifest.source_rows, manifest.rows))

    with open_transaction(lines, *statements) as other:
        thread = threading.Thread(target=extract)
        thread.start()
        assert waits(lines, other.info.backend_pid)
        other.commit()
        thread.join(30)
    assert found, "the extraction did not end"
    return found[0]


@pytest.mark.parametrize("statements", REWRITES.values(), ids=REWRITES.keys())
def test_a_table_that_is_being_rewritten_is_read_whole(lines: Spoiled, statements: tuple[str, ...]) -> None:
    assert extracted_during(lines, *statements) == (ROWS, ROWS)


def test_a_partitioned_table_of_which_a_leaf_is_being_truncated_is_read_whole(services: Services) -> None:
    lines = Spoiled(services, LINES)
    leaf = f'"{services.source.schema_name}".leaf'
    lines.create(plain=True).run(
        "alter table {t} rename to plain",
        f'create table {{t}} (like "{services.source.schema_name}".plain) partition by range (updated_at)',
        f"create table {leaf} partition of {{t}} for values from ('2026-01-01') to ('2027-01-01')",
        FILL,
    )
    assert extracted_during(lines, f"truncate {leaf}", FILL) == (ROWS, ROWS)


def reader_of(lines: Spoiled, *grants: str) -> Iterator[Spoiled]:
    """The table as a role sees it that has these grants only."""
    schema = lines.services.source.schema_name
    role = f"reader_{schema[5:]}"
    lines.run(f"create role {role} login password 'p'", f'grant usage on schema "{schema}" to {role}')
    lines.run(*(grant.replace("{role}", role) for grant in grants))
    base = lines.services.source.dsn.rpartition("@")[2]
    try:
        yield lines.by(source=PostgresResource(dsn=f"postgresql://{role}:p@{base}", schema_name=schema))
    finally:
        lines.run(f"drop owned by {role}", f"drop role {role}")


@pytest.fixture
def narrow(lines: Spoiled) -> Iterator[Spoiled]:
    """A reader of columns: LOCK refuses it."""
    columns = ", ".join(column.name for column in LINES.columns)
    yield from reader_of(lines, f"grant select ({columns}) on {{t}} to {{role}}")


def test_a_role_that_may_not_lock_the_table_notices_the_rewriting_and_begins_again(
    lines: Spoiled, narrow: Spoiled
) -> None:
    found = []
    with open_transaction(lines, "truncate {t}", FILL) as other:
        thread = threading.Thread(target=lambda: found.append(narrow.extract()[FIRST]))
        thread.start()
        assert waits(lines, other.info.backend_pid)
        other.commit()
        thread.join(30)
    assert [(manifest.source_rows, manifest.rows) for manifest in found] == [(ROWS, ROWS)]


def test_a_view_over_a_table_that_is_being_rewritten_is_read_whole(lines: Spoiled) -> None:
    lines.run("alter table {t} rename to base", f"create view {{t}} as select * from {lines.relation[:-7]}base")
    base = f"{lines.relation[:-7]}base"
    assert extracted_during(lines, f"truncate {base}", FILL.replace("{t}", base)) == (ROWS, ROWS)


def test_a_materialized_view_that_is_being_refreshed_is_read_whole(lines: Spoiled) -> None:
    base = f"{lines.relation[:-7]}base"
    lines.run("alter table {t} rename to base", f"create materialized view {{t}} as select * from {base}")
    found = []
    with open_transaction(lines, "refresh materialized view {t}") as other:
        thread = threading.Thread(target=lambda: found.append(lines.extract()[FIRST].rows))
        thread.start()
        assert waits(lines, other.info.backend_pid)
        other.commit()
        thread.join(30)
    assert found == [ROWS]


def test_a_table_that_is_rewritten_at_every_attempt_is_told_and_may_be_tried_again(
    lines: Spoiled, narrow: Spoiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch = snapshot._touch

    def truncate_between(connection: object, schema: str, name: str) -> None:
        # After the snapshot was taken, before the table is locked: what the open transaction does at its commit.
        snapshot.execute(connection, "select 1")  # type: ignore[arg-type]
        lines.run("truncate {t}", FILL)
        touch(connection, schema, name)  # type: ignore[arg-type]

    monkeypatch.setattr(snapshot, "_touch", truncate_between)
    with pytest.raises(LayerError) as caught:
        narrow.extract()
    assert f"lines of schema {lines.services.source.schema_name} was written anew" in str(caught.value)
    assert "5 times in a row" in str(caught.value)
    assert caught.value.allow_retries


def test_a_table_that_stays_locked_is_given_up_and_the_message_names_table_limit_and_holder(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch
) -> None:

    impatient = Limits(statement=dt.timedelta(minutes=1), lock=dt.timedelta(milliseconds=300))
    monkeypatch.setattr(resource, "READING", impatient)
    with open_transaction(lines, "lock table {t} in access exclusive mode") as other:
        with pytest.raises(LayerError) as caught:
            lines.extract()
        pid = other.info.backend_pid
    schema = lines.services.source.schema_name
    assert f"table {schema}.lines: another session holds a lock that keeps readers out" in str(caught.value)
    assert "lock_timeout ended the wait" in str(caught.value)
    assert f"(process {pid} of Postgres)" in str(caught.value)
    assert caught.value.allow_retries


def test_a_look_gives_a_locked_table_up_sooner_and_names_it(lines: Spoiled, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = Limits(statement=dt.timedelta(minutes=1), lock=dt.timedelta(milliseconds=300))
    monkeypatch.setattr(kept_connection, "LOOKING", impatient)
    monkeypatch.setattr(kept_connection, "_idle", {})
    source = lines.services.source
    with open_transaction(lines, "lock table {t} in access exclusive mode"):
        with pytest.raises(ServiceError, match="lock_timeout ended the wait, reading ") as caught:  # noqa: SIM117
            with source.looking() as read:
                read.fingerprints(LINES, DAY)
        assert lines.relation in str(caught.value)
    with source.looking() as read:
        assert read.fingerprints(LINES, DAY)[FIRST].rows == ROWS
    assert kept_connection._idle.keys() == {source.dsn}


def test_what_an_extraction_locks_stops_nobody_from_writing(lines: Spoiled) -> None:
    with lines.services.source.snapshot(tables=[LINES]) as read, read.connection.cursor() as cursor:
        lines.run("set lock_timeout = '2s'; update {t} set note = 'later'; delete from {t} where id > 10")
        cursor.execute(f"select count(*), min(note) from {lines.relation}")
        assert cursor.fetchone() == (ROWS, "old")
