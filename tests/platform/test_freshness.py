"""Freshness by partitions, derived from the declarations of the source tables; and what a stale asset asks for."""

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.events import DagsterEvent
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster_process import wait_for

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.partitions import ONE_DAY, daily
from shopstream_assets.platform.declare.tables import BIGINT, TIMESTAMP, Column, SourceTable, postgres_ddl, quoted
from shopstream_assets.platform.refresh.asked import ASK_AGAIN_AT_THE_LATEST
from shopstream_assets.platform.refresh.freshness import (
    CHECK,
    Freshness,
    allowed_ages,
    expected_day,
    freshness,
    freshness_checks,
    source_freshness,
    with_policy,
)
from shopstream_assets.platform.refresh.freshness_sensor import (
    Memory,
    Verdict,
    ask,
    asked_by,
    freshness_sensor,
    report,
)
from shopstream_assets.platform.sources.newest_change import COUNTED
from shopstream_assets.platform.sources.postgres.resource import PostgresResource

NOW = dt.datetime.now(dt.UTC)
TODAY = NOW.date()
START = TODAY - ONE_DAY * 30
HOURS = dt.timedelta(hours=1)


def table(name: str, age: dt.timedelta) -> SourceTable:
    return SourceTable(
        name=name,
        grain=f"One row per row of {name}.",
        description=name,
        owner="team:sales",
        freshness=age,
        columns=(Column("id", BIGINT, "Key."), Column("updated_at", TIMESTAMP, "Cursor.")),
    )


ORDERS, PRODUCTS = table("orders", 36 * HOURS), table("products", 8 * ONE_DAY)
DOMAIN = Domain("shop", (ORDERS, PRODUCTS), simulator=lambda _: pytest.fail("no simulator"))
LAKE_ORDERS, LAKE_PRODUCTS = (asset_key("shop", "lake", each.name) for each in DOMAIN.tables)
MART = dg.AssetKey(["shop", "marts", "mart"])


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def materialize(instance: dg.DagsterInstance, key: dg.AssetKey, *back: int) -> None:
    for days in back:
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=str(TODAY - ONE_DAY * days)))


def test_an_asset_must_keep_up_with_the_strictest_table_it_is_made_from() -> None:
    specs = [
        dg.AssetSpec(LAKE_ORDERS, deps=[asset_key("shop", "postgres", "orders")]),
        dg.AssetSpec(LAKE_PRODUCTS, deps=[asset_key("shop", "postgres", "products")]),
        dg.AssetSpec(MART, deps=[LAKE_ORDERS, LAKE_PRODUCTS]),
        dg.AssetSpec("seed"),
    ]
    ages = allowed_ages(DOMAIN, specs)
    assert ages == {LAKE_ORDERS: 36 * HOURS, LAKE_PRODUCTS: 8 * ONE_DAY, MART: 36 * HOURS}
    policies = {spec.key: spec.freshness_policy for spec in (with_policy(spec, ages) for spec in specs)}
    assert policies[LAKE_PRODUCTS] == dg.FreshnessPolicy.time_window(fail_window=8 * ONE_DAY)
    assert policies[dg.AssetKey("seed")] is None


@pytest.mark.parametrize(
    ("hour", "age", "back"), [(1, 36 * HOURS, 2), (13, 36 * HOURS, 1), (13, HOURS, 1), (13, 8 * ONE_DAY, 8)]
)
def test_the_newest_day_that_must_be_there_is_that_of_the_allowed_age(hour: int, age: dt.timedelta, back: int) -> None:
    now = dt.datetime(2026, 3, 20, hour, tzinfo=dt.UTC)
    assert expected_day(now, age) == now.date() - ONE_DAY * back


def of_mart(instance: dg.DagsterInstance, start: dt.date = START, later: dt.timedelta = 0 * HOURS) -> Freshness:
    return freshness(instance, {MART: 36 * HOURS}, start, NOW + later)[MART]


def test_filling_an_old_day_does_not_look_fresh(instance: dg.DagsterInstance) -> None:
    expected = expected_day(NOW, 36 * HOURS)
    materialize(instance, MART, 20)
    found = of_mart(instance)
    assert not found.fresh
    assert found.metadata == {"newest_day": str(TODAY - ONE_DAY * 20), "must_have": str(expected)}
    assert (found.missing[0], found.missing[-1]) == (TODAY - ONE_DAY * 19, expected)
    materialize(instance, MART, 2, 1)
    assert of_mart(instance) == Freshness(True, None, {"newest_day": str(TODAY - ONE_DAY), "must_have": str(expected)})


def test_a_gap_before_the_newest_day_is_no_matter_of_freshness(instance: dg.DagsterInstance) -> None:
    materialize(instance, MART, 20, 2, 1)
    assert of_mart(instance).fresh


def test_what_the_policy_in_the_ui_says_holds_materialized_last_too_long_ago_is_not_fresh(
    instance: dg.DagsterInstance,
) -> None:
    materialize(instance, MART, *range(-2, 2))
    found = of_mart(instance, later=37 * HOURS)
    assert not found.fresh
    # No run would help: its source has no news.
    assert found.missing == ()
    assert "materialized last" in (found.told or "")


def test_a_platform_that_begins_today_lacks_nothing(instance: dg.DagsterInstance) -> None:
    materialize(instance, MART, 0)
    assert of_mart(instance, TODAY).fresh


def test_an_asset_without_partitions_is_judged_by_its_last_materialization(instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(MART))
    assert of_mart(instance).fresh
    assert not of_mart(instance, later=37 * HOURS).fresh


def test_the_check_in_the_ui_gives_the_same_answer_without_stopping_anything(instance: dg.DagsterInstance) -> None:
    materialize(instance, MART, 20)

    @dg.asset(key=MART, partitions_def=daily(START))
    def mart() -> None: ...

    check = freshness_checks("shop", {MART: 36 * HOURS}, START)
    job = dg.Definitions(
        assets=[mart],
        asset_checks=[check],
        jobs=[dg.define_asset_job("look", selection=dg.AssetSelection.checks(check))],
    ).resolve_job_def("look")
    result = job.execute_in_process(instance=instance)
    (found,) = result.get_asset_check_evaluations()
    assert result.success
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "missing, the newest day is" in (found.description or "")


def outcomes(instance: dg.DagsterInstance, key: dg.AssetKey, name: str) -> list[bool]:
    history = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(key, name), limit=10)
    return [
        record.event.dagster_event.asset_check_evaluation_data.passed
        for record in reversed(history)
        if record.event and record.event.dagster_event
    ]


def state(instance: dg.DagsterInstance, key: dg.AssetKey) -> FreshnessState:
    return instance.event_log_storage.get_freshness_state_records([key])[key].freshness_state


def verdict(passed: bool) -> Verdict:
    return Verdict(dg.AssetCheckKey(MART, CHECK), passed, None if passed else "late", {})


def test_what_the_ui_shows_already_is_reported_again_only_once_a_day(instance: dg.DagsterInstance) -> None:
    for passed, day, expected in (
        (True, 0, [True]),
        (True, 0, [True]),
        (False, 0, [True, False]),
        (False, 0, [True, False]),
        (False, 1, [True, False, False]),
    ):
        report(instance, [verdict(passed)], (), NOW + ONE_DAY * day)
        assert outcomes(instance, MART, CHECK) == expected
        assert state(instance, MART) == (FreshnessState.PASS if passed else FreshnessState.FAIL)
    # Something new is said of it: its refresh was asked for.
    report(instance, [verdict(False)], {MART}, NOW)
    assert outcomes(instance, MART, CHECK) == [True, False, False, False]


def shown(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> bool | None:
    """As the UI decides whether a check counts for the newest materialization; None is "Not evaluated"."""
    import asyncio

    async def look() -> bool | None:
        context = LoadingContextForTest(instance)
        record = await AssetCheckExecutionRecord.gen(context, key)
        if record is None or record.evaluation is None or not await record.targets_latest_materialization(context):
            return None
        return record.evaluation.passed

    return asyncio.run(look())


@dg.asset(key=LAKE_ORDERS, partitions_def=daily(START), deps=[asset_key("shop", "postgres", "orders")])
def lake_orders() -> None: ...


@dg.asset(key=LAKE_PRODUCTS, partitions_def=daily(START), deps=[asset_key("shop", "postgres", "products")])
def lake_products() -> None: ...


@dg.asset(key=MART, partitions_def=daily(START), deps=[LAKE_ORDERS, LAKE_PRODUCTS])
def mart() -> None: ...


AGES = {LAKE_ORDERS: 36 * HOURS, LAKE_PRODUCTS: 8 * ONE_DAY, MART: 36 * HOURS}


def definitions(source: PostgresResource) -> dg.Definitions:
    return dg.Definitions(
        assets=[lake_orders, lake_products, mart],
        asset_checks=[freshness_checks("shop", AGES, START)],
        jobs=[dg.define_asset_job("unchecked", dg.AssetSelection.assets(LAKE_ORDERS).without_checks())],
        sensors=[freshness_sensor(DOMAIN, AGES, START, source)],
    )


@pytest.fixture
def down() -> dg.Definitions:
    return definitions(PostgresResource(dsn="postgresql://nobody:secret@127.0.0.1:1/shop"))


@pytest.fixture
def graph(down: dg.Definitions) -> AssetGraph:
    return down.resolve_asset_graph()


def test_right_after_a_refresh_the_page_shows_the_check_of_that_refresh(
    instance: dg.DagsterInstance, down: dg.Definitions
) -> None:
    materialize(instance, MART, 20)
    materialize(instance, LAKE_ORDERS, 20)
    for back in (2, 1):
        job = down.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance, partition_key=str(TODAY - ONE_DAY * back)).success
        assert shown(instance, dg.AssetCheckKey(MART, CHECK)) is (back == 1 or NOW.hour < 12)


def down_to_lake(defs: dg.Definitions) -> dg.JobDefinition:
    """The job of lake/orders alone, without its check."""
    return defs.resolve_job_def("unchecked")


def test_a_materialization_without_its_check_is_checked_by_the_next_tick(
    instance: dg.DagsterInstance, down: dg.Definitions
) -> None:
    materialize(instance, LAKE_ORDERS, 3, 2, 1)
    cursor = tick(instance, down).cursor
    check = dg.AssetCheckKey(LAKE_ORDERS, CHECK)
    assert shown(instance, check) is True
    job = down_to_lake(down)
    assert job.execute_in_process(instance=instance, partition_key=str(TODAY)).success
    assert shown(instance, check) is None
    tick(instance, down, cursor)
    assert shown(instance, check) is True


@contextmanager
def shop(services: Services, **newest: str | None) -> Iterator[psycopg.Connection]:
    """The shop's tables, each with a row of that moment (SQL), if any; yields a connection that commits by itself."""
    schema = services.source.schema_name
    with psycopg.connect(services.source.dsn, autocommit=True) as connection:
        connection.execute(f"set search_path to {quoted(schema)}")  # type: ignore[arg-type]
        for name, moment in newest.items():
            for statement in postgres_ddl(table(name, HOURS), schema):
                connection.execute(statement)  # type: ignore[arg-type]
            if moment:
                connection.execute(f"insert into {name} values (1, {moment})")  # type: ignore[arg-type]
        yield connection


def of_sources(services: Services) -> Mapping[str, str | None]:
    return {name: state.stale_told for name, state in source_freshness(services.source, DOMAIN.tables).items()}


def test_a_source_is_fresh_while_it_changes_within_its_declared_time(services: Services) -> None:
    with shop(services, orders="now() - interval '40 hours'", products="now() - interval '40 hours'"):
        assert of_sources(services) == {
            "orders": "the newest change is 1 day, 16:00:00 old, 1 day, 12:00:00 are allowed",
            "products": None,
        }


def test_rows_dated_in_the_future_are_counted_and_are_no_news(services: Services) -> None:
    with shop(services, orders="now() - interval '9 days'", products=None) as connection:
        connection.execute("insert into orders select 1 + n, '2100-01-01 00:00+00' from generate_series(1, 3) as n")
        connection.execute("insert into products values (1, '2100-01-01 00:00+00')")
        found = source_freshness(services.source, DOMAIN.tables)
        assert (found["orders"].stale_told or "").startswith("the newest change is 9 days")
        assert found["products"].stale_told == "every row is dated in the future"
        newest = found["orders"].newest
        assert newest
        assert newest.from_future == 3
        assert "3 rows are dated later than now, up to 2100-01-01 00:00:00+00;" in (newest.future_told or "")
        # A clock that is a little ahead is no fault.
        connection.execute("insert into orders values (9, now() + interval '1 minute')")
        assert source_freshness(services.source, DOMAIN.tables)["orders"].stale_told is None


def test_a_table_full_of_the_future_is_not_counted_to_its_end(services: Services) -> None:
    with shop(services, orders=None, products=None) as connection:
        connection.execute(
            f"insert into orders select n, '2100-01-01 00:00+00' from generate_series(1, {COUNTED + 500}) as n"
        )
        newest = source_freshness(services.source, DOMAIN.tables)["orders"].newest
        assert newest
        assert (newest.future_told or "").startswith(f"more than {COUNTED} rows")


@pytest.mark.parametrize("moment", ["10000-01-01 00:00+00", "294276-12-31 23:59:59.999999+00", "-infinity", "infinity"])
def test_a_moment_that_python_does_not_know_stops_nothing(services: Services, moment: str) -> None:
    with shop(services, orders=f"timestamptz '{moment}'", products="now()"):
        found = of_sources(services)
        assert found["orders"] in ("the table is empty", "every row is dated in the future")
        assert found["products"] is None


@pytest.mark.postgres(15)
def test_the_newest_change_is_looked_up_in_the_index(services: Services) -> None:
    """The plan of the very statement: it is taken from the server's statistics of the scans that were made."""
    with shop(services, orders=None, products=None) as connection:
        connection.execute(
            "insert into orders select n, now() - n * interval '1 s' from generate_series(1, 20000) as n"
        )
        connection.execute("insert into orders select -n, now() + interval '9 days' from generate_series(1, 3) as n")
        connection.execute("vacuum analyze orders")
        reads = """
            select seq_tup_read, (select sum(i.idx_tup_read) from pg_stat_all_indexes as i where i.relid = t.relid)
            from pg_stat_user_tables as t
            where relname = 'orders' and schemaname = current_schema()
        """

        def rows_read() -> tuple[int, int]:
            """By scans of the table and of its indexes."""
            found = connection.execute(reads).fetchone()
            assert found
            return int(found[0]), int(found[1])

        connection.execute("select pg_stat_force_next_flush()")
        before = rows_read()
        assert of_sources(services)["orders"] is None
        # What another session has read is counted when it ends, a moment after its client has gone.
        wait_for(lambda: rows_read() != before, "the server's count of what was read", 10)
        after = rows_read()
        assert after[0] == before[0]
        assert 0 < after[1] - before[1] < 20


def test_a_missing_table_is_the_fault_of_that_table_alone(services: Services) -> None:
    with shop(services, products="now()"):
        found = of_sources(services)
        assert found["products"] is None
        assert "relation" in (found["orders"] or "")


def test_a_table_that_may_not_be_read_or_is_locked_is_the_fault_of_that_table_alone(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shopstream_assets.platform.refresh import freshness as judged
    from shopstream_assets.platform.sources.postgres import questions

    monkeypatch.setattr(questions, "LOCK_SECONDS", 1)
    with shop(services, orders="now()", products="now()") as connection:
        with connection.transaction():
            connection.execute("lock table orders in access exclusive mode")
            found = of_sources(services)
        assert "locked for more than 1 s" in (found["orders"] or "")
        assert found["products"] is None
        connection.execute("alter table orders rename to was_orders")
        connection.execute("create view orders as select w.id, w.updated_at from was_orders w, pg_sleep(1.5)")
        monkeypatch.setattr(judged, "TABLE_SECONDS", 1)
        found = of_sources(services)
        assert "did not answer within 1 s" in (found["orders"] or "")
        assert found["products"] is None


def tick(instance: dg.DagsterInstance, defs: dg.Definitions, cursor: str | None = None) -> dg.SensorResult:
    sensor = defs.resolve_sensor_def("shop_freshness")
    context = dg.build_sensor_context(instance, cursor=cursor, repository_def=defs.get_repository_def())
    data = sensor.evaluate_tick(context)
    return dg.SensorResult(
        run_requests=data.run_requests,
        skip_reason=data.skip_message,
        cursor=data.cursor or cursor,
    )


def told(result: dg.SensorResult) -> str:
    return result.skip_reason.skip_message or "" if isinstance(result.skip_reason, dg.SkipReason) else ""


def requested(result: dg.SensorResult) -> dg.RunRequest:
    (request,) = result.run_requests or ()
    return request


def test_a_source_that_is_down_is_not_fresh_and_says_why(instance: dg.DagsterInstance, down: dg.Definitions) -> None:
    materialize(instance, LAKE_ORDERS, 1, 2)
    result = tick(instance, down)
    assert "shop/postgres/orders" in told(result)
    assert outcomes(instance, asset_key("shop", "postgres", "orders"), "fresh") == [False]
    assert state(instance, LAKE_ORDERS) == FreshnessState.PASS
    # Never materialized: nothing to be stale.
    assert LAKE_PRODUCTS not in instance.event_log_storage.get_freshness_state_records([LAKE_PRODUCTS])


def test_an_empty_platform_reports_nothing(instance: dg.DagsterInstance, down: dg.Definitions) -> None:
    result = tick(instance, down)
    assert told(result) == "Nothing was ever materialized."
    assert not result.run_requests


def test_a_stale_asset_asks_for_the_days_that_it_lacks_and_for_all_that_follows_and_says_so(
    services: Services, instance: dg.DagsterInstance
) -> None:
    defs = definitions(services.source)
    materialize(instance, LAKE_ORDERS, 6, 5)
    materialize(instance, LAKE_PRODUCTS, *range(12))
    materialize(instance, MART, 6, 5)
    with shop(services, orders="now()", products="now()"):
        result = tick(instance, defs)
        request = requested(result)
        assert request.asset_selection is not None
        assert set(request.asset_selection) == {LAKE_ORDERS, MART}
        assert request.tags.items() >= asked_by("shop").items()
        assert request.tags["dagster/asset_partition_range_start"] == str(TODAY - ONE_DAY * 4)
        assert request.tags["dagster/asset_partition_range_end"] == str(expected_day(NOW, 36 * HOURS))
        for key, words in ((LAKE_ORDERS, "asked for at"), (MART, "follows from shop/lake/orders")):
            assert words in description(instance, key, CHECK)
        # The next tick waits, though a run has ended meanwhile.
        assert not tick(instance, defs, older(result.cursor)).run_requests


def older(cursor: str | None) -> str:
    """The memory of a sensor that has not looked since long."""
    memory = Memory.model_validate_json(cursor or "{}")
    memory.runs, memory.looked_at = "", None
    return memory.model_dump_json()


def description(instance: dg.DagsterInstance, key: dg.AssetKey, name: str) -> str:
    (record,) = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(key, name), limit=1)
    assert record.evaluation
    return record.evaluation.description or ""


def test_a_source_without_news_is_only_reported(services: Services, instance: dg.DagsterInstance) -> None:
    defs = definitions(services.source)
    for key in AGES:
        materialize(instance, key, *range(10))
    with shop(services, orders="now() - interval '40 hours'", products="now()"):
        result = tick(instance, defs)
    assert not result.run_requests
    assert "shop/postgres/orders" in told(result)
    assert outcomes(instance, asset_key("shop", "postgres", "orders"), "fresh") == [False]


LATE = Freshness(False, "late.", {}, (TODAY - ONE_DAY,))


def test_what_is_missing_is_asked_for_again_ever_later(graph: AssetGraph) -> None:
    memory, asked_at = Memory(), []
    for minute in range(0, 60 * 48, 10):
        now = NOW + dt.timedelta(minutes=minute)
        if ask(graph, {LAKE_ORDERS: LATE}, (), (), memory, now):
            asked_at.append(minute)
    assert asked_at[:7] == [0, 10, 30, 70, 150, 310, 630]
    gaps = [after - before for before, after in pairwise(asked_at)]
    assert max(gaps) == ASK_AGAIN_AT_THE_LATEST / dt.timedelta(minutes=1)
    # The next day is another matter, and a new start once all was well.
    longer = Freshness(False, "late.", {}, (TODAY - ONE_DAY, TODAY))
    assert ask(graph, {LAKE_ORDERS: longer}, (), (), memory, NOW + ONE_DAY * 2)
    assert not ask(graph, {LAKE_ORDERS: Freshness(True, None, {})}, (), (), memory, NOW + ONE_DAY * 2)
    assert memory.asked == {}


def test_nothing_is_asked_for_that_a_run_is_on_or_whose_source_is_silent(graph: AssetGraph) -> None:
    stale = {LAKE_ORDERS: LATE, MART: LATE}
    assert ask(graph, stale, {LAKE_ORDERS}, (), Memory(), NOW) == {}
    assert ask(graph, stale, {MART}, (), Memory(), NOW) == {LAKE_ORDERS: LATE.missing}
    assert ask(graph, stale, (), {asset_key("shop", "postgres", "orders")}, Memory(), NOW) == {}
    assert ask(graph, {MART: LATE}, {LAKE_PRODUCTS}, (), Memory(), NOW) == {}
    assert ask(graph, {MART: LATE}, (), (), Memory(), NOW) == {MART: LATE.missing}


@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTED])
def test_a_queued_run_is_waited_for_as_a_running_one(
    services: Services, instance: dg.DagsterInstance, status: DagsterRunStatus
) -> None:
    defs = definitions(services.source)
    materialize(instance, LAKE_ORDERS, 6, 5)
    job = down_to_lake(defs)
    run = instance.create_run_for_job(job)
    if status == DagsterRunStatus.STARTED:
        instance.report_dagster_event(DagsterEvent("PIPELINE_START", run.job_name), run.run_id)
    with shop(services, orders="now()", products="now()"):
        result = tick(instance, defs)
        assert not result.run_requests
        assert "A run is on it" in description(instance, LAKE_ORDERS, CHECK)
        instance.report_run_failed(run)
        assert requested(tick(instance, defs, result.cursor)).asset_selection


def test_between_runs_a_tick_costs_one_question(instance: dg.DagsterInstance, down: dg.Definitions) -> None:
    materialize(instance, LAKE_ORDERS, 1, 2)
    cursor = tick(instance, down).cursor
    assert told(tick(instance, down, cursor)) == "No run has started or ended since the last look."
