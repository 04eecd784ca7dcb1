import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import snowflake.connector
from contract_account import Account, Run, local_settings, query
from local_account import LocalSnowflake, wait_until
from snowflake.connector import SnowflakeConnection
from snowflake.connector.cursor import SnowflakeCursor
from snowflake.connector.errors import Error, ProgrammingError

Connect = Callable[..., SnowflakeConnection]


@pytest.fixture
def table(run: Run) -> str:
    run("create table t (id number(38,0), v number(38,0))")
    run("insert into t values (1, 0), (2, 0)")
    return "t"


def count(run: Run, table: str = "t") -> int:
    return int(run(f"select count(*) from {table}")[0][0])


def test_rollback_undoes_everything_since_begin(table: str, run: Run) -> None:
    run("begin")
    run("delete from t")
    run("insert into t values (9, 9)")
    run("rollback")
    assert run("select sum(id) from t") == [(3,)]


def test_commit_and_rollback_without_a_transaction_do_nothing(run: Run) -> None:
    run("commit")
    run("rollback")


def test_ddl_commits_the_open_transaction(table: str, run: Run) -> None:
    run("begin")
    run("insert into t values (3, 0)")
    run("create table other (id number)")
    run("rollback")
    assert count(run) == 3


def test_others_see_changes_at_commit(table: str, run: Run, connect: Connect) -> None:
    writer = connect().cursor()
    writer.execute("begin")
    writer.execute("insert into t values (3, 0)")
    assert count(run) == 2
    writer.execute("commit")
    assert count(run) == 3


def test_a_transaction_reads_what_others_committed_before_its_first_write(
    table: str, run: Run, connect: Connect
) -> None:
    run("begin")
    assert count(run) == 2
    connect().cursor().execute("update t set v = 5 where id = 1")
    run("update t set v = v + 1 where id = 1")
    run("commit")
    assert run("select v from t where id = 1") == [(6,)]


def test_closing_a_connection_rolls_back(table: str, run: Run, connect: Connect) -> None:
    gone = connect()
    gone.cursor().execute("begin")
    gone.cursor().execute("delete from t")
    gone.close()
    run("update t set v = 1")  # would wait for the lock
    assert count(run) == 2


def test_autocommit_off_keeps_changes_until_commit(table: str, run: Run, connect: Connect) -> None:
    manual = connect(autocommit=False)
    manual.cursor().execute("insert into t values (3, 0)")
    assert count(run) == 2
    manual.commit()
    assert count(run) == 3
    manual.cursor().execute("delete from t")
    manual.rollback()
    assert count(run) == 3


def test_a_failed_statement_never_leads_to_half_a_commit(account: Account, table: str, run: Run) -> None:
    """Snowflake keeps the statements before the failed one; the local one refuses to commit. Neither commits half."""
    run("begin")
    run("insert into t values (3, 0)")
    with pytest.raises(Error):
        run("insert into t select 'abc'::number, 0")
    if account.is_local:
        with pytest.raises(ProgrammingError, match="rolled back"):
            run("commit")
    run("rollback")
    assert count(run) == 2


def test_a_failed_first_statement_leaves_the_transaction_usable(table: str, run: Run) -> None:
    run("begin")
    with pytest.raises(Error):
        run("select * from nowhere")
    run("insert into t values (3, 0)")
    run("commit")
    assert count(run) == 3


def test_a_write_never_passes_over_a_row_that_another_had_committed(
    account: Account, table: str, run: Run, connect: Connect
) -> None:
    """On Snowflake each statement sees it. The local one, whose view is that of the first write, refuses: error 625."""
    run("create table u (id number(38,0))")
    run("begin")
    run("insert into u values (1)")
    connect().cursor().execute("insert into t values (3, 0)")
    if account.is_local:
        with pytest.raises(ProgrammingError) as refused:
            run("update t set v = 1")
        assert refused.value.errno == 625
        run("rollback")
        # As the platform does: the whole again, from its beginning.
        run("begin")
        run("insert into u values (1)")
    run("update t set v = 1")
    run("commit")
    assert run("select count(*), min(v) from t") == [(3, 1)]
    assert count(run, "u") == 1


def test_what_others_commit_after_the_first_write_is_seen_from_the_next_transaction_on_at_the_latest(
    account: Account, table: str, run: Run, connect: Connect
) -> None:
    run("create table u (id number(38,0))")
    run("begin")
    run("insert into u values (1)")
    connect().cursor().execute("insert into t values (3, 0)")
    assert count(run) == (2 if account.is_local else 3)
    run("commit")
    assert count(run) == 3


def test_updates_and_appends_of_many_sessions_lose_and_miss_nothing(table: str, run: Run, connect: Connect) -> None:
    """Appends share a table's lock; an update waits for them, and then sees all of them."""
    connections = [connect() for _ in range(5)]

    def work(number: int) -> None:
        cursor = connections[number].cursor()
        for turn in range(6):
            if number:
                cursor.execute(f"insert into t values ({100 * number + turn}, 0)")
                continue
            cursor.execute("begin")
            cursor.execute("update t set v = v + 1")
            updated = cursor.rowcount
            cursor.execute("select count(*) from t where v > 0")
            assert cursor.fetchone() == (updated,)
            cursor.execute("commit")

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(work, range(5)))
    run("update t set v = v + 1")
    assert run("select count(*), sum(iff(v between 1 and 7, 1, 0)), max(v) from t") == [(26, 26, 7)]


def test_writers_of_one_table_take_turns(table: str, run: Run, connect: Connect) -> None:
    first, second = connect().cursor(), connect().cursor()
    first.execute("begin")
    first.execute("update t set v = v + 1 where id = 1")
    waiting = threading.Event()

    def add_ten() -> None:
        waiting.set()
        second.execute("update t set v = v + 10 where id = 1")

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(add_ten)
        waiting.wait()
        with pytest.raises(TimeoutError):
            done.result(timeout=0.5)
        first.execute("commit")
        done.result(timeout=20)
    assert run("select v from t where id = 1") == [(11,)]


def test_writers_of_different_tables_do_not_wait(table: str, run: Run, connect: Connect) -> None:
    run("create table u (id number)")
    first, second = connect().cursor(), connect().cursor()
    first.execute("begin")
    first.execute("update t set v = 1")
    second.execute("begin")
    second.execute("insert into u values (1)")
    second.execute("commit")
    first.execute("commit")
    assert (count(run, "u"), run("select sum(v) from t")) == (1, [(2,)])


def test_readers_do_not_wait_for_writers(table: str, run: Run, connect: Connect) -> None:
    writer = connect().cursor()
    writer.execute("begin")
    writer.execute("delete from t")
    started = time.monotonic()
    assert count(run) == 2
    assert time.monotonic() - started < 5
    writer.execute("rollback")


def test_many_connections_write_and_read_at_once(table: str, run: Run, connect: Connect) -> None:
    connections = [connect() for _ in range(6)]

    def work(number: int) -> None:
        cursor = connections[number].cursor()
        for turn in range(5):
            cursor.execute(
                "merge into t using (select 1 as id) s on t.id = s.id when matched then update set v = v + 1"
            )
            cursor.execute(f"insert into t values ({100 + number * 10 + turn}, 0)")
            query(connections[number], "select count(*), sum(v) from t")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert run("select count(*), max(v) from t") == [(32, 30)]


def test_one_connection_serves_several_threads(connect: Connect) -> None:
    connection = connect()

    def ask(number: int) -> int:
        return int(query(connection, f"select {number}")[0][0])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(20))) == list(range(20))


def test_tables_replaced_at_once_by_several_connections_all_succeed(run: Run, connect: Connect) -> None:
    connections = [connect() for _ in range(4)]

    def replace(number: int) -> None:
        cursor = connections[number].cursor()
        for _ in range(4):
            cursor.execute("create or replace table shared as select 1 as id")
            cursor.execute(f"create or replace table own_{number} as select {number} as id")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(replace, range(4)))
    assert count(run, "shared") == 1


def test_a_lock_that_is_not_released_ends_in_an_error(local_only: None, table: str, connect: Connect) -> None:
    first, second = connect().cursor(), connect().cursor()
    first.execute("begin")
    first.execute("delete from t")
    second.execute("alter session set lock_timeout = 1")
    with pytest.raises(ProgrammingError, match="locked table") as failure:
        second.execute("delete from t")
    assert failure.value.errno == 625
    first.execute("rollback")


def test_transactions_that_wait_for_each_other_are_told_apart(
    local_only: None, table: str, run: Run, connect: Connect
) -> None:
    run("create table u (id number)")
    first, second = connect().cursor(), connect().cursor()
    for cursor, own in ((first, "t"), (second, "u")):
        cursor.execute("begin")
        cursor.execute(f"insert into {own} (id) values (1)")

    def delete(cursor: SnowflakeCursor, other: str) -> str:
        try:
            cursor.execute(f"delete from {other}")
        except ProgrammingError as error:
            return str(error)
        finally:
            cursor.execute("rollback")
        return "done"

    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        outcomes = sorted(pool.map(delete, (first, second), ("u", "t")))
    assert outcomes[1] == "done"
    assert "deadlock" in outcomes[0]
    assert time.monotonic() - started < 10


def test_a_running_statement_can_be_cancelled(account: Account, connect: Connect) -> None:
    cursor = connect().cursor()
    started = time.monotonic()
    with pytest.raises(Error, match=r"(?i)cancel"):
        cursor.execute(
            "select count(*) from table(generator(rowcount => 3000000)) a, table(generator(rowcount => 3000000)) b",
            timeout=1,
        )
    assert time.monotonic() - started < 20


def test_the_transaction_of_a_killed_client_is_rolled_back(
    local_only: None, table: str, account: Account, schema: str, run: Run
) -> None:
    """A worker killed with -9 closes its sockets and says nothing; the next writer must not wait for ever."""
    orphan = account.connect(schema=schema)
    orphan.cursor().execute("begin")
    orphan.cursor().execute("delete from t")
    assert orphan.rest
    orphan.rest._session_manager.close()  # the sockets, without a goodbye
    started = time.monotonic()
    run("update t set v = 7")
    assert time.monotonic() - started < 18
    assert run("select count(*), min(v) from t") == [(2, 7)]


def test_a_client_that_only_pauses_keeps_its_transaction(
    local_only: None, table: str, run: Run, connect: Connect
) -> None:
    paused = connect().cursor()
    paused.execute("begin")
    paused.execute("insert into t values (3, 0)")
    pause = time.monotonic() + 6.5  # longer than a vanished client is waited for
    wait_until(lambda: time.monotonic() > pause, "the pause is over", 10)
    paused.execute("commit")
    assert count(run) == 3


def test_a_silent_transaction_is_rolled_back_after_the_limit(local_only: None, crashable: LocalSnowflake) -> None:
    crashable.stop()
    crashable.options = ("--idle-transaction-timeout", "1")
    crashable.start()
    with snowflake.connector.connect(**local_settings(crashable)) as connection:
        cursor = connection.cursor()
        cursor.execute("create or replace database d")
        cursor.execute("create table t (id number)")
        cursor.execute("begin")
        cursor.execute("insert into t values (1)")
        wait_until(lambda: "Rolled back the transaction" in crashable.log(), "the transaction is rolled back", 10)
        with pytest.raises(ProgrammingError, match="sent nothing"):
            cursor.execute("commit")
        assert query(connection, "select count(*) from t") == [(0,)]
