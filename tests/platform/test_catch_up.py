"""What the catch-up sensor asks for: exactly the days that a layer has not made from what the one before has now."""

import datetime as dt
import json
from collections.abc import Iterator, Mapping

import dagster as dg
import pytest
from bad_input import FIRST, LINES, Spoiled
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.partitions import ONE_DAY, SPAN_TAGS, daily
from shopstream_assets.platform.lake.asset import lake_asset
from shopstream_assets.platform.lake.manifest import Manifest
from shopstream_assets.platform.refresh.asked import ASK_AGAIN_AFTER
from shopstream_assets.platform.refresh.catch_up import MATERIALIZATION, Memory, catch_up_sensor
from shopstream_assets.platform.refresh.reconciliation import CHECK, DAYS
from shopstream_assets.platform.staging.asset import staging_asset
from shopstream_assets.platform.staging.ledger import built_relation, loaded_relation

SHOP = Domain("shop", (LINES,), simulator=lambda _: pytest.fail("nothing is simulated"))
LAKE, STAGING = asset_key("shop", "lake", "lines"), asset_key("shop", "staging", "lines")
FACT, MART = asset_key("shop", "core", "fact"), asset_key("shop", "marts", "mart")
SECOND = FIRST + ONE_DAY
BUILT = {"dim_date": "table", "fact_orders": "incremental"}


class Layers:
    """A table on its way through the layers, and the sensor that watches it."""

    def __init__(self, services: Services, instance: dg.DagsterInstance) -> None:
        self.lines = Spoiled(services, LINES).create()
        self.instance, self.cursor = instance, ""
        partitions = daily(FIRST)

        @dg.asset(key=FACT, deps=[STAGING], partitions_def=partitions, metadata={MATERIALIZATION: "incremental"})
        def fact() -> None: ...

        @dg.asset(key=MART, deps=[FACT], partitions_def=partitions, metadata={MATERIALIZATION: "table"})
        def mart() -> None: ...

        self.definitions = dg.Definitions(
            assets=[lake_asset(SHOP, LINES, partitions), staging_asset(SHOP, LINES, partitions), fact, mart],
            resources={"source": services.source, "store": services.store, "warehouse": services.warehouse},
        )
        self.sensor = catch_up_sensor(SHOP, FIRST, services.store, services.warehouse)

    def tick(self) -> dict[str, set[str]]:
        """What a look asks for: day -> assets; the answer of an earlier look is remembered."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor, definitions=self.definitions)
        result = self.sensor(context)
        assert isinstance(result, dg.SensorResult), result
        self.cursor = result.cursor or ""
        found: dict[str, set[str]] = {}
        for request in result.run_requests or []:
            assert request.asset_selection
            days = [request.partition_key] if request.partition_key else [request.tags[tag] for tag in SPAN_TAGS]
            for day in days:
                assert day
                found.setdefault(day, set()).update("/".join(key.path[1:]) for key in request.asset_selection)
        return found

    def wait(self) -> None:
        """Let the time pass after which something is asked for again."""
        memory = Memory.model_validate_json(self.cursor)
        for asked in memory.asked.values():
            asked.at -= ASK_AGAIN_AFTER * 2**asked.attempt
        self.cursor = memory.model_dump_json()

    def build(self, manifest: Manifest, *models: str) -> None:
        """What dbt notes when it has built models from a manifest."""
        database = self.lines.services.warehouse.database
        with self.lines.services.warehouse.connection("REPORTING_WH") as session, session.cursor() as cursor:
            for model in models:
                cursor.execute(
                    f"delete from {built_relation(database)} where model_name = %s and partition_date = %s::date",
                    (model, str(manifest.partition)),
                )
                cursor.execute(
                    f"insert into {built_relation(database)} (model_name, table_name, partition_date, manifest_hash) "
                    "select column1, column2, column3::date, column4 from values (%s, %s, %s, %s)",
                    (model, manifest.table, str(manifest.partition), manifest.hash),
                )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def layers(services: Services, instance: dg.DagsterInstance) -> Layers:
    """One day that all layers have."""
    layers = Layers(services, instance)
    layers.tick()
    layers.lines.insert(id=1)
    layers.build(layers.lines.stage(), "fact", "mart")
    assert layers.tick() == {}
    return layers


def test_a_day_that_only_the_lake_has_is_asked_for_in_every_layer_that_follows(layers: Layers) -> None:
    layers.lines.insert(id=2)
    layers.lines.extract()
    assert layers.tick() == {str(FIRST): {"staging/lines", "core/fact", "marts/mart"}}


def test_what_a_cancelled_run_left_after_staging_is_asked_for(layers: Layers, instance: dg.DagsterInstance) -> None:
    job = layers.definitions.resolve_implicit_global_asset_job_def()
    layers.lines.insert(id=2)
    layers.lines.stage()
    instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.CANCELED,
        tags={"dagster/partition": str(FIRST)},
        asset_selection=frozenset({LAKE, STAGING, FACT, MART}),
    )
    assert layers.tick() == {str(FIRST): {"core/fact", "marts/mart"}}


def test_a_mart_that_was_left_out_is_asked_for_alone(layers: Layers) -> None:
    layers.lines.insert(id=2)
    layers.build(layers.lines.stage(), "fact")
    assert layers.tick() == {str(FIRST): {"marts/mart"}}


def test_staging_that_was_loaded_from_an_older_manifest_is_asked_for(layers: Layers) -> None:
    database = layers.lines.services.warehouse.database
    with layers.lines.services.warehouse.connection("LOADING_WH") as session, session.cursor() as cursor:
        cursor.execute(f"update {loaded_relation(database)} set manifest_etag = 'of an older one'")
    assert "staging/lines" in layers.tick()[str(FIRST)]


def test_what_was_asked_for_is_asked_for_again_later_and_later_and_at_once_when_it_changes(layers: Layers) -> None:
    layers.lines.insert(id=2)
    layers.lines.extract()
    for _ in range(3):
        assert layers.tick()
        assert layers.tick() == {}
        layers.wait()
    assert layers.tick()
    layers.lines.insert(id=3)
    layers.lines.extract()
    assert layers.tick()


def test_a_day_that_a_run_is_on_waits_for_it(layers: Layers, instance: dg.DagsterInstance) -> None:
    job = layers.definitions.resolve_implicit_global_asset_job_def()
    layers.lines.insert(id=2)
    layers.lines.extract()
    run = instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": str(FIRST)},
        asset_selection=frozenset({STAGING}),
    )
    assert layers.tick() == {}
    instance.report_run_canceled(run)
    assert layers.tick()


def test_a_model_that_a_run_builds_whole_waits_for_it_on_every_day(
    layers: Layers, instance: dg.DagsterInstance
) -> None:
    job = layers.definitions.resolve_implicit_global_asset_job_def()
    layers.lines.insert(id=2)
    layers.build(layers.lines.stage(), "fact")
    # The run marks all days of the mart, and confirms them when it is through.
    run = instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": str(SECOND)},
        asset_selection=frozenset({FACT, MART}),
    )
    assert layers.tick() == {}
    # Of a model that a run adds its own days to, another day is not on its way.
    database = layers.lines.services.warehouse.database
    with layers.lines.services.warehouse.connection("REPORTING_WH") as session, session.cursor() as cursor:
        cursor.execute(f"delete from {built_relation(database)} where model_name = 'fact'")
    assert layers.tick() == {str(FIRST): {"core/fact", "marts/mart"}}
    layers.wait()
    layers.build(layers.lines.stage(), "fact")
    instance.report_run_canceled(run)
    assert layers.tick() == {str(FIRST): {"marts/mart"}}


def test_the_graph_tells_how_a_model_is_materialized(local_stack: Mapping[str, str]) -> None:
    from shopstream_assets.domains.shopstream.definitions import defs

    graph = defs.resolve_asset_graph()
    told = {name: graph.get(asset_key("shopstream", "core", name)).metadata[MATERIALIZATION] for name in BUILT}
    assert told == BUILT


def test_where_a_blocking_check_above_failed_its_asset_is_built_again_as_well(
    layers: Layers, instance: dg.DagsterInstance
) -> None:
    layers.lines.insert(id=2)
    layers.build(layers.lines.stage(), "fact")
    instance.report_runless_asset_event(
        AssetCheckEvaluation(asset_key=STAGING, check_name="equals_the_lake", passed=False, metadata={}, blocking=True)
    )
    assert layers.tick() == {str(FIRST): {"staging/lines", "core/fact", "marts/mart"}}


def compared(instance: dg.DagsterInstance, *days: dt.date) -> None:
    """The comparison of whole tables has found that these days differ from the source."""
    instance.report_runless_asset_event(
        AssetCheckEvaluation(
            asset_key=LAKE,
            check_name=CHECK,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={DAYS: dg.MetadataValue.text(json.dumps([str(day) for day in days]))},
        )
    )


def test_what_the_comparison_of_whole_tables_found_is_extracted_once(
    layers: Layers, instance: dg.DagsterInstance
) -> None:
    compared(instance, FIRST, SECOND)
    everything = {"lake/lines", "staging/lines", "core/fact", "marts/mart"}
    assert layers.tick() == {str(FIRST): everything, str(SECOND): everything}
    assert layers.tick() == {}


def test_scattered_days_that_the_comparison_found_are_one_backfill_from_the_lake_on(
    layers: Layers, instance: dg.DagsterInstance
) -> None:
    compared(instance, FIRST, SECOND + ONE_DAY)
    context = dg.build_sensor_context(instance=instance, cursor=layers.cursor, definitions=layers.definitions)

    # As the daemon does, which refuses a backfill of assets that the sensor does not name as its own.
    (request,) = layers.sensor.evaluate_tick(context).run_requests or ()

    assert request.asset_graph_subset
    assert request.asset_graph_subset.asset_keys == {LAKE, STAGING, FACT, MART}
