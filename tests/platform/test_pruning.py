"""The pruning of Dagster's storage in a real Postgres: what it deletes, and that Dagster answers as before."""

import datetime as dt
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as db
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as checks
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as events
from dagster._core.storage.runs.schema import RunsTable as runs
from dagster._core.storage.runs.schema import RunTagsTable as tags

from shopstream_assets.platform.declare.partitions import ONE_DAY, daily
from shopstream_assets.platform.operate.pruning import DAYS_KEPT, HISTORY, PRUNE_WEEKLY, prune_event_log

START = dt.date(2026, 3, 1)
DAYS = [str(START + ONE_DAY * n) for n in range(4)]
OLD = dt.datetime.now(dt.UTC).replace(tzinfo=None) - DAYS_KEPT - ONE_DAY

PARTS = daily(START)


class Draw(dg.Config):
    """What a run does: whether its check passes, and whether it breaks down before that."""

    passes: bool = True
    breaks: bool = False


@dg.asset(partitions_def=PARTS)
def orders(context: dg.AssetExecutionContext, config: Draw) -> None:
    context.log_event(dg.AssetObservation("orders", partition=context.partition_key))
    if config.breaks:
        raise RuntimeError("drawn")


@dg.asset(deps=[orders], partitions_def=PARTS)
def daily_mart() -> None: ...


@dg.asset(deps=[orders])
def mart() -> None: ...


@dg.asset_check(asset=orders)
def whole(config: Draw) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=config.passes)


@dg.asset_check(asset=daily_mart, partitions_def=PARTS)
def of_a_day(config: Draw) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=config.passes)


ASSETS: list[dg.AssetsDefinition] = [orders, daily_mart, mart]
CHECKS: list[dg.AssetChecksDefinition] = [whole, of_a_day]
# A materialization of each day of two assets and of a third, observations of each day of one, planned events apart.
HELD_AT_MOST = 2 * len(DAYS) + 1 + len(DAYS)
RESULTS_AT_MOST = 1 + len(DAYS)


def refresh(instance: dg.DagsterInstance, chance: random.Random) -> str:
    """A run of some assets on some day; returns its id."""
    draw = {"passes": chance.random() < 0.7, "breaks": chance.random() < 0.2}
    assets = sorted(chance.sample(ASSETS, chance.randint(1, len(ASSETS))), key=ASSETS.index)
    chosen = [each.node_def.name for each in CHECKS if each.check_key.asset_key in {asset.key for asset in assets}]
    configured = [*chosen, *(["orders"] if orders in assets else [])]
    done = dg.materialize(
        [*assets, *(each for each in CHECKS if each.node_def.name in chosen)],
        instance=instance,
        partition_key=None if assets == [mart] else chance.choice(DAYS),
        run_config={"ops": {name: {"config": draw} for name in configured}},
        raise_on_error=False,
    )
    return done.run_id


def answers(instance: dg.DagsterInstance) -> dict[str, Any]:
    """What Dagster's pages and sensors ask of the storage."""
    storage = instance.event_log_storage
    latest = storage.get_latest_asset_check_execution_by_key([each.check_key for each in CHECKS])
    return {
        **{f"days of {each.key}": instance.get_materialized_partitions(each.key) for each in ASSETS},
        **{
            f"{kind} of {each.key}": storage.get_latest_storage_id_by_partition(each.key, kind)
            for each in ASSETS
            for kind in (dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION)
        },
        **{f"latest of {each.key}": instance.get_latest_materialization_event(each.key) for each in ASSETS},
        "checks": {key: (record.status, record.run_id, record.event) for key, record in latest.items()},
        "checks of days": [storage.get_asset_check_partition_info([each.check_key]) for each in CHECKS],
    }


def age(instance: dg.DagsterInstance, run_ids: Sequence[str], at: dt.datetime = OLD) -> None:
    """Let runs and all that they left be old."""
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        connection.execute(db.update(events).values(timestamp=at).where(events.c.run_id.in_(run_ids)))
        connection.execute(db.update(checks).values(create_timestamp=at).where(checks.c.run_id.in_(run_ids)))
        connection.execute(db.update(runs).values(create_timestamp=at).where(runs.c.run_id.in_(run_ids)))


def held(instance: dg.DagsterInstance, what: db.Select) -> list[Any]:
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        return list(connection.execute(what).scalars())


def logs_of(instance: dg.DagsterInstance, run_id: str) -> Path:
    path = Path(instance.compute_log_manager.get_captured_local_path([run_id, "step"], "out"))  # type: ignore[attr-defined]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("what a step printed")
    return path


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 12))])
def test_dagster_answers_as_before_and_what_is_old_holds_one_event_for_each_partition(
    own_dagster: dg.DagsterInstance, seed: int
) -> None:
    chance = random.Random(seed)
    old = [refresh(own_dagster, chance) for _ in range(12)]
    age(own_dagster, old)
    new = [refresh(own_dagster, chance) for _ in range(3)]
    recent = held(own_dagster, db.select(events.c.id).where(events.c.run_id.in_(new)))
    before = answers(own_dagster)

    assert prune_event_log.execute_in_process(instance=own_dagster).success

    assert answers(own_dagster) == before
    assert held(own_dagster, db.select(events.c.id).where(events.c.run_id.in_(new))) == recent
    kinds = held(own_dagster, db.select(events.c.dagster_event_type).where(events.c.run_id.in_(old)))
    assert set(kinds) <= set(HISTORY)
    assert len(kinds) <= HELD_AT_MOST
    # Of each check one result, and what was planned and never ran.
    assert len(held(own_dagster, db.select(checks.c.id).where(checks.c.run_id.in_(old)))) <= 2 * RESULTS_AT_MOST
    left = {*held(own_dagster, db.select(events.c.run_id)), *held(own_dagster, db.select(checks.c.run_id))}
    assert set(held(own_dagster, db.select(runs.c.run_id))) == left
    assert set(held(own_dagster, db.select(tags.c.run_id))) <= left


def test_a_day_that_is_refreshed_again_and_again_takes_no_more_room(own_dagster: dg.DagsterInstance) -> None:
    held_after = []
    for _ in range(2):
        done = [
            dg.materialize([*ASSETS, *CHECKS], instance=own_dagster, partition_key=DAYS[0]).run_id for _ in range(3)
        ]
        printed = [logs_of(own_dagster, run_id) for run_id in done]
        age(own_dagster, done)
        assert prune_event_log.execute_in_process(instance=own_dagster).success
        assert [path.exists() for path in printed] == [False, False, True]
        held_after.append(
            [len(held(own_dagster, db.select(table.c.id).where(table.c.run_id.in_(done)))) for table in (events, runs)]
        )
    assert held_after[0] == held_after[1]
    assert held_after[0][1] == 1


def test_a_check_that_was_planned_and_never_ran_takes_the_place_of_no_result(own_dagster: dg.DagsterInstance) -> None:
    runs_of_a_day = [
        dg.materialize(
            [*ASSETS, *CHECKS],
            instance=own_dagster,
            partition_key=DAYS[0],
            run_config={"ops": {"orders": {"config": {"breaks": breaks}}}},
            raise_on_error=False,
        )
        for breaks in (False, True)
    ]
    assert [done.success for done in runs_of_a_day] == [True, False]
    age(own_dagster, [done.run_id for done in runs_of_a_day])
    before = answers(own_dagster)
    assert prune_event_log.execute_in_process(instance=own_dagster).success
    assert answers(own_dagster) == before
    for each in CHECKS:
        history = own_dagster.event_log_storage.get_asset_check_execution_history(each.check_key, limit=9)
        assert sorted(record.status.value for record in history) == ["PLANNED", "SUCCEEDED"]


def test_a_run_that_has_not_ended_stays_however_old(own_dagster: dg.DagsterInstance) -> None:
    waiting = own_dagster.create_run_for_job(prune_event_log)
    age(own_dagster, [waiting.run_id])
    assert prune_event_log.execute_in_process(instance=own_dagster).success
    assert own_dagster.get_run_by_id(waiting.run_id) is not None


def test_it_is_done_every_week() -> None:
    assert (PRUNE_WEEKLY.cron_schedule, PRUNE_WEEKLY.job_name) == ("0 4 * * 0", "prune_event_log")
    assert PRUNE_WEEKLY.default_status == dg.DefaultScheduleStatus.RUNNING
