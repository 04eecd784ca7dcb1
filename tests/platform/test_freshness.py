"""Freshness by partitions, derived from the declarations of the source tables."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState

from shopstream_assets.platform.domain import Domain
from shopstream_assets.platform.freshness import (
    CHECK,
    Freshness,
    Reported,
    allowed_ages,
    expected_day,
    freshness,
    freshness_checks,
    freshness_sensor,
    report,
    source_freshness,
    with_policy,
)
from shopstream_assets.platform.partitions import ONE_DAY, daily
from shopstream_assets.platform.resources.postgres import PostgresResource
from shopstream_assets.platform.source_assets import asset_key
from shopstream_assets.platform.tables import BIGINT, TIMESTAMP, Column, SourceTable, postgres_ddl, quoted
from shopstream_assets.summary import Services

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


def test_filling_an_old_day_does_not_look_fresh(instance: dg.DagsterInstance) -> None:
    materialize(instance, MART, 20)
    found = freshness(instance, MART, 36 * HOURS, START, NOW)
    assert not found.fresh
    assert found.metadata == {"newest_day": str(TODAY - ONE_DAY * 20), "days_present": 1}
    materialize(instance, MART, 2, 1)
    assert freshness(instance, MART, 36 * HOURS, START, NOW).fresh


def test_a_platform_that_begins_today_lacks_nothing(instance: dg.DagsterInstance) -> None:
    assert freshness(instance, MART, 36 * HOURS, TODAY, NOW).fresh


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
    assert "is missing" in (found.description or "")


def outcomes(instance: dg.DagsterInstance, key: dg.AssetKey, name: str) -> list[bool]:
    history = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(key, name), limit=10)
    return [
        record.event.dagster_event.asset_check_evaluation_data.passed
        for record in reversed(history)
        if record.event and record.event.dagster_event
    ]


def state(instance: dg.DagsterInstance, key: dg.AssetKey) -> FreshnessState:
    return instance.event_log_storage.get_freshness_state_records([key])[key].freshness_state


def test_what_changed_is_reported_once_and_everything_once_a_day(instance: dg.DagsterInstance) -> None:
    good, bad = ({MART: Freshness(fresh, None, {})} for fresh in (True, False))
    reported = Reported()
    for found, day, expected in (
        (good, 0, [True]),
        (good, 0, [True]),
        (bad, 0, [True, False]),
        (bad, 0, [True, False]),
        (bad, 1, [True, False, False]),
        (good, 1, [True, False, False, True]),
    ):
        reported = report(instance, found, reported, NOW + ONE_DAY * day)
        assert outcomes(instance, MART, CHECK) == expected
        assert state(instance, MART) == (FreshnessState.PASS if found is good else FreshnessState.FAIL)


def test_a_source_is_fresh_while_it_changes_within_its_declared_time(services: Services) -> None:
    schema = quoted(services.source.schema_name)
    with services.source.transaction() as connection, connection.cursor() as cursor:
        for each in DOMAIN.tables:
            for statement in postgres_ddl(each, services.source.schema_name):
                cursor.execute(statement)
            cursor.execute(f"insert into {schema}.{each.name} values (1, now() - interval '40 hours')")
    found = source_freshness(services.source, DOMAIN.tables)
    assert {name: state.fresh for name, state in found.items()} == {"orders": False, "products": True}


def test_a_source_that_is_down_is_not_fresh_and_says_why(instance: dg.DagsterInstance) -> None:
    materialize(instance, LAKE_ORDERS, 1, 2)
    source = PostgresResource(dsn="postgresql://nobody:secret@127.0.0.1:1/shop")
    sensor = freshness_sensor(DOMAIN, {LAKE_ORDERS: 36 * HOURS, LAKE_PRODUCTS: 8 * ONE_DAY}, START)
    result = sensor(dg.build_sensor_context(instance=instance, resources={"source": source}))
    assert isinstance(result, dg.SensorResult)
    assert result.skip_reason
    assert "shop/postgres/orders" in (result.skip_reason.skip_message or "")
    assert state(instance, asset_key("shop", "postgres", "orders")) == FreshnessState.FAIL
    assert state(instance, LAKE_ORDERS) == FreshnessState.PASS
    # Never materialized: nothing to be stale.
    assert LAKE_PRODUCTS not in instance.event_log_storage.get_freshness_state_records([LAKE_PRODUCTS])


def test_an_empty_platform_reports_nothing(instance: dg.DagsterInstance) -> None:
    source = PostgresResource(dsn="postgresql://nobody:secret@127.0.0.1:1/shop")
    sensor = freshness_sensor(DOMAIN, {LAKE_ORDERS: 36 * HOURS}, START)
    result = sensor(dg.build_sensor_context(instance=instance, resources={"source": source}))
    assert isinstance(result, dg.SensorResult)
    assert Reported.model_validate_json(result.cursor or "").fresh == {}
