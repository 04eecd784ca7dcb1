"""The local server's process: what it keeps, who may log in, where it listens. No part of the contract."""

import json
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
import snowflake.connector
from contract_account import Account, local_account, local_settings, query
from local_account import LocalSnowflake, ObjectStorage
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import DatabaseError, Error

Connect = Callable[..., SnowflakeConnection]

COPY = "copy into orders from @lake/ file_format = (type = parquet) match_by_column_name = case_insensitive"


@pytest.fixture
def lake(crashable: LocalSnowflake, object_storage: ObjectStorage) -> Iterator[Account]:
    """A stage with one file of three rows, and a table that has it loaded."""
    account = local_account(crashable, object_storage)
    account.put("crash/a.parquet", pa.table({"id": [1, 2, 3]}))
    with account.connect() as connection:
        for statement in (
            "create or replace schema raw",
            "create stage lake url = 's3://contract/crash/' storage_integration = contract",
            "create file format parquet_files type = parquet",
            "create table orders (id number(38,0), _loaded_at timestamp_ntz default sysdate())",
            "create view ids as select id, 1 / id as inverse, date_trunc('day', _loaded_at) as day from orders",
            "comment on table orders is 'kept'",
            COPY,
        ):
            connection.cursor().execute(statement)
    yield account
    account.close_all()


def ask(account: Account, sql: str) -> list[Any]:
    with account.connect(schema="RAW") as connection:
        return query(connection, sql)


def test_everything_committed_survives_kill_9(crashable: LocalSnowflake, lake: Account) -> None:
    crashable.kill()
    crashable.start()
    assert ask(lake, "select count(*) from orders") == [(3,)]
    assert ask(lake, "select count(*) from ids") == [(3,)]
    assert ask(lake, COPY) == [("Copy executed with 0 files processed.",)]
    assert [row[1] for row in ask(lake, "show stages")] == ["LAKE"]
    assert [row[1] for row in ask(lake, "show file formats")] == ["PARQUET_FILES"]
    assert [row[5] for row in ask(lake, "show tables")] == ["kept"]


def test_delete_and_copy_are_rolled_back_by_kill_9(crashable: LocalSnowflake, lake: Account) -> None:
    before = ask(lake, "select * from orders order by id")
    cursor = lake.connect(schema="RAW").cursor()
    cursor.execute("begin")
    cursor.execute("delete from orders")
    cursor.execute(f"{COPY} force = true")
    crashable.kill()
    crashable.start()
    assert ask(lake, "select * from orders order by id") == before
    assert ask(lake, COPY) == [("Copy executed with 0 files processed.",)]


def test_sigterm_stops_cleanly_and_leaves_no_log_to_replay(crashable: LocalSnowflake, lake: Account) -> None:
    cursor = lake.connect(schema="RAW").cursor()
    cursor.execute("begin")
    cursor.execute("delete from orders")
    code, logs = crashable.kill(signal.SIGTERM), list((crashable.directory / "state").rglob("*.wal"))
    crashable.start()
    assert (code, logs) == (0, [])
    assert ask(lake, "select count(*) from orders") == [(3,)]


def test_a_session_of_before_the_restart_is_told_to_log_in_again(crashable: LocalSnowflake, lake: Account) -> None:
    cursor = lake.connect(schema="RAW").cursor()
    crashable.kill()
    crashable.start()
    with pytest.raises(DatabaseError, match=r"(?i)session no longer exists"):
        cursor.execute("select 1")


def test_odd_database_names_are_files_of_their_own(crashable: LocalSnowflake) -> None:
    name = """it's "odd"/../name"""
    quoted = '"' + name.replace('"', '""') + '"'
    with snowflake.connector.connect(**local_settings(crashable)) as connection:
        connection.cursor().execute(f"create database {quoted}")
        connection.cursor().execute(f"create table {quoted}.public.t as select 1 as a")
    crashable.kill()
    crashable.start()
    with snowflake.connector.connect(**local_settings(crashable), database=quoted) as connection:
        cursor = connection.cursor()
        cursor.execute("select current_database(), a from public.t")
        assert cursor.fetchall() == [(name, 1)]
        cursor.execute(f"drop database {quoted}")
        cursor.execute("show databases like '%odd%'")
        assert cursor.fetchall() == []
    assert "odd" not in str(list((crashable.directory / "state" / "databases").iterdir()))


@pytest.mark.parametrize("login", [{"password": "wrong"}, {"password": ""}, {"user": "tester", "password": "wrong"}])
def test_a_wrong_password_is_refused(crashable: LocalSnowflake, login: dict[str, str]) -> None:
    with pytest.raises(Error, match=r"(?i)incorrect username or password|password is empty"):
        snowflake.connector.connect(**(local_settings(crashable) | login))


def test_the_identity_tells_process_and_token(crashable: LocalSnowflake) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{crashable.port}/shopstream/identity") as answer:
        found = json.load(answer)
    assert (found["service"], found["pid"]) == ("snowflake", crashable.pid)
    assert set(found) == {"service", "pid", "token_sha256"}


def test_it_listens_on_the_loopback_address_only(crashable: LocalSnowflake) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; only picks this machine's outward address
        address = probe.getsockname()[0]
    with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
        socket.create_connection((address, crashable.port), timeout=2)


def test_a_second_server_on_the_same_state_refuses_to_start(crashable: LocalSnowflake) -> None:
    second = subprocess.run(
        crashable.command(port=crashable.port + 1),
        env=crashable.environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 3
    assert "in use by another process" in second.stderr
    assert crashable.identity() is not None
