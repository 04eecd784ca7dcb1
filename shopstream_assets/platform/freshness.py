"""Whether every asset is as new as its sources' declarations ask.

`SourceTable.freshness` says how old the newest change of a table may be; an asset further down must keep up with the
strictest of the tables that it is made from. That is every asset's freshness policy. Dagster's own daemon would judge
it by the latest materialization, so filling an old day would make an asset look fresh: it is off (dagster.yaml), and
the sensor below judges by partitions. What launches the refresh: the change sensor for the lake, the conditions in
`automation` for all that follows.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from pydantic import BaseModel

from shopstream_assets.platform.domain import Domain
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.partitions import ONE_DAY
from shopstream_assets.platform.resources.postgres import PostgresResource
from shopstream_assets.platform.source_assets import asset_key
from shopstream_assets.platform.source_checks import newest_age
from shopstream_assets.platform.source_probe import open_connection
from shopstream_assets.platform.tables import SourceTable

CHECK = "newest_day_arrived"
SOURCE_CHECK = "fresh"
INTERVAL_SECONDS = 600

Ages = Mapping[dg.AssetKey, dt.timedelta]
"""How old the newest content of an asset may be."""


@dataclass(frozen=True)
class Freshness:
    """Whether an asset is fresh; if not, what is wrong and what to do."""

    fresh: bool
    told: str | None
    metadata: Mapping[str, str | int]


def allowed_ages(domain: Domain, specs: Iterable[dg.AssetSpec]) -> Ages:
    """For each asset the strictest freshness of the source tables that it is made from."""
    by_key = {spec.key: spec for spec in specs}
    ages = dict(source_ages(domain))

    def age(key: dg.AssetKey) -> dt.timedelta:
        if key not in ages:
            dependencies = by_key[key].deps if key in by_key else ()
            ages[key] = min((age(dependency.asset_key) for dependency in dependencies), default=dt.timedelta.max)
        return ages[key]

    return {key: age(key) for key in by_key if age(key) < dt.timedelta.max}


def source_ages(domain: Domain) -> Ages:
    """The source tables' own freshness."""
    return {asset_key(domain.name, "postgres", table.name): table.freshness for table in domain.tables}


def expected_day(now: dt.datetime, age: dt.timedelta) -> dt.date:
    """The newest UTC day that must be there at `now`, where content may be `age` old; the running day never must."""
    return min((now - age).date(), now.date() - ONE_DAY)


def freshness(
    instance: dg.DagsterInstance, key: dg.AssetKey, age: dt.timedelta, start_date: dt.date, now: dt.datetime
) -> Freshness:
    """Whether the newest partition that must be there at `now` is."""
    present = instance.get_materialized_partitions(key)
    expected, newest = expected_day(now, age), max(present, default=None)
    fresh = expected < start_date or expected.isoformat() in present
    told = (
        f"{expected} is missing, the newest day is {newest or 'none'}. Next: see that the domain's sensors are on and "
        "why its last run failed; or materialize the day."
    )
    return Freshness(fresh, None if fresh else told, {"newest_day": newest or "none", "days_present": len(present)})


def source_freshness(source: PostgresResource, tables: Iterable[SourceTable]) -> Mapping[str, Freshness]:
    """Whether the newest change of each source table is young enough; none is while the source does not answer."""
    found: dict[str, Freshness] = {}
    try:
        with open_connection(source) as connection:
            for table in tables:
                age = newest_age(connection, table, source.schema_name)
                fresh = age is not None and age <= table.freshness
                newest = "no change yet" if age is None else f"the newest change is {age} old"
                told = None if fresh else f"{newest}, {table.freshness} are allowed"
                found[table.name] = Freshness(fresh, told, {})
        return found
    except Problem as problem:
        return {table.name: Freshness(False, str(problem), {}) for table in tables}


def freshness_checks(domain: str, ages: Ages, start_date: dt.date) -> dg.AssetChecksDefinition:
    """One step that looks at the newest partition of every asset in `ages`."""

    @dg.multi_asset_check(
        name=f"{domain}__freshness",
        specs=[
            dg.AssetCheckSpec(CHECK, asset=key, description=f"No complete day older than {_hours(age)} is missing.")
            for key, age in ages.items()
        ],
        can_subset=True,
    )
    def look(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        now = dt.datetime.now(dt.UTC)
        for check in sorted(context.selected_asset_check_keys):
            found = freshness(context.instance, check.asset_key, ages[check.asset_key], start_date, now)
            yield dg.AssetCheckResult(
                check_name=CHECK,
                asset_key=check.asset_key,
                passed=found.fresh,
                severity=dg.AssetCheckSeverity.WARN,
                description=found.told,
                metadata=dict(found.metadata),
            )

    return look


def _hours(age: dt.timedelta) -> str:
    hours = age / dt.timedelta(hours=1)
    return f"{hours:g} hours" if hours < 72 else f"{hours / 24:g} days"


class Reported(BaseModel):
    """What the sensor last reported: asset -> whether it was fresh; and when."""

    fresh: dict[str, bool] = {}
    on: dt.date | None = None


def freshness_sensor(domain: Domain, ages: Ages, start_date: dt.date) -> dg.SensorDefinition:
    """Keeps the freshness of every asset up to date in the UI, without a run; running from the start."""

    @dg.sensor(
        name=f"{domain.name}_freshness",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Every {INTERVAL_SECONDS // 60} minutes, sees whether the source still changes and whether the "
        "newest day has arrived in every layer.",
    )
    def look(context: dg.SensorEvaluationContext, source: PostgresResource) -> dg.SensorResult:
        before = Reported.model_validate_json(context.cursor) if context.cursor else Reported()
        now = dt.datetime.now(dt.UTC)
        found = {key: freshness(context.instance, key, age, start_date, now) for key, age in ages.items()}
        # What was never materialized has no freshness to lose.
        found = {key: state for key, state in found.items() if state.metadata["days_present"]}
        if found:
            tables = source_freshness(source, domain.tables)
            found |= {asset_key(domain.name, "postgres", name): state for name, state in tables.items()}
        after = report(context.instance, found, before, now)
        stale = sorted(name for name, fresh in after.fresh.items() if not fresh)
        told = f"{len(stale)} of {len(found)} assets are not fresh: {', '.join(stale)}." if stale else "All is fresh."
        return dg.SensorResult(skip_reason=told, cursor=after.model_dump_json())

    return look


def report(
    instance: dg.DagsterInstance, found: Mapping[dg.AssetKey, Freshness], before: Reported, now: dt.datetime
) -> Reported:
    """Report what changed since `before`, and all of it once a day: as the asset's freshness, and as its check."""
    for key, state in found.items():
        was = before.fresh.get(key.to_user_string())
        if was != state.fresh:
            instance.report_runless_asset_event(
                FreshnessStateChange(
                    key=key,
                    new_state=_state(state.fresh),
                    previous_state=_state(was),
                    state_change_timestamp=now.timestamp(),
                )
            )
        if was != state.fresh or before.on != now.date():
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=key,
                    check_name=SOURCE_CHECK if key.path[1] == "postgres" else CHECK,
                    passed=state.fresh,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=state.told,
                    metadata=dict(state.metadata),
                )
            )
    return Reported(fresh={key.to_user_string(): state.fresh for key, state in found.items()}, on=now.date())


def _state(fresh: bool | None) -> FreshnessState:
    return FreshnessState.UNKNOWN if fresh is None else FreshnessState.PASS if fresh else FreshnessState.FAIL


def with_policies(assets: Iterable[dg.AssetsDefinition], ages: Ages) -> list[dg.AssetsDefinition]:
    """The assets with their freshness policies."""
    return [asset.map_asset_specs(lambda spec: with_policy(spec, ages)) for asset in assets]


def with_policy(spec: dg.AssetSpec, ages: Ages) -> dg.AssetSpec:
    """The asset with its freshness policy, where it has an age."""
    if spec.key not in ages:
        return spec
    return spec.replace_attributes(freshness_policy=dg.FreshnessPolicy.time_window(fail_window=ages[spec.key]))
