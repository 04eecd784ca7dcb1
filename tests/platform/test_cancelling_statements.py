"""A run that is terminated in the middle of a statement: it ends within seconds, and so does the statement."""

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import dagster as dg
import pytest
import snowflake.connector
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.launcher import LaunchRunContext
from dagster_process import forking_instance, wait_for

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.settings import LOADING
from shopstream_assets.platform.hosting.retries import RETRY
from shopstream_assets.platform.hosting.run_launcher import living_worker
from shopstream_assets.platform.sources.postgres.reading import batches
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.staging.warehouse import WarehouseResource
from shopstream_assets.platform.transform.build import dbt_arguments
from shopstream_assets.platform.transform.dbt_manifest import parsed_project
from shopstream_assets.platform.transform.dbt_run import run_dbt

BEGIN_SECONDS = 60
CANCELED_SECONDS = 5
MARK = "shopstream_test_cancelling"
SLOW_INSERT = (
    "insert into t select count(*) "
    "from table(generator(rowcount => 3000000)) a, table(generator(rowcount => 3000000)) b"
)


@dg.op(config_schema={"dsn": str, "sql": str}, retry_policy=RETRY)
def ask_postgres(context: dg.OpExecutionContext) -> None:
    """Reads all rows of a query, as an extraction does."""
    settings = context.op_config
    with PostgresResource(dsn=settings["dsn"]).snapshot() as reader, reader.connection.cursor() as cursor:
        cursor.execute(settings["sql"])
        for _ in batches(cursor):
            pass


@dg.op(config_schema={"warehouse": dict, "statements": [str]}, retry_policy=RETRY)
def ask_warehouse(context: dg.OpExecutionContext) -> None:
    """Runs statements in a transaction, which it rolls back when it fails, as a load does."""
    with WarehouseResource(**context.op_config["warehouse"]).connection(LOADING) as session:
        cursor = session.cursor()
        cursor.execute("begin")
        try:
            for statement in context.op_config["statements"]:
                cursor.execute(statement)
        except BaseException:
            cursor.execute("rollback", timeout=5)
            raise
        cursor.execute("commit")


@dg.job(executor_def=dg.in_process_executor)
def asking_postgres() -> None:
    ask_postgres()


@dg.job(executor_def=dg.in_process_executor)
def asking_warehouse() -> None:
    ask_warehouse()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with forking_instance(tmp_path) as made:
        yield made

        def alive() -> list[int]:
            return [pid for file in (tmp_path / "run_workers").glob("*") if (pid := living_worker(file))]

        wait_for(lambda: not alive(), "the run's process to end", BEGIN_SECONDS)


def launch(instance: dg.DagsterInstance, job: dg.JobDefinition, **config: Any) -> dg.DagsterRun:
    (op,) = job.nodes
    run = instance.create_run_for_job(
        job,
        run_config={"ops": {op.name: {"config": config}}},
        job_code_origin=ReconstructableJob.for_file(__file__, job.name).get_python_origin(),
    )
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    return run


def is_canceled_in_time(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Terminate the run; whether it is CANCELED, and its process gone, within CANCELED_SECONDS."""
    started = time.monotonic()
    assert instance.run_launcher.terminate(run.run_id)

    def ended() -> dg.DagsterRun | None:
        found = instance.get_run_by_id(run.run_id)
        return found if found and found.is_finished else None

    found = wait_for(ended, "the run to end", 60, every=0.05)
    assert time.monotonic() - started < CANCELED_SECONDS
    return bool(found.status is dg.DagsterRunStatus.CANCELED)


class Source:
    """The tests' Postgres, on connections beside the run's."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.connection = adbc.connect(dsn, autocommit=True)

    def ask(self, sql: str) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def statements(self) -> list[Any]:
        return self.ask(
            f"select state, wait_event_type from pg_stat_activity where query like '%{MARK}%' "
            "and pid <> pg_backend_pid() and state <> 'idle'"
        )


@pytest.fixture
def source(services: Services) -> Iterator[Source]:
    found = Source(services.source.dsn)
    yield found
    found.connection.close()


@pytest.mark.parametrize("sql", ["select pg_sleep(600)", "select a, md5(a::text) from generate_series(1, 1e12) as a"])
def test_a_slow_statement_in_postgres_ends_with_its_run(instance: dg.DagsterInstance, source: Source, sql: str) -> None:
    run = launch(instance, asking_postgres, dsn=source.dsn, sql=f"{sql} /* {MARK} */")
    wait_for(source.statements, "the statement to begin", BEGIN_SECONDS)

    assert is_canceled_in_time(instance, run)
    assert not source.statements()


def test_a_statement_that_waits_for_a_lock_in_postgres_ends_with_its_run(
    instance: dg.DagsterInstance, services: Services, source: Source
) -> None:
    name = f'"{services.source.schema_name}".locked'
    source.ask(f"create table {name} (id int)")
    holder = adbc.connect(source.dsn)
    try:
        holder.cursor().execute(f"lock table {name} in access exclusive mode")
        run = launch(instance, asking_postgres, dsn=source.dsn, sql=f"select * from {name} /* {MARK} */")
        wait_for(lambda: [row for row in source.statements() if row[1] == "Lock"], "the wait", BEGIN_SECONDS)

        assert is_canceled_in_time(instance, run)
        assert not source.statements()
    finally:
        holder.close()


class Warehouse:
    """The tests' database, with a table T of one row, on a session beside the run's."""

    def __init__(self, resource: WarehouseResource) -> None:
        self.settings: Mapping[str, Any] = resource.model_dump()
        self.connect: Callable[[], Any] = lambda: snowflake.connector.connect(
            **resource.parameters(LOADING), schema="STAGING"
        )
        self.session = self.connect()
        self.ask("create table t (id number(38,0)) as select 1")
        self.table = f"{resource.database}.staging.t"

    def ask(self, sql: str) -> list[Any]:
        with self.session.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def statements(self) -> list[Any]:
        return self.ask(
            "select query_text from table(information_schema.query_history_by_user()) "
            f"where session_id <> {self.session.session_id} and execution_status = 'RUNNING' "
            f"and query_text like '%{MARK}%'"
        )


@pytest.fixture
def warehouse(services: Services) -> Iterator[Warehouse]:
    found = Warehouse(services.warehouse)
    yield found
    found.session.close()


def test_a_slow_statement_in_the_warehouse_ends_with_its_run_and_is_rolled_back(
    instance: dg.DagsterInstance, warehouse: Warehouse
) -> None:
    slow = SLOW_INSERT.replace("into t ", f"into {warehouse.table} /* {MARK} */ ")
    run = launch(
        instance,
        asking_warehouse,
        warehouse=warehouse.settings,
        statements=[f"delete from {warehouse.table}", slow],
    )
    wait_for(warehouse.statements, "the statement to begin", BEGIN_SECONDS)

    assert is_canceled_in_time(instance, run)
    assert not warehouse.statements()
    # It would wait for the lock of a transaction that is still open.
    warehouse.ask("update t set id = id + 1")
    assert warehouse.ask("select * from t") == [(2,)]


def test_a_statement_that_waits_for_a_lock_in_the_warehouse_ends_with_its_run(
    instance: dg.DagsterInstance, warehouse: Warehouse
) -> None:
    warehouse.ask("begin")
    warehouse.ask("update t set id = 5")
    statement = f"delete from {warehouse.table} /* {MARK} */"
    run = launch(instance, asking_warehouse, warehouse=warehouse.settings, statements=[statement])
    wait_for(warehouse.statements, "the statement to begin", BEGIN_SECONDS)

    assert is_canceled_in_time(instance, run)
    assert not warehouse.statements()
    warehouse.ask("commit")
    assert warehouse.ask("select * from t") == [(5,)]


@pytest.mark.parametrize(
    ("tag", "statement", "is_cancelled"),
    [
        ("left_over", SLOW_INSERT, True),
        ("another", SLOW_INSERT, False),
        ("left_over", SLOW_INSERT.removeprefix("insert into t "), False),
    ],
    ids=["a_writer", "of_another_tag", "a_reader"],
)
def test_what_a_killed_writer_left_is_cancelled_before_the_next_one_writes(
    services: Services, warehouse: Warehouse, tag: str, statement: str, is_cancelled: bool
) -> None:
    left = warehouse.connect()
    left.cursor().execute(f"alter session set query_tag = '{tag}'")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(left.cursor().execute, f"{statement} /* {MARK} */")
        wait_for(warehouse.statements, "the statement to begin", BEGIN_SECONDS)

        assert services.warehouse.cancel_left_over("left_over") == is_cancelled

        assert bool(warehouse.statements()) is not is_cancelled
        warehouse.ask(f"select system$cancel_all_queries({left.session_id})")
        assert isinstance(running.exception(BEGIN_SECONDS), snowflake.connector.Error)
    left.close()
    assert warehouse.ask("select * from t") == [(1,)]


def test_a_session_that_ended_before_it_is_cancelled_keeps_none_from_being_cancelled(services: Services) -> None:
    warehouse = services.warehouse
    with snowflake.connector.connect(**warehouse.parameters(LOADING)) as ended:
        number = ended.session_id
    with (
        ThreadPoolExecutor(1) as thread,
        snowflake.connector.connect(**warehouse.parameters(LOADING)) as session,
        session.cursor() as cursor,
    ):
        cursor.execute("create table t (a number)")
        running = thread.submit(cursor.execute, SLOW_INSERT)

        def is_cancelled() -> bool:
            warehouse.cancel([number, session.session_id])
            return running.done()

        # It may not have reached the server yet.
        wait_for(is_cancelled, "the statement to end", BEGIN_SECONDS)
        with pytest.raises(snowflake.connector.ProgrammingError, match="cancel"):
            running.result()


def test_dbt_has_ended_with_its_step_also_where_the_signal_comes_while_its_thread_is_started(
    services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    day = dt.date(2026, 3, 1)
    arguments = dbt_arguments(SHOPSTREAM, ["dim_products"], Window(day, day + ONE_DAY), tmp_path, full_refresh=False)
    manifest = parsed_project(SHOPSTREAM).parsed
    begin = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        begin(thread)
        if thread.name == "dbt":
            # Where Python runs the handler of a signal that arrives meanwhile.
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), closing(run_dbt(arguments, manifest, services.warehouse)) as events:
        next(events)

    assert "dbt" not in [thread.name for thread in threading.enumerate()]
