"""Backfills as the page launches them: one run, marts built once, and the marts tell what the source tells."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import pytest
from store import Run, Store

from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.platform.operate.repair import commands, days_by_asset

# Each needs a store that was built by processes of its own, which takes minutes.
pytestmark = pytest.mark.long


def dbt_steps(run: Run) -> list[str]:
    """The steps of a run that built models."""
    return [step["stepKey"] for step in run["stepStats"] if "dbt" in step["stepKey"]]


def test_all_assets_and_a_range_of_days_are_one_run_that_builds_each_mart_once(store: Store) -> None:
    days = store.days(0, 10)
    backfill = store.dagster.backfill(store.dagster.assets(), days)

    (run,) = store.finished_runs(dagster__backfill=backfill)

    assert run["status"] == "SUCCESS", store.dagster.failures(run["runId"])
    assert sorted(dbt_steps(run)) == ["shopstream__dbt", "shopstream__dbt_after_fits"]
    assert store.materialized("marts", "mart_sales_overview") == set(days)
    assert store.materialized("marts", "mart_customer_ltv") == set(days)
    expected, found = store.totals()
    assert len(expected) > 5
    assert found == expected


def test_a_backfill_of_some_tables_and_days_touches_nothing_else(store: Store) -> None:
    days = store.days(10, 3)
    tables = ("users", "products")
    backfill = store.dagster.backfill(
        [["shopstream", layer, table] for layer in ("postgres", "lake", "staging") for table in tables], days
    )

    (run,) = store.finished_runs(dagster__backfill=backfill)

    assert run["status"] == "SUCCESS", store.dagster.failures(run["runId"])
    for table in tables:
        assert set(days) <= store.materialized("staging", table)
    assert not set(days) & (store.materialized("staging", "orders") | store.materialized("core", "dim_customers"))
    assert not dbt_steps(run)


def test_a_backfill_whose_worker_is_killed_completes_by_itself(store: Store) -> None:
    days = store.days(13, 10)
    backfill = store.dagster.backfill(store.dagster.assets(), days)
    (first,) = store.started_runs(dagster__backfill=backfill)
    store.reaches(first["runId"], "staging")

    store.worker(first["runId"]).kill()

    retried = store.succeeded(first["runId"])
    assert retried["runId"] != first["runId"]
    assert store.materialized("marts", "mart_sales_overview") >= set(days)
    expected, found = store.totals()
    assert found == expected
    store.completes(backfill)


def test_status_names_the_missing_days_of_each_asset_and_the_command_that_repairs_them(store: Store) -> None:
    from shopstream_assets.domains.shopstream.definitions import defs

    days = store.days(30, 3)
    store.succeeded(store.dagster.launch([["shopstream", "postgres", "users"]], days[0], days[-1]))

    with store.instance() as instance:
        found = days_by_asset(instance, defs.resolve_asset_graph(), dt.datetime.now(dt.UTC))

    assert set(days) <= set(found[dg.AssetKey(["shopstream", "postgres", "users"])].materialized)
    assert set(days) <= set(found[dg.AssetKey(["shopstream", "lake", "users"])].missing)
    of_users = [command for command in commands(found, SHOPSTREAM) if '"shopstream/postgres/users"' in command]
    assert any(command.endswith(f"...{store.days(29, 1)[0]}") for command in of_users)
    assert any(f"--partition-range {store.days(33, 1)[0]}..." in command for command in of_users)
