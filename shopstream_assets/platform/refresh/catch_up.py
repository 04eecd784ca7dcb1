"""The sensor that lets every layer catch up with the one before: what a run left undone is asked for again."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Set
from functools import cache

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from pydantic import BaseModel

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.refresh.asked import Asked
from shopstream_assets.platform.refresh.behind import Behind, behind
from shopstream_assets.platform.refresh.reconciliation import to_extract
from shopstream_assets.platform.refresh.run_requests import run_request, taken_days
from shopstream_assets.platform.staging.warehouse import WarehouseResource

INTERVAL_SECONDS = 30
# Where dagster-dbt says how a model is materialized.
MATERIALIZATION = "dagster-dbt/materialization_type"

Wanted = dict[dt.date, set[dg.AssetKey]]


class Memory(BaseModel):
    """What was asked for, by day: as long as nothing changes it is asked for again later and later.

    `reconciled`: the newest comparison with the source whose findings were asked for.
    """

    asked: dict[dt.date, Asked] = {}
    reconciled: int = 0


def catch_up_sensor(
    domain: Domain, start_date: dt.date, store: ObjectStoreResource, warehouse: WarehouseResource
) -> dg.SensorDefinition:
    """The domain's sensor; running from the start."""

    @cache
    def connections() -> tuple[ObjectStoreResource, WarehouseResource]:
        return store.process_config_and_initialize(), warehouse.process_config_and_initialize()

    @dg.sensor(
        name=f"{domain.name}_catch_up",
        # The lake and the source too: a comparison finds days to extract, and what failed its check is built again.
        # Dagster refuses a backfill of an asset that is not among these, and with it the tick.
        asset_selection=dg.AssetSelection.key_prefixes(domain.name),
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Compares the layers of {domain.name} every {INTERVAL_SECONDS} s and asks for exactly the days "
        "that staging, core or marts have not made from what the layer before has now, and for what a comparison of "
        "whole tables with the source has found.",
    )
    def catch_up(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if context.repository_def is None:
            raise RuntimeError("a catch-up sensor needs the repository that it is part of")
        graph = context.repository_def.asset_graph
        memory = Memory.model_validate_json(context.cursor) if context.cursor else Memory()
        now = dt.datetime.now(dt.UTC)
        everything = Window.everything(start_date, now)
        try:
            found = behind(*connections(), domain.tables, made_from(graph, domain), everything)
        except Problem as problem:
            return dg.SkipReason(f"comparing the layers of {domain.name}: {problem}")
        taken = taken_days(context.instance, dg.AssetSelection.all().resolve(graph), everything)
        whole = being_built_whole(context.instance, graph)
        wanted = due(found, keys_of(found, graph, domain), memory, now, taken, whole)
        reconciled, memory.reconciled = to_extract(context.instance, domain, memory.reconciled)
        for day, keys in reconciled.items():
            wanted.setdefault(day, set()).update(keys)
        if not found and not wanted:
            reason = "Every layer has what the one before has."
            return dg.SensorResult(skip_reason=reason, cursor=memory.model_dump_json())
        if not wanted:
            return dg.SensorResult(
                skip_reason=f"{len(found.days)} days are behind; a run is on them, or they were asked for.",
                cursor=memory.model_dump_json(),
            )
        held_up = failed_blocking_checks(context.instance, graph, {key for keys in wanted.values() for key in keys})
        for keys in wanted.values():
            # What failed its check is built again with what waits for it: only then can the check pass.
            keys |= held_up
        attempt = context.cursor or now.isoformat()
        return dg.SensorResult(run_requests=[run_request(graph, wanted, attempt)], cursor=memory.model_dump_json())

    return catch_up


def made_from(graph: BaseAssetGraph, domain: Domain) -> dict[str, set[str]]:
    """The source tables that each model of a domain is made from, directly or through other models."""
    tables: dict[dg.AssetKey, set[str]] = {}
    for key in graph.toposorted_asset_keys:
        if key.path[0] != domain.name or len(key.path) != 3:
            continue
        if key.path[1] == "staging":
            tables[key] = {key.path[2]}
        elif key.path[1] in ("core", "marts"):
            tables[key] = {table for parent in graph.get(key).parent_keys for table in tables.get(parent, ())}
    return {key.path[2]: found for key, found in tables.items() if key.path[1] != "staging"}


def keys_of(found: Behind, graph: BaseAssetGraph, domain: Domain) -> Wanted:
    """The assets behind, by day."""
    by_model = {key.path[2]: key for key in graph.toposorted_asset_keys if key.path[1:2] in (["core"], ["marts"])}
    wanted: Wanted = {}
    for name, days in found.staging.items():
        for day in days:
            wanted.setdefault(day, set()).add(asset_key(domain.name, "staging", name))
    for name, days in found.models.items():
        for day in days:
            wanted.setdefault(day, set()).add(by_model[name])
    return wanted


def being_built_whole(instance: dg.DagsterInstance, graph: BaseAssetGraph) -> set[dg.AssetKey]:
    """The models that an unfinished run builds, and that have all days by every build, whatever days the run is on.

    As long as it is at them no day of theirs is confirmed.
    """
    chosen = {
        key
        for run in instance.get_runs(dg.RunsFilter(statuses=list(NOT_FINISHED_STATUSES)))
        for key in run.asset_selection or ()
    }
    return {key for key in chosen if graph.has(key) and graph.get(key).metadata.get(MATERIALIZATION) == "table"}


def due(
    found: Behind,
    wanted: Wanted,
    memory: Memory,
    now: dt.datetime,
    taken: Set[dt.date],
    whole: Set[dg.AssetKey] = frozenset(),
) -> Wanted:
    """What of `wanted` to ask for now, remembered in `memory`: not what a run is on, nor what was asked for lately.

    A run is on the `taken` days, and on all days of the models in `whole`.
    """
    asked, memory.asked = memory.asked, {}
    now_due = {}
    for day, keys in wanted.items():
        digest, before = _digest(found, day, keys), asked.get(day)
        if day in taken or keys <= whole or (before is not None and before.waits(digest, now)):
            if before is not None:
                memory.asked[day] = before
            continue
        memory.asked[day] = Asked.after(before, digest, now)
        now_due[day] = set(keys)
    return now_due


def _digest(found: Behind, day: dt.date, keys: Set[dg.AssetKey]) -> str:
    etags = [(name, etags.get(day)) for name, etags in sorted(found.etags.items())]
    return hashlib.sha256(repr((sorted(keys), etags)).encode()).hexdigest()[:12]


def failed_blocking_checks(
    instance: dg.DagsterInstance, graph: BaseAssetGraph, keys: Set[dg.AssetKey]
) -> set[dg.AssetKey]:
    """The materializable assets above `keys` of which a blocking check failed the last time."""
    above = set(_above(graph, keys))
    checks = {
        check: key for key in above for check in graph.get_check_keys_for_assets({key}) if graph.get(check).blocking
    }
    latest: Mapping = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
    return {
        checks[check]
        for check, record in latest.items()
        if record.status == AssetCheckExecutionRecordStatus.FAILED and graph.get(checks[check]).is_materializable
    }


def _above(graph: BaseAssetGraph, keys: Set[dg.AssetKey]) -> Iterator[dg.AssetKey]:
    for key in keys:
        for ancestor in graph.get_ancestor_asset_keys(key):
            if ancestor not in keys:
                yield ancestor
