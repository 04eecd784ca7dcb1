"""Stopping what another session runs: from another session, by the connector, and when the client is killed."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from contract_account import Account, Run, query
from local_account import wait_until
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import Error, ProgrammingError

Connect = Callable[..., SnowflakeConnection]

WITHIN = 5.0
SLOW = (
    "insert into t select count(*), 0 "
    "from table(generator(rowcount => 3000000)) a, table(generator(rowcount => 3000000)) b"
)
TAG = "victim"


class Victim:
    """A session in the middle of a statement that would take hours."""

    def __init__(
        self, connection: SnowflakeConnection, run: Run, pool: ThreadPoolExecutor, begin: bool = False
    ) -> None:
        self.connection, self._run = connection, run
        query(connection, f"alter session set query_tag = '{TAG}'")
        if begin:
            query(connection, "begin")
            query(connection, "insert into t values (3, 0)")
        self.statement: Future[Any] = pool.submit(query, connection, SLOW)
        wait_until(lambda: bool(self.queries()), "the statement runs", WITHIN)

    def queries(self) -> list[str]:
        found = self._run(
            "select query_id from table(information_schema.query_history_by_user()) "
            f"where query_tag = '{TAG}' and execution_status = 'RUNNING' and query_text like 'insert%'"
        )
        return [name for (name,) in found]

    def is_cancelled(self) -> bool:
        """Wait for the statement's end; whether the client is told that it was cancelled."""
        failure = self.statement.exception(timeout=WITHIN)
        return isinstance(failure, ProgrammingError) and failure.errno == 604


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture
def table(run: Run) -> str:
    run("create table t (id number(38,0), v number(38,0))")
    run("insert into t values (1, 0), (2, 0)")
    return "t"


@pytest.fixture
def victim(table: str, run: Run, connect: Connect, pool: ThreadPoolExecutor) -> Victim:
    return Victim(connect(), run, pool)


def rows(run: Run) -> int:
    return int(run("select count(*) from t")[0][0])


def test_a_session_s_queries_are_cancelled_from_another_session(victim: Victim, run: Run) -> None:
    """What dbt-snowflake asks for each of its connections when it is interrupted."""
    run(f"select system$cancel_all_queries({victim.connection.session_id})")

    assert victim.is_cancelled()
    assert rows(run) == 2
    assert query(victim.connection, "select 1") == [(1,)]


def test_a_query_is_cancelled_by_its_id(victim: Victim, run: Run) -> None:
    (query_id,) = victim.queries()

    run(f"select system$cancel_query('{query_id}')")

    assert victim.is_cancelled()
    assert (rows(run), victim.queries()) == (2, [])


def test_the_connector_aborts_a_query_by_its_id(victim: Victim, run: Run, connect: Connect) -> None:
    (query_id,) = victim.queries()

    assert connect().cursor().abort_query(query_id)

    assert victim.is_cancelled()
    assert rows(run) == 2


def test_nothing_of_a_transaction_with_a_cancelled_statement_is_committed_by_itself(
    table: str, run: Run, connect: Connect, pool: ThreadPoolExecutor
) -> None:
    victim = Victim(connect(), run, pool, begin=True)

    run(f"select system$cancel_all_queries({victim.connection.session_id})")

    assert victim.is_cancelled()
    query(victim.connection, "rollback")
    run("update t set v = 7")
    assert run("select count(*), min(v) from t") == [(2, 7)]


def test_a_statement_that_waits_for_a_lock_is_cancelled(
    table: str, run: Run, connect: Connect, pool: ThreadPoolExecutor
) -> None:
    holder, waiting = connect(), connect()
    query(holder, "begin")
    query(holder, "delete from t")
    blocked = pool.submit(query, waiting, "update t set v = 1")
    history = "select 1 from table(information_schema.query_history_by_user()) where query_text like 'update t%'"
    wait_until(lambda: bool(run(history)), "the statement waits", WITHIN)

    run(f"select system$cancel_all_queries({waiting.session_id})")

    failure = blocked.exception(timeout=WITHIN)
    assert isinstance(failure, ProgrammingError)
    assert failure.errno == 604
    query(holder, "rollback")
    assert run("select count(*), max(v) from t") == [(2, 0)]


def test_closing_a_session_stops_its_statement(
    local_only: None, table: str, run: Run, connect: Connect, pool: ThreadPoolExecutor
) -> None:
    victim = Victim(connect(), run, pool)

    victim.connection.close()

    wait_until(lambda: not victim.queries(), "the statement ends", WITHIN)
    run("update t set v = 7")
    assert run("select count(*), min(v) from t") == [(2, 7)]


def test_aborting_a_session_ends_its_statement_and_the_session(victim: Victim, run: Run) -> None:
    run(f"select system$abort_session({victim.connection.session_id})")

    assert isinstance(victim.statement.exception(timeout=WITHIN), Error)
    assert (rows(run), victim.queries()) == (2, [])
    with pytest.raises(Error):
        query(victim.connection, "select 1")


def test_a_session_that_is_not_there_cannot_be_cancelled(run: Run) -> None:
    with pytest.raises(ProgrammingError, match="does not exist"):
        run("select system$cancel_all_queries(123456789)")


CLIENT = """
import sys, json, snowflake.connector
settings = json.loads(sys.argv[1])
connection = snowflake.connector.connect(**settings)
for statement in json.loads(sys.argv[2]):
    connection.cursor().execute(statement)
"""


@pytest.mark.parametrize("begin", [False, True], ids=["by_itself", "in_a_transaction"])
def test_the_statement_of_a_killed_client_stops_within_seconds(
    local_only: None, table: str, account: Account, schema: str, run: Run, begin: bool
) -> None:
    """A real kill -9: nothing goes on writing for it, and what it held is free."""
    import json

    settings = account.settings | {"database": account.database, "schema": schema}
    statements = [f"alter session set query_tag = '{TAG}'", *(["begin", "delete from t"] if begin else []), SLOW]
    command = [sys.executable, "-c", CLIENT, json.dumps(settings), json.dumps(statements)]
    client = subprocess.Popen(command, env=os.environ)
    running = (
        "select 1 from table(information_schema.query_history_by_user()) "
        f"where query_tag = '{TAG}' and query_text like 'insert%'"
    )
    try:
        wait_until(lambda: bool(run(running)), "the client's statement runs", 30)
    finally:
        client.kill()
        client.wait()

    wait_until(lambda: not run(running), "its statement has ended", WITHIN)
    run("update t set v = 7")
    assert run("select count(*), min(v) from t") == [(2, 7)]
