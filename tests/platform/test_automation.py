"""Real ticks of the automation conditions: on a small graph with every kind of asset, and on the real definitions."""

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import dagster as dg
import pytest
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.events import StepMaterializationData

from shopstream_assets.platform.automation import FOLLOW_CHANGES, FOLLOW_CHANGES_WHOLE
from shopstream_assets.platform.partitions import ONE_DAY, daily

START = dt.datetime.now(dt.UTC).replace(minute=1, second=0, microsecond=0)
TODAY, YESTERDAY, LONG_AGO = (str(START.date() - ONE_DAY * n) for n in (0, 1, 40))
DAYS = daily(START.date() - ONE_DAY * 60)


class Broken:
    """What fails at the moment."""

    def __init__(self) -> None:
        self.check = self.staging = self.mart = False


broken = Broken()


@dg.asset(partitions_def=DAYS, check_specs=[dg.AssetCheckSpec("rows_accounted_for", asset="lake", blocking=True)])
def lake() -> dg.MaterializeResult:
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=not broken.check)])


@dg.asset(partitions_def=DAYS, deps=[lake], automation_condition=FOLLOW_CHANGES)
def staging() -> None:
    if broken.staging:
        raise RuntimeError("the warehouse is down")


@dg.asset(partitions_def=DAYS, deps=[staging], automation_condition=FOLLOW_CHANGES)
def by_day() -> None: ...


@dg.asset(
    deps=[by_day],
    automation_condition=FOLLOW_CHANGES_WHOLE,
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(hours=36)),
)
def whole() -> None:
    if broken.mart:
        raise RuntimeError("the warehouse is down")


SMALL = dg.Definitions(assets=[lake, staging, by_day, whole])


@dataclass
class Ticks:
    """The automation sensor's ticks, one after the other, at `now`."""

    defs: dg.Definitions
    instance: dg.DagsterInstance
    now: dt.datetime = START
    cursor: AssetDaemonCursor | None = None
    requested: list[set[tuple[str, str | None]]] = field(default_factory=list)

    def tick(self, minutes: float = 0.5) -> set[tuple[str, str | None]]:
        """(asset, partition) that the next tick asks for, `minutes` after the one before."""
        self.now += dt.timedelta(minutes=minutes)
        result = dg.evaluate_automation_conditions(
            self.defs, self.instance, cursor=self.cursor, evaluation_time=self.now
        )
        self.cursor = result.cursor
        found = {
            (key.path[-1], partition)
            for key in self.defs.resolve_asset_graph().materializable_asset_keys
            for partition in result.get_requested_partitions(key)
        }
        self.requested.append(found)
        return found

    def run(self, *names: str, day: str | None = None) -> bool:
        """Materialize assets in one run; whether it succeeded."""
        job = self.defs.resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey(name) for name in names]
        return job.execute_in_process(
            instance=self.instance, asset_selection=keys, partition_key=day, raise_on_error=False
        ).success

    def run_in_progress(self, *names: str, day: str | None = None) -> dg.DagsterRun:
        """A run of the assets that has started and not ended."""
        job = self.defs.resolve_implicit_global_asset_job_def().get_subset(
            asset_selection={dg.AssetKey(name) for name in names}
        )
        tags = {"dagster/partition": day} if day else {}
        return self.instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.STARTED, tags=tags, asset_selection={dg.AssetKey(name) for name in names}
        )


@pytest.fixture
def ticks() -> Iterator[Ticks]:
    """A small platform whose days are all there, after its first tick."""
    broken.__init__()  # type: ignore[misc]
    with dg.DagsterInstance.ephemeral() as instance:
        given = Ticks(SMALL, instance)
        graph = SMALL.resolve_asset_graph()
        for name in ("lake", "staging", "by_day"):
            _build(
                instance, graph, dg.AssetKey(name), [LONG_AGO, *(str(START.date() - ONE_DAY * n) for n in (3, 2, 1))]
            )
        _build(instance, graph, dg.AssetKey("whole"), [None])
        assert given.tick() == set()
        yield given


def test_nothing_is_requested_while_nothing_changes(ticks: Ticks) -> None:
    assert [ticks.tick(minutes) for minutes in (0.5, 0.5, 15, 15, 60, 12 * 60)] == [set()] * 6


def test_an_empty_platform_requests_nothing() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        ticks = Ticks(SMALL, instance)
        assert [ticks.tick(minutes) for minutes in (0.5, 0.5, 15, 24 * 60)] == [set()] * 4


@pytest.mark.parametrize("day", [TODAY, YESTERDAY, LONG_AGO])
def test_a_day_of_any_age_that_was_materialized_by_hand_is_followed_down_to_the_marts(ticks: Ticks, day: str) -> None:
    assert ticks.run("lake", day=day)
    assert ticks.tick() == {("staging", day), ("by_day", day)}
    assert ticks.run("staging", "by_day", day=day)
    assert ticks.tick() == {("whole", None)}
    assert ticks.run("whole")
    assert [ticks.tick(minutes) for minutes in (0.5, 0.5, 15)] == [set()] * 3


def test_a_run_of_the_whole_chain_leaves_nothing_to_request(ticks: Ticks) -> None:
    assert ticks.run("lake", "staging", "by_day", day=TODAY)
    assert ticks.tick() == {("whole", None)}
    assert ticks.run("whole")
    assert [ticks.tick(), ticks.tick(15)] == [set(), set()]


@pytest.mark.parametrize("whole_job", [False, True])
def test_a_run_over_many_days_leaves_nothing_to_request_either(ticks: Ticks, whole_job: bool) -> None:
    names = ("lake", "staging", "by_day", "whole")
    days = [str(START.date() - ONE_DAY * n) for n in range(40)]
    run = ticks.run_in_progress(*names, day=TODAY)
    if whole_job:
        job = SMALL.resolve_implicit_global_asset_job_def()
        run = ticks.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    for name in names:
        for day in days:
            _materialized(ticks.instance, run, name, day if name != "whole" else None)
    assert ticks.tick() == set()
    ticks.instance.report_run_canceled(run)
    assert [ticks.tick(), ticks.tick(15)] == [set(), set()]


def _materialized(instance: dg.DagsterInstance, run: dg.DagsterRun, name: str, day: str | None) -> None:
    """Record in the event log that a run materialized a partition."""
    data = StepMaterializationData(dg.AssetMaterialization(name, partition=day))
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
        job_name=run.job_name,
        event_specific_data=data,
        step_key=name,
    )
    instance.report_dagster_event(event, run.run_id)


def test_what_depends_on_a_failed_blocking_check_waits_until_it_passes(ticks: Ticks) -> None:
    broken.check = True
    ticks.run("lake", day=TODAY)
    assert [ticks.tick(minutes) for minutes in (0.5, 0.5, 15)] == [set()] * 3
    broken.check = False
    assert ticks.run("lake", day=TODAY)
    assert ticks.tick() == {("staging", TODAY), ("by_day", TODAY)}


def test_an_upstream_that_changes_while_its_downstream_runs_is_followed_after_that_run(ticks: Ticks) -> None:
    assert ticks.run("lake", day=YESTERDAY)
    assert ticks.tick() == {("staging", YESTERDAY), ("by_day", YESTERDAY)}
    run = ticks.run_in_progress("staging", "by_day", day=YESTERDAY)
    assert ticks.run("lake", day=YESTERDAY)
    assert ticks.tick() == set()
    assert ticks.tick() == set()
    for name in ("staging", "by_day"):
        ticks.instance.report_runless_asset_event(dg.AssetMaterialization(name, partition=YESTERDAY))
    ticks.instance.report_run_canceled(run)
    assert ticks.tick() >= {("staging", YESTERDAY), ("by_day", YESTERDAY)}
    assert ticks.run("staging", "by_day", day=YESTERDAY)
    assert ticks.tick() == {("whole", None)}
    assert ticks.run("whole")
    assert [ticks.tick(), ticks.tick(15)] == [set(), set()]


def test_a_change_right_after_a_request_is_not_taken_for_the_one_that_was_asked_for(ticks: Ticks) -> None:
    assert ticks.run("by_day", day=YESTERDAY)
    assert ticks.tick() == {("whole", None)}
    run = ticks.run_in_progress("whole")
    assert ticks.run("by_day", day=LONG_AGO)
    assert ticks.tick() == set()
    ticks.instance.report_run_canceled(run)
    assert ticks.tick() == {("whole", None)}


def test_what_failed_is_tried_again_every_quarter_of_an_hour_until_it_succeeds(ticks: Ticks) -> None:
    broken.staging = True
    assert not ticks.run("lake", "staging", "by_day", day=YESTERDAY)
    assert [ticks.tick(), ticks.tick()] == [set(), set()]
    again = {("staging", YESTERDAY), ("by_day", YESTERDAY)}
    assert ticks.tick(15) == again
    assert not ticks.run("staging", "by_day", day=YESTERDAY)
    assert [ticks.tick(), ticks.tick()] == [set(), set()]
    broken.staging = False
    assert ticks.tick(15) == again
    assert ticks.run("staging", "by_day", day=YESTERDAY)
    assert ticks.tick() == {("whole", None)}
    assert ticks.run("whole")
    assert [ticks.tick(), ticks.tick(15), ticks.tick(15)] == [set()] * 3


def test_a_mart_without_partitions_that_failed_is_tried_again_too(ticks: Ticks) -> None:
    broken.mart = True
    assert ticks.run("by_day", day=YESTERDAY)
    assert ticks.tick() == {("whole", None)}
    assert not ticks.run("whole")
    assert [ticks.tick(), ticks.tick()] == [set(), set()]
    assert ticks.tick(15) == {("whole", None)}
    broken.mart = False
    assert ticks.run("whole")
    assert [ticks.tick(), ticks.tick(15)] == [set(), set()]


def test_a_failure_of_the_lake_is_left_to_the_change_sensor(ticks: Ticks) -> None:
    broken.check = True
    assert not ticks.run("lake", "staging", "by_day", day=YESTERDAY)
    assert [ticks.tick(minutes) for minutes in (0.5, 15, 15)] == [set()] * 3


def test_a_recent_day_that_its_dependencies_have_is_built_and_an_old_one_is_not(ticks: Ticks) -> None:
    old = str(START.date() - ONE_DAY * 20)
    other = Ticks(SMALL, ticks.instance)
    for day in (old, TODAY):
        assert ticks.run("lake", day=day)
    # Sensors that were off while that happened.
    assert other.tick() == set()
    assert other.tick(15) == {("staging", TODAY), ("by_day", TODAY)}


def test_a_new_day_alone_requests_nothing(ticks: Ticks) -> None:
    assert [ticks.tick(24 * 60), ticks.tick(), ticks.tick(15)] == [set()] * 3


def test_a_mart_without_partitions_is_built_again_once_its_freshness_has_failed(ticks: Ticks) -> None:
    from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

    states = [FreshnessState.PASS, FreshnessState.FAIL, FreshnessState.PASS]
    for before, after in pairwise(states):
        ticks.instance.report_runless_asset_event(
            FreshnessStateChange(
                key=dg.AssetKey("whole"),
                previous_state=before,
                new_state=after,
                state_change_timestamp=time.time(),
            )
        )
        assert ticks.tick() == set()
        assert ticks.tick(15) == ({("whole", None)} if after == FreshnessState.FAIL else set())


@pytest.fixture(scope="module")
def shop(local_stack: Mapping[str, str]) -> dg.Definitions:
    """The real definitions of the domain shopstream."""
    from shopstream_assets.shopstream.definitions import defs

    return defs


@pytest.fixture(scope="module")
def full_shop(shop: dg.Definitions) -> Iterator[Ticks]:
    """Ninety days of every asset of the shop, after its first tick."""
    graph = shop.resolve_asset_graph()
    with dg.DagsterInstance.ephemeral() as instance:
        for key in graph.materializable_asset_keys:
            _build(instance, graph, key, [str(START.date() - ONE_DAY * n) for n in range(1, 91)])
        ticks = Ticks(shop, instance)
        assert ticks.tick() == set()
        yield ticks


def _build(instance: dg.DagsterInstance, graph: AssetGraph, key: dg.AssetKey, days: Sequence[str | None]) -> None:
    """Report days of an asset as materialized, and its blocking checks as passed."""
    for day in days:
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=day))
    for check in graph.get(key).check_keys:
        if graph.get(check).blocking:
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(asset_key=key, check_name=check.name, passed=True, blocking=True, metadata={})
            )


def test_a_shop_that_is_up_to_date_requests_nothing_at_less_than_a_second_of_cpu_per_tick(full_shop: Ticks) -> None:
    spent = []
    for minutes in (0.5, 0.5, 15, 15, 60):
        before = time.process_time()
        assert full_shop.tick(minutes) == set()
        spent.append(time.process_time() - before)
    assert sorted(spent)[2] < 1, f"CPU seconds of the ticks: {spent}"


@pytest.mark.parametrize("back", [1, 60])
def test_a_staging_partition_loaded_by_hand_refreshes_what_is_made_from_it_and_nothing_else(
    full_shop: Ticks, back: int
) -> None:
    graph, day = full_shop.defs.resolve_asset_graph(), str(START.date() - ONE_DAY * back)
    staging_orders = dg.AssetKey(["shopstream", "staging", "orders"])
    downstream = dg.AssetSelection.assets(staging_orders).downstream(include_self=False).resolve(graph)
    _build(full_shop.instance, graph, staging_orders, [day])
    assert full_shop.tick() == {(key.path[-1], day) for key in downstream}
    for key in graph.toposorted_asset_keys:
        if key in downstream:
            _build(full_shop.instance, graph, key, [day])
    # Without a run, Dagster cannot know that the later ones were built from the earlier ones.
    full_shop.tick()
    assert [full_shop.tick(minutes) for minutes in (0.5, 0.5, 15)] == [set()] * 3
