"""Days that failed or are missing: found, told as a page of the UI, and repaired by the command that is told."""

import datetime as dt
import shlex
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.partitions import ONE_DAY, daily, ranges, spans
from shopstream_assets.platform.operate.failed_runs import failed_runs
from shopstream_assets.platform.operate.repair import NOTHING_TO_REPAIR, Days, commands, days_by_asset
from shopstream_assets.platform.operate.repair_page import COMMANDS_SHOWN, days_to_repair, markdown, repair_sensor
from shopstream_assets.platform.operate.repair_requests import Memory, due
from shopstream_assets.platform.refresh.asked import ASK_AGAIN_AFTER
from shopstream_assets.platform.refresh.run_requests import SPAN_TAGS

NOW = dt.datetime.now(dt.UTC)
START = NOW.date() - ONE_DAY * 4
DAYS = [str(START + ONE_DAY * n) for n in range(4)]
ORDERS, MART = dg.AssetKey(["shop", "lake", "orders"]), dg.AssetKey(["shop", "marts", "mart"])
SHOP = Domain("shop", (), simulator=lambda _: pytest.fail("nothing is simulated"))
PAGE = days_to_repair(SHOP)
ATTEMPTS = 2
breaks: set[str] = set()


@dg.asset(key=ORDERS, partitions_def=daily(START))
def orders(context: dg.AssetExecutionContext) -> None:
    if context.partition_key in breaks:
        raise RuntimeError("the source is down")


@dg.asset(key=MART, partitions_def=daily(START), deps=[ORDERS])
def mart() -> None:
    if "mart" in breaks:
        raise RuntimeError("the warehouse is down")


@dg.asset(key=["other", "lake", "orders"], partitions_def=daily(START))
def of_another_domain() -> None: ...


@dg.asset_check(asset=MART, blocking=True)
def adds_up() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed="check" not in breaks, description="the sums differ")


@dg.asset_check(asset=ORDERS, blocking=True)
def counts() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed="orders check" not in breaks)


DEFS = dg.Definitions(
    assets=[orders, mart, of_another_domain, PAGE],
    asset_checks=[adds_up, counts],
    sensors=[repair_sensor(SHOP, ATTEMPTS)],
)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    breaks.clear()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def build(instance: dg.DagsterInstance, *days: str) -> None:
    for day in days:
        dg.materialize([orders, mart], instance=instance, partition_key=day, raise_on_error=False)


def look(instance: dg.DagsterInstance, cursor: str | None = None) -> tuple[list[dg.AssetMaterialization], str | None]:
    context = dg.build_sensor_context(instance, cursor=cursor, repository_def=DEFS.get_repository_def())
    found = DEFS.resolve_sensor_def("shop_days_to_repair").evaluate_tick(context)
    assert not found.run_requests
    events = [event for event in found.asset_events if isinstance(event, dg.AssetMaterialization)]
    return events, found.cursor or cursor


class Watch:
    """The sensor over several looks, with as much time between them as a test says."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.cursor, self.told = instance, "", ""

    def look(self) -> dict[str, set[str]]:
        """What a look asks for: day -> assets."""
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, repository_def=DEFS.get_repository_def())
        found = DEFS.resolve_sensor_def("shop_days_to_repair").evaluate_tick(context)
        self.cursor = found.cursor or self.cursor
        for event in found.asset_events:
            assert isinstance(event, dg.AssetMaterialization)
            self.told = str(event.metadata["days_to_repair"].value)
        asked: dict[str, set[str]] = {}
        for request in found.run_requests or []:
            assert request.asset_selection
            assert request.tags["shopstream/asked_by"] == "repair"
            first, last = (request.partition_key or request.tags[tag] for tag in SPAN_TAGS)
            for day in DAYS[DAYS.index(first) : DAYS.index(last) + 1]:
                asked.setdefault(day, set()).update(key.path[-1] for key in request.asset_selection)
        return asked

    def wait(self, times: float = 1) -> None:
        """Let `times` the time pass after which what stands on the list is asked for."""
        memory = Memory.model_validate_json(self.cursor)
        for days in memory.asked.values():
            for asked in days.values():
                asked.at -= times * ASK_AGAIN_AFTER
        self.cursor = memory.model_dump_json()


def test_what_stands_on_the_list_for_a_while_without_a_run_is_asked_for_with_what_follows(
    instance: dg.DagsterInstance,
) -> None:
    breaks.add(DAYS[2])
    build(instance, *DAYS[:3])
    watch = Watch(instance)

    assert watch.look() == {}
    assert watch.look() == {}
    watch.wait()
    # Failed and missing ones; of the last day both, of what nobody has begun (the other domain) nothing.
    assert watch.look() == {DAYS[2]: {"orders", "mart"}, DAYS[3]: {"orders", "mart"}}
    assert watch.look() == {}


def test_a_day_that_always_fails_is_asked_for_as_often_as_allowed_and_then_left_to_people(
    instance: dg.DagsterInstance,
) -> None:
    breaks.add(DAYS[1])
    build(instance, *DAYS)
    watch = Watch(instance)
    watch.look()
    for attempt in range(ATTEMPTS):
        watch.wait(2**attempt)
        assert watch.look() == {DAYS[1]: {"orders", "mart"}}
        build(instance, DAYS[1])
        assert watch.look() == {}
    assert "Left to you" in watch.told
    assert f"- shop/lake/orders: {DAYS[1]}" in watch.told

    watch.wait(1000)
    assert watch.look() == {}

    breaks.clear()
    build(instance, DAYS[1])
    assert watch.look() == {}
    assert watch.told == NOTHING_TO_REPAIR
    breaks.add(DAYS[1])
    build(instance, DAYS[1])
    watch.look()
    watch.wait()
    assert watch.look() == {DAYS[1]: {"orders", "mart"}}


def test_a_day_that_a_run_is_on_waits_and_after_its_end_as_long_as_before(instance: dg.DagsterInstance) -> None:
    breaks.add(DAYS[1])
    build(instance, *DAYS)
    watch = Watch(instance)
    watch.look()
    run = instance.create_run_for_job(
        DEFS.resolve_implicit_global_asset_job_def(),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": DAYS[1]},
        asset_selection=frozenset({MART}),
    )
    watch.wait()
    assert watch.look() == {}
    watch.wait()
    instance.report_run_canceled(run)
    assert watch.look() == {}
    watch.wait()
    assert watch.look() == {DAYS[1]: {"orders", "mart"}}


def test_where_a_blocking_check_above_failed_its_asset_is_repaired_too(instance: dg.DagsterInstance) -> None:
    build(instance, *DAYS)
    breaks.add("mart")
    breaks.add("orders check")
    run_of_a_backfill(instance, DAYS[1])
    watch = Watch(instance)
    watch.look()
    watch.wait()
    assert watch.look() == {DAYS[1]: {"orders", "mart"}}


def test_with_a_budget_of_nothing_nothing_is_asked_for(instance: dg.DagsterInstance) -> None:
    memory = Memory()
    found = {ORDERS: Days(materialized=[], failed=DAYS[:1], running=[], missing=DAYS[1:])}
    later = NOW + 2 * ASK_AGAIN_AFTER
    assert not due(found, memory, (), (), NOW, 0)
    assert not due(found, memory, (), (), later, 0)
    assert not memory.is_due(later, 0)
    assert memory.given_up(0) == {}
    assert due(found, memory, (), (), later, 1)


def test_what_is_remembered_stays_small(instance: dg.DagsterInstance) -> None:
    days = [str(START - ONE_DAY * n) for n in range(1000, 0, -1)]
    memory = Memory()
    due({ORDERS: Days(materialized=[], failed=days, running=[], missing=[])}, memory, (), (), NOW, 2)
    packed = memory.model_dump_json()
    assert len(packed) < 300
    assert Memory.model_validate_json(packed) == memory


def page(events: list[dg.AssetMaterialization]) -> str:
    (event,) = events
    assert event.asset_key == PAGE.key
    text = event.metadata["days_to_repair"].value
    assert isinstance(text, str)
    return text


def test_failed_and_missing_days_are_told_apart_and_the_running_day_is_not_due(instance: dg.DagsterInstance) -> None:
    breaks.add(DAYS[1])
    build(instance, *DAYS[:2])

    found = days_by_asset(instance, DEFS.resolve_asset_graph(), NOW)

    assert found[ORDERS] == Days(materialized=DAYS[:1], failed=DAYS[1:2], running=[], missing=DAYS[2:])
    assert found[MART] == Days(materialized=DAYS[:1], failed=DAYS[1:2], running=[], missing=DAYS[2:])
    assert PAGE.key not in found


def test_the_commands_repair_what_they_name_and_nothing_is_left(instance: dg.DagsterInstance) -> None:
    breaks.add(DAYS[1])
    build(instance, DAYS[0], DAYS[1], DAYS[3])
    breaks.clear()
    graph = DEFS.resolve_asset_graph()

    told = [shlex.split(command) for command in commands(days_by_asset(instance, graph, NOW), SHOP)]
    assert told
    for command in told:
        assert command[:5] == ["dagster", "asset", "materialize", "-m", "shopstream_assets.domains.shop.definitions"]
        selection, span = command[command.index("--select") + 1], command[command.index("--partition-range") + 1]
        wanted = dg.AssetSelection.from_string(selection).resolve(graph)
        first, last = span.split("...")
        for day in DAYS[DAYS.index(first) : DAYS.index(last) + 1]:
            dg.materialize(
                [orders, mart, of_another_domain], selection=list(wanted), instance=instance, partition_key=day
            )

    assert not any(days.to_repair for days in days_by_asset(instance, graph, NOW).values())


def test_the_page_names_each_asset_with_its_days_and_links_to_its_partitions(instance: dg.DagsterInstance) -> None:
    breaks.add(DAYS[1])
    build(instance, *DAYS)

    events, _ = look(instance)

    text = page(events)
    assert f"| [shop/lake/orders](/assets/shop/lake/orders?view=partitions) | 1 | 0 | {DAYS[1]} |" in text
    assert f"--partition-range {DAYS[1]}...{DAYS[1]}" in text
    assert "other" not in text
    assert {name: events[0].metadata[name].value for name in ("assets", "failed_days", "missing_days")} == {
        "assets": 2,
        "failed_days": 2,
        "missing_days": 0,
    }


def test_the_page_is_written_when_what_it_says_changes_and_only_then(instance: dg.DagsterInstance) -> None:
    build(instance, *DAYS[:3])
    events, cursor = look(instance)
    assert DAYS[3] in page(events)

    assert look(instance, cursor) == ([], cursor)
    build(instance, DAYS[2])
    events, cursor = look(instance, cursor)
    assert events == []
    build(instance, DAYS[3])
    events, cursor = look(instance, cursor)
    assert page(events) == NOTHING_TO_REPAIR


def run_of_a_backfill(instance: dg.DagsterInstance, day: str) -> bool:
    tags = {"dagster/backfill": "abcdefgh"}
    job = DEFS.resolve_implicit_global_asset_job_def().get_subset(asset_selection={ORDERS, MART})
    return job.execute_in_process(instance=instance, partition_key=day, tags=tags, raise_on_error=False).success


def test_a_run_that_failed_at_a_check_after_all_days_were_there_is_told_until_a_later_one_succeeds(
    instance: dg.DagsterInstance,
) -> None:
    build(instance, *DAYS)
    breaks.add("check")
    assert not run_of_a_backfill(instance, DAYS[2])
    # Which is why Dagster calls the backfill a success.
    complete = days_by_asset(instance, DEFS.resolve_asset_graph(), NOW)
    assert not complete[ORDERS].to_repair
    assert not complete[MART].to_repair

    (failed,) = failed_runs(instance, dt.datetime.now(dt.UTC), "shop")
    assert (failed.first, failed.last, failed.backfill) == (DAYS[2], DAYS[2], "abcdefgh")
    assert "adds_up" in failed.why
    events, cursor = look(instance)
    text = page(events)
    assert NOTHING_TO_REPAIR in text
    assert f"[{failed.run_id[:8]}](/runs/{failed.run_id}) of backfill [abcdefgh](/runs/b/abcdefgh), {DAYS[2]}:" in text

    breaks.clear()
    assert run_of_a_backfill(instance, DAYS[1])
    assert failed_runs(instance, dt.datetime.now(dt.UTC), "shop") == [failed]
    assert run_of_a_backfill(instance, DAYS[2])
    assert failed_runs(instance, dt.datetime.now(dt.UTC), "shop") == []
    assert page(look(instance, cursor)[0]) == NOTHING_TO_REPAIR


def test_of_a_step_whose_retries_are_used_up_the_cause_is_told(instance: dg.DagsterInstance) -> None:
    @dg.asset(key=ORDERS, partitions_def=daily(START), retry_policy=dg.RetryPolicy(max_retries=1))
    def tried_again() -> None:
        raise dg.Failure("the warehouse did not answer", allow_retries=True)

    dg.materialize([tried_again], instance=instance, partition_key=DAYS[1], raise_on_error=False)

    (failed,) = failed_runs(instance, dt.datetime.now(dt.UTC), "shop")
    assert "the warehouse did not answer" in failed.why
    assert "max_retries" not in failed.why


def test_a_run_of_another_domain_or_without_days_is_no_matter_of_this_one(instance: dg.DagsterInstance) -> None:
    breaks.add(DAYS[1])
    build(instance, DAYS[1])
    assert failed_runs(instance, dt.datetime.now(dt.UTC), "other") == []
    assert len(failed_runs(instance, dt.datetime.now(dt.UTC), "shop")) == 1


def test_a_page_of_many_gaps_shows_the_first_commands_and_how_many_more_there_are() -> None:
    gaps = [str(START - ONE_DAY * 2 * n) for n in range(COMMANDS_SHOWN + 3)]
    found = {ORDERS: Days(materialized=[], failed=[], running=[], missing=sorted(gaps))}

    text = markdown(found, SHOP)

    assert text.count("dagster asset materialize") == COMMANDS_SHOWN
    assert "- and 3 more: `shopstream status --domain shop` lists them" in text


def test_days_in_a_row_are_one_range() -> None:
    days = ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-05"]

    assert list(ranges(days)) == [("2026-02-27", "2026-03-01"), ("2026-03-05", "2026-03-05")]
    assert spans(days) == "2026-02-27..2026-03-01, 2026-03-05"
    assert list(ranges([])) == []
