"""Which runs a demo consists of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

import dagster as dg
import pytest

from shopstream_assets.cli.demo import DAY_BY_DAY, DAYS, Pending, demo_days, runs_of
from shopstream_assets.platform.declare.on_a_clock import ON_A_CLOCK
from shopstream_assets.platform.declare.partitions import TAKES_TAGS

TODAY = dt.datetime.now(dt.UTC).date()
DAILY = dg.DailyPartitionsDefinition((TODAY - dt.timedelta(days=120)).isoformat(), end_offset=1)
SOURCE, LAKE, STAGING, MART = (f"shop/{layer}/orders" for layer in ("postgres", "lake", "staging", "marts"))
SETTINGS = "shop/operations/days_to_repair"


def graph(*keys: str, checks: Sequence[dg.AssetChecksDefinition] = ()) -> dg.AssetGraph:
    """A graph of assets without code; `SETTINGS` has no partitions."""
    specs = [
        dg.AssetSpec(dg.AssetKey.from_user_string(key), partitions_def=None if key == SETTINGS else DAILY)
        for key in keys
    ]

    def none() -> None:
        raise NotImplementedError

    made = [dg.multi_asset(specs=[spec], name=spec.key.to_python_identifier())(none) for spec in specs]
    return dg.Definitions(made, asset_checks=checks).resolve_asset_graph()


def test_the_checks_of_a_run_are_those_of_its_assets_but_for_those_on_a_clock() -> None:
    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec("rows", asset=dg.AssetKey.from_user_string(STAGING)),
            dg.AssetCheckSpec("whole", asset=dg.AssetKey.from_user_string(LAKE), metadata=ON_A_CLOCK),
            dg.AssetCheckSpec("figures", asset=dg.AssetKey.from_user_string(MART)),
        ]
    )
    def checks() -> Iterator[dg.AssetCheckResult]:
        yield from ()

    whole = graph(SOURCE, LAKE, STAGING, MART, checks=[checks])
    days = demo_days(whole)
    first, *single, last = runs_of(whole, Pending(days[0], days[-1]))

    assert list(first.checks) == []
    assert all(list(run.checks) == [f"{STAGING}:rows"] for run in single)
    assert list(last.checks) == [f"{MART}:figures", f"{STAGING}:rows"]


def asked(graph: dg.AssetGraph, pending: Pending) -> list[tuple[str, str, set[str]]]:
    """First day, last day and assets of each run; no asset stands for all of them."""
    return [
        (
            run.tags["dagster/asset_partition_range_start"],
            run.tags["dagster/asset_partition_range_end"],
            set(run.assets),
        )
        for run in runs_of(graph, pending)
    ]


def test_the_last_days_are_carried_one_by_one_to_staging_and_all_the_rest_follows_at_the_end() -> None:
    whole = graph(SOURCE, LAKE, STAGING, MART, SETTINGS)
    days = demo_days(whole)
    played = {SOURCE, LAKE, STAGING}
    everything = Pending(days[0], days[-1])
    for run in runs_of(whole, everything):
        assert [run.tags[tag] for tag in TAKES_TAGS] == [days[0], days[-1]], "no sensor is to ask for one meanwhile"

    assert asked(whole, everything) == [
        (days[0], days[DAYS - DAY_BY_DAY - 1], {SOURCE}),
        *((day, day, played) for day in days[-DAY_BY_DAY:]),
        (days[0], days[-1], {LAKE, STAGING, MART, SETTINGS}),
    ]
    assert days[-1] == (TODAY - dt.timedelta(days=1)).isoformat()


def test_two_days_later_there_are_those_two_to_play() -> None:
    whole = graph(SOURCE, LAKE, STAGING, MART)
    *_, before, last = demo_days(whole)

    assert asked(whole, Pending(before, last)) == [
        (before, before, {SOURCE, LAKE, STAGING}),
        (last, last, {SOURCE, LAKE, STAGING}),
        (before, last, {LAKE, STAGING, MART}),
    ]


@pytest.mark.parametrize(
    ("keys", "since"),
    [((SOURCE, LAKE, STAGING, MART), -1), ((LAKE, STAGING, MART), 0)],
    ids=["a single day", "a source that nobody plays"],
)
def test_one_run_is_enough_for(keys: tuple[str, ...], since: int) -> None:
    whole = graph(*keys)
    days = demo_days(whole)

    assert asked(whole, Pending(days[since], days[-1])) == [(days[since], days[-1], set())]
