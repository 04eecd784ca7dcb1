"""What Dagster knows of a domain: when each layer was refreshed, which checks fail, which days are left to repair."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from statistics import median
from typing import Any

import dagster as dg
import pandas as pd
import streamlit as st
from sqlalchemy.exc import SQLAlchemyError

from shopstream_assets.platform.declare.domain import LAYERS, Domain
from shopstream_assets.platform.declare.partitions import spans
from shopstream_assets.platform.declare.registry import domain_named
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.operate.failed_runs import failed_runs
from shopstream_assets.platform.operate.repair import commands, days_by_asset
from shopstream_assets.platform.refresh.change_sensor import sensor_name

# Seconds that an answer is good for: all who look share it.
LOOK_SECONDS = 10
# How many of the latest refreshes tell how long one takes.
REFRESHES = 20
# Worst first.
OUTCOMES = ("failed", "warned", "passed", "not run")


@dataclass(frozen=True)
class Operations:
    """The state of a domain at `at` (UTC).

    - `layers`: a row per layer: `layer`, `assets`, `refreshed` (its newest materialization, UTC), `days_to_repair`, and
      how many of its checks `passed`, `warned`, `failed`.
    - `checks`: a row per check that has run: `outcome`, `layer`, `asset`, `check`, `says`, `at`, `rows_in_quarantine`.
    - `repairs`: a row per asset with failed or missing days: `asset`, `failed`, `missing`, `days`.
    - `commands` repair them; `runs` failed and nothing has made them good.
    - `refresh_seconds`: from the moment that a change was found to the end of the refresh that it asked for, its checks
      included; the median of the latest. None where no change was refreshed yet.
    """

    at: dt.datetime
    layers: pd.DataFrame
    checks: pd.DataFrame
    repairs: pd.DataFrame
    commands: tuple[str, ...]
    runs: tuple[str, ...]
    refresh_seconds: float | None


@st.cache_data(ttl=LOOK_SECONDS, max_entries=20, show_spinner=False)
def operations(domain: str) -> Operations:
    """The state of a domain now. Raises Problem where Dagster's storage or the domain's code cannot be read."""
    graph, now = asset_graph(domain), dt.datetime.now(dt.UTC)
    try:
        instance = _instance()
        days = {key: found for key, found in days_by_asset(instance, graph, now).items() if key.path[0] == domain}
        checks = pd.DataFrame(_checks(instance, graph, domain), columns=_CHECK_COLUMNS)
        layers = pd.DataFrame(_layers(instance, graph, domain, days, checks))
        runs = tuple(str(run) for run in failed_runs(instance, now, domain))
        seconds = refresh_seconds(instance, domain)
    except (dg.DagsterError, SQLAlchemyError) as error:
        raise Problem(
            f"Dagster's storage gave no answer ({type(error).__name__}).",
            "set DAGSTER_HOME and SHOPSTREAM_DAGSTER_POSTGRES_URL as Dagster has them, and see that the database runs "
            "(`shopstream stack status`).",
        ) from error
    repairs = pd.DataFrame(
        [
            {
                "asset": "/".join(key.path[1:]),
                "failed": len(found.failed),
                "missing": len(found.missing),
                "days": spans(found.to_repair),
            }
            for key, found in days.items()
            if found.to_repair
        ],
        columns=["asset", "failed", "missing", "days"],
    )
    return Operations(now, layers, checks, repairs, tuple(commands(days, domain_named(domain))), runs, seconds)


def refresh_seconds(instance: dg.DagsterInstance, domain: str) -> float | None:
    """The median of the latest refreshes that the change sensor asked for as one run, from its request to their end.

    Those of scattered days are backfills, whose runs are launched later than they were asked for.
    """
    asked_for = dg.RunsFilter(tags={"dagster/sensor_name": sensor_name(domain)}, statuses=[dg.DagsterRunStatus.SUCCESS])
    took = [
        record.end_time - record.create_timestamp.timestamp()
        for record in instance.get_run_records(asked_for, limit=2 * REFRESHES)
        if record.end_time and "dagster/backfill" not in record.dagster_run.tags
    ]
    return median(took[:REFRESHES]) if took else None


@cache
def asset_graph(domain: str) -> Any:
    """The assets and checks of a domain; takes seconds, once. Raises Problem where its code does not load."""
    declared: Domain = domain_named(domain)
    try:
        return import_module(declared.module).defs.resolve_asset_graph()
    # Whatever its module raises: it may be anyone's.
    except Exception as error:
        raise Problem(
            f"the code location {domain} does not load ({type(error).__name__}: {error}).",
            f"see `shopstream doctor --domain {domain}`.",
        ) from error


@cache
def _instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.get()


_CHECK_COLUMNS = ["outcome", "layer", "asset", "check", "says", "at", "rows_in_quarantine"]


def _checks(instance: dg.DagsterInstance, graph: Any, domain: str) -> Iterator[dict[str, object]]:
    wanted = [key for key in graph.asset_check_keys if key.asset_key.path[0] == domain]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(wanted)
    for key in wanted:
        record = latest.get(key)
        event = record.event.dagster_event if record and record.event else None
        if record is None or event is None or event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            outcome, says, rows = "not run", "", 0
        else:
            found = event.asset_check_evaluation_data
            warned = found.severity == dg.AssetCheckSeverity.WARN
            outcome = "passed" if found.passed else "warned" if warned else "failed"
            says, by_day = found.description or "", found.metadata.get("rows_by_day")
            rows = sum(by_day.value.values()) if by_day and isinstance(by_day.value, dict) else 0
        yield {
            "outcome": outcome,
            "layer": key.asset_key.path[1],
            "asset": key.asset_key.path[2],
            "check": key.name,
            "says": says,
            "at": dt.datetime.fromtimestamp(record.create_timestamp, dt.UTC).replace(tzinfo=None) if record else None,
            "rows_in_quarantine": rows,
        }


def _layers(
    instance: dg.DagsterInstance, graph: Any, domain: str, days: Any, checks: pd.DataFrame
) -> Iterator[dict[str, object]]:
    keys = [key for key in graph.materializable_asset_keys if key.path[0] == domain]
    records = {record.asset_entry.asset_key: record for record in instance.get_asset_records(keys)}
    for layer in LAYERS:
        of_layer = [key for key in keys if key.path[1] == layer]
        stamps = [
            entry.timestamp
            for key in of_layer
            if key in records and (entry := records[key].asset_entry.last_materialization_record)
        ]
        outcomes = Counter(checks.loc[checks["layer"] == layer, "outcome"])
        yield {
            "layer": layer,
            "assets": len(of_layer),
            "refreshed": dt.datetime.fromtimestamp(max(stamps), dt.UTC).replace(tzinfo=None) if stamps else None,
            "days_to_repair": sum(len(days[key].to_repair) for key in of_layer if key in days),
            **{outcome: outcomes[outcome] for outcome in OUTCOMES[:3]},
        }
