"""The sensor that shows how fresh everything is, and asks for what is missing.

It looks after every run and every ten minutes. Of the assets that are stale it asks for the first of each chain, and
with it for all that follows: what lies further down cannot arrive before. A source without news is stale as well, but
no run would change that.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.event_log.base import EventLogRecord
from pydantic import BaseModel

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.partitions import spans
from shopstream_assets.platform.refresh.asked import Asked, has_passed
from shopstream_assets.platform.refresh.freshness import (
    CHECK,
    Ages,
    Freshness,
    SourceFreshness,
    freshness,
    source_freshness,
)
from shopstream_assets.platform.refresh.run_requests import run_request
from shopstream_assets.platform.refresh.runs import newest_change, under_way
from shopstream_assets.platform.sources.checks import FRESH, FROM_THE_FUTURE
from shopstream_assets.platform.sources.port import SourceResource

INTERVAL_SECONDS = 30
LOOK_EVERY = dt.timedelta(minutes=10)


def asked_by(domain: str) -> dict[str, str]:
    """The tag of a run that was asked for because an asset of the domain is stale."""
    return {f"{domain}/asked_by": "freshness"}


class Memory(BaseModel):
    """What is remembered from tick to tick: the runs as they were, the last look, and asset -> what was asked for."""

    runs: str = ""
    looked_at: dt.datetime | None = None
    asked: dict[str, Asked] = {}


@dataclass(frozen=True)
class Verdict:
    """What a check of an asset has to show."""

    key: dg.AssetCheckKey
    passed: bool
    told: str | None
    metadata: Mapping[str, str | int]


def freshness_sensor(domain: Domain, ages: Ages, start_date: dt.date, source: SourceResource) -> dg.SensorDefinition:
    """The domain's freshness sensor; running from the start. The connection is made once per process."""

    @cache
    def connection() -> SourceResource:
        return source.process_config_and_initialize()

    @dg.sensor(
        name=f"{domain.name}_freshness",
        asset_selection=dg.AssetSelection.assets(*ages),
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"After every run, and every {LOOK_EVERY // dt.timedelta(minutes=1)} minutes, sees whether the "
        "newest day has arrived in every layer and whether the source still changes; asks for the days that a stale "
        "asset lacks.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if context.repository_def is None:
            raise RuntimeError("the freshness sensor needs the repository that it is part of")
        graph, instance, now = context.repository_def.asset_graph, context.instance, dt.datetime.now(dt.UTC)
        memory = Memory.model_validate_json(context.cursor) if context.cursor else Memory()
        overdue = has_passed(LOOK_EVERY, memory.looked_at, now)
        runs = newest_change(instance, now)
        if runs == memory.runs and not overdue:
            return dg.SkipReason("No run has started or ended since the last look.")
        found = freshness(instance, ages, start_date, now)
        if not found:
            return dg.SensorResult(skip_reason="Nothing was ever materialized.", cursor=context.cursor)
        sources: dict[dg.AssetKey, SourceFreshness] = {}
        if overdue or any(state.missing for state in found.values()):
            tables = source_freshness(connection(), domain.tables)
            sources = {asset_key(domain.name, "postgres", name): state for name, state in tables.items()}
        silent = {key for key, state in sources.items() if state.newest is None}
        wanted = ask(graph, found, under_way(instance, ages.keys()), silent, memory, now)
        told = {key: _told(graph, key, found, wanted, memory, silent) for key in found}
        verdicts = [
            Verdict(dg.AssetCheckKey(key, CHECK), state.fresh, told[key], state.metadata)
            for key, state in found.items()
        ]
        report(instance, [*verdicts, *source_verdicts(sources)], wanted, now)
        memory.runs, memory.looked_at = runs, now if overdue else memory.looked_at
        stale = sorted(key.to_user_string() for key, state in found.items() if not state.fresh)
        stale += sorted(key.to_user_string() for key, state in sources.items() if state.stale_told)
        summary = f"Not fresh: {', '.join(stale)}." if stale else "All is fresh."
        requests = list(_requests(graph, wanted, f"freshness {context.cursor}"))
        if requests:
            context.log.info(
                f"{summary} Asked for: {'; '.join(f'{key.to_user_string()} {_days(wanted, key)}' for key in wanted)}."
            )
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else f"{summary}{_waiting(memory)}",
            cursor=memory.model_dump_json(exclude_defaults=True),
        )

    return look


Wanted = Mapping[dg.AssetKey, tuple[dt.date, ...]]
"""Asset -> the days to ask for; none for an asset without partitions."""


def ask(
    graph: AssetGraph,
    found: Mapping[dg.AssetKey, Freshness],
    busy: Collection[dg.AssetKey],
    silent: Collection[dg.AssetKey],
    memory: Memory,
    now: dt.datetime,
) -> Wanted:
    """What to ask for now, remembered in `memory`.

    Not asked for: what lies below another stale asset, what a run or backfill is on (`busy`) or follows from that, what
    is read from a source that does not answer (`silent`), and what was asked for a short time ago.
    """
    wanted: dict[dg.AssetKey, tuple[dt.date, ...]] = {}
    lacking = {key: state for key, state in found.items() if _lacks(graph, key, state)}
    memory.asked = {
        name: asked for name, asked in memory.asked.items() if dg.AssetKey.from_user_string(name) in lacking
    }
    for key, state in lacking.items():
        above = _above(graph, key)
        if key in busy or above & {*busy, *lacking} or graph.get(key).parent_keys & {*silent}:
            continue
        name, days = key.to_user_string(), spans(map(str, state.missing))
        before = memory.asked.get(name)
        if before is not None and before.waits(days, now):
            continue
        memory.asked[name] = Asked.after(before, days, now)
        wanted[key] = state.missing
    return wanted


def _lacks(graph: AssetGraph, key: dg.AssetKey, state: Freshness) -> bool:
    """Whether a run would make a stale asset fresh."""
    node = graph.get(key)
    return not state.fresh and node.is_materializable and (bool(state.missing) or not node.is_partitioned)


def _above(graph: AssetGraph, key: dg.AssetKey) -> Set[dg.AssetKey]:
    return dg.AssetSelection.assets(key).upstream(include_self=False).resolve(graph)


def _requests(graph: AssetGraph, wanted: Wanted, attempt: str) -> Iterator[dg.RunRequest]:
    days: defaultdict[dt.date, set[dg.AssetKey]] = defaultdict(set)
    for key, missing in wanted.items():
        for day in missing:
            days[day].add(key)
        if not missing:
            yield dg.RunRequest(
                run_key=f"{key.to_user_string()} {attempt}", asset_selection=[key], tags=asked_by(key.path[0])
            )
    if days:
        request = run_request(graph, days, attempt)
        tags = asked_by(next(iter(wanted)).path[0])
        yield request.with_replaced_attrs(tags={**request.tags, **tags})


def _told(
    graph: AssetGraph,
    key: dg.AssetKey,
    found: Mapping[dg.AssetKey, Freshness],
    wanted: Wanted,
    memory: Memory,
    silent: Collection[dg.AssetKey],
) -> str | None:
    """What the check says of a stale asset: what is wrong, and what was done about it."""
    state = found[key]
    if not _lacks(graph, key, state):
        return state.told
    if asked := memory.asked.get(key.to_user_string()):
        return f"{state.told} {asked}"
    if first := sorted(each.to_user_string() for each in _above(graph, key) if each.to_user_string() in memory.asked):
        return f"{state.told} It follows from {', '.join(first)}, whose refresh was asked for."
    if graph.get(key).parent_keys & {*silent}:
        return f"{state.told} Not asked for: its source does not answer, see the check `{FRESH}` there."
    return f"{state.told} A run is on it or on what it is made from."


def _days(wanted: Wanted, key: dg.AssetKey) -> str:
    return spans(map(str, wanted[key])) or "as a whole"


def _waiting(memory: Memory) -> str:
    waiting = [
        f"{name} {asked.content}, again after {asked.again_at:%H:%M} UTC" for name, asked in memory.asked.items()
    ]
    return f" Already asked for: {'; '.join(waiting)}." if waiting else ""


def source_verdicts(sources: Mapping[dg.AssetKey, SourceFreshness]) -> Iterator[Verdict]:
    """What the checks `fresh` and `no_rows_from_the_future` of the source tables have to show."""
    for key, state in sources.items():
        yield Verdict(dg.AssetCheckKey(key, FRESH), state.stale_told is None, state.stale_told, {})
        if state.newest is not None:
            rows = state.newest.from_future
            yield Verdict(
                dg.AssetCheckKey(key, FROM_THE_FUTURE),
                not rows,
                state.newest.future_told,
                {"rows_from_the_future": rows},
            )


def report(
    instance: dg.DagsterInstance,
    verdicts: Collection[Verdict],
    always: Collection[dg.AssetKey],
    now: dt.datetime,
) -> None:
    """Bring the checks, and the assets' freshness, in the UI up to date, where they are not.

    A result is out of date where it says something else, is older than the asset's newest materialization (Dagster
    shows it as "Not evaluated") or of another (UTC) day. Those of the assets in `always` are renewed anyway.
    """
    keys = {verdict.key.asset_key for verdict in verdicts}
    results = instance.event_log_storage.get_latest_asset_check_execution_by_key([each.key for each in verdicts])
    materialized = {
        record.asset_entry.asset_key: record.asset_entry.last_materialization_record
        for record in instance.get_asset_records(list(keys))
    }
    states = instance.get_freshness_state_records(list(keys))
    for verdict in verdicts:
        key, result = verdict.key.asset_key, results.get(verdict.key)
        if result is not None and result.status == AssetCheckExecutionRecordStatus.PLANNED:
            run = instance.get_run_by_id(result.run_id)
            if run is not None and not run.is_finished:
                continue
        if key in always or not _stands(result, verdict, materialized.get(key), now):
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=key,
                    check_name=verdict.key.name,
                    passed=verdict.passed,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=verdict.told,
                    metadata=dict(verdict.metadata),
                    target_materialization_data=_target(materialized.get(key)),
                )
            )
        was = states[key].freshness_state if key in states else FreshnessState.UNKNOWN
        state = FreshnessState.PASS if verdict.passed else FreshnessState.FAIL
        if verdict.key.name == CHECK and was != state:
            instance.report_runless_asset_event(
                FreshnessStateChange(
                    key=key, new_state=state, previous_state=was, state_change_timestamp=now.timestamp()
                )
            )


def _target(materialized: EventLogRecord | None) -> AssetCheckEvaluationTargetMaterializationData | None:
    if materialized is None:
        return None
    return AssetCheckEvaluationTargetMaterializationData(
        run_id=materialized.event_log_entry.run_id, storage_id=materialized.storage_id, timestamp=materialized.timestamp
    )


def _stands(
    result: AssetCheckExecutionRecord | None, verdict: Verdict, materialized: EventLogRecord | None, now: dt.datetime
) -> bool:
    """Whether the UI shows a result of today that says the same as the verdict."""
    if result is None or not isinstance(result.evaluation, dg.AssetCheckEvaluation):
        return False
    if result.evaluation.passed != verdict.passed:
        return False
    if dt.datetime.fromtimestamp(result.create_timestamp, dt.UTC).date() != now.date():
        return False
    if materialized is None or materialized.event_log_entry.run_id == result.run_id:
        return True
    target = result.evaluation.target_materialization_data
    if target is not None:
        return target.storage_id == materialized.storage_id
    return materialized.timestamp < result.create_timestamp
