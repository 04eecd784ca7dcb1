"""kill -9 of every part of Dagster, in every layer: what was asked for is done in the end, nothing is left behind."""

from __future__ import annotations

from itertools import pairwise

import psutil
import pytest
from store import Run, Store

from shopstream_assets.embedded.driver import FINISHED, wait_for
from shopstream_assets.platform.storage import DBT_POOL

LAYERS = ("postgres", "lake", "staging", "dbt")
# Run monitoring frees what a dead run held 30 s after its end, and looks every 10 s.
SLOTS_FREED_SECONDS = 60


@pytest.fixture(scope="module")
def killed(store: Store) -> dict[str, tuple[Run, psutil.Process]]:
    """Four runs of neighbouring days at the same time, each killed in another layer: the run that completed it."""
    assets = store.dagster.assets()
    asked = {}
    for number, layer in enumerate(LAYERS):
        first, last = store.days(5 * number, 5)[0], store.days(5 * number, 5)[-1]
        asked[layer] = store.dagster.launch(assets, first, last)
    workers = {}
    for layer, run_id in asked.items():
        store.reaches(run_id, layer)
        workers[layer] = store.worker(run_id)
        workers[layer].kill()
    return {layer: (store.succeeded(run_id), workers[layer]) for layer, run_id in asked.items()}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_run_killed_in_any_layer_is_tried_again_and_completes(
    killed: dict[str, tuple[Run, psutil.Process]], layer: str
) -> None:
    run, worker = killed[layer]

    assert run["status"] == "SUCCESS"
    assert "dagster/parent_run_id" in run["tags"]
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_the_marts_are_right_after_the_kills(store: Store, killed: dict[str, tuple[Run, psutil.Process]]) -> None:
    days = store.days(0, 5 * len(LAYERS))

    assert store.materialized("marts", "mart_sales_overview") == set(days)
    expected, found = store.totals(days)
    assert len(expected) > 10
    assert found == expected


def test_two_runs_never_build_models_at_the_same_time(
    store: Store, killed: dict[str, tuple[Run, psutil.Process]]
) -> None:
    spans = store.step_spans("shopstream__dbt")

    assert len(spans) >= len(LAYERS)
    assert all(before[1] <= after[0] for before, after in pairwise(sorted(spans)))


def test_no_slot_of_the_pool_is_left_taken_and_no_dbt_process_is_left(
    store: Store, killed: dict[str, tuple[Run, psutil.Process]]
) -> None:
    with store.instance() as instance:
        slots = instance.event_log_storage

        def is_free() -> bool:
            found = slots.get_concurrency_info(DBT_POOL)
            return not found.claimed_slots and not found.pending_steps

        assert slots.get_concurrency_info(DBT_POOL).slot_count == 1
        wait_for(is_free, f"pool {DBT_POOL} to be free", SLOTS_FREED_SECONDS)
    wait_for(lambda: not store.workers(), "the workers of ended runs to be gone", 30)


@pytest.mark.parametrize("part", ["daemon", "code_server"])
def test_a_run_outlives_the_death_of_the_daemon_and_of_the_code_server(store: Store, part: str) -> None:
    day = store.days(20 if part == "daemon" else 21, 1)[0]
    run_id = store.dagster.launch(store.dagster.assets(), day, day)
    store.reaches(run_id, "lake")

    store.dagster.kill(part)
    store.dagster.start()

    run = store.succeeded(run_id)
    assert day in store.materialized("marts", "mart_sales_overview")
    expected, found = store.totals(sorted(store.materialized("marts", "mart_sales_overview")))
    assert found == expected
    assert run["status"] == "SUCCESS"


CANCELED_SECONDS = 5


@pytest.mark.parametrize("layer", ["lake", "staging", "dbt"])
def test_a_run_terminated_in_any_layer_is_canceled_within_seconds(store: Store, layer: str) -> None:
    first, last = store.days(22, 10)[0], store.days(22, 10)[-1]
    run_id = store.dagster.launch(store.dagster.assets(), first, last)
    store.reaches(run_id, layer)

    store.dagster.terminate(run_id)

    wait_for(lambda: store.run(run_id)["status"] in FINISHED, f"{run_id} to end", CANCELED_SECONDS)
    assert store.run(run_id)["status"] == "CANCELED"
    wait_for(lambda: not store.workers(), "its worker to be gone", CANCELED_SECONDS)
