"""Whether every asset is as new as its sources' declarations ask.

`SourceTable.freshness` says how old the newest change of a table may be; an asset further down must keep up with the
strictest of the tables that it is made from. It is fresh while two things hold: it was materialized within that time,
which is what its freshness policy says; and the newest day that must be there by then is, so that filling an old day
does not make it look fresh. Dagster's own daemon knows only the first: it is off (dagster.yaml), and what is judged
here is shown by the check `newest_day_arrived`, which runs at the end of a refresh, and by `freshness_sensor`, which
also asks for what is missing.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.partitions import ONE_DAY, spans
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.sources.checks import TABLE_SECONDS
from shopstream_assets.platform.sources.newest_change import NewestChange
from shopstream_assets.platform.sources.port import SourceResource

CHECK = "newest_day_arrived"
# Days before the newest that must be there which are looked for too. Older gaps are for the page of days to repair.
LOOKBACK_DAYS = 30

Ages = Mapping[dg.AssetKey, dt.timedelta]
"""How old the newest content of an asset may be."""


@dataclass(frozen=True)
class Freshness:
    """Whether an asset is fresh; if not, what is wrong and what to do, and the (UTC) days that a refresh must bring."""

    fresh: bool
    told: str | None
    metadata: Mapping[str, str | int]
    missing: tuple[dt.date, ...] = ()


@dataclass(frozen=True)
class SourceFreshness:
    """What was found out about a source table, or why nothing was."""

    newest: NewestChange | None
    stale_told: str | None


def allowed_ages(domain: Domain, specs: Iterable[dg.AssetSpec]) -> Ages:
    """For each asset the strictest freshness of the source tables that it is made from.

    A table without a cursor cannot say how old its newest change is, and asks for none.
    """
    by_key = {spec.key: spec for spec in specs}
    ages = {
        asset_key(domain.name, "postgres", table.name): table.freshness if table.cursor else dt.timedelta.max
        for table in domain.tables
    }

    def age(key: dg.AssetKey) -> dt.timedelta:
        if key not in ages:
            dependencies = by_key[key].deps if key in by_key else ()
            ages[key] = min((age(dependency.asset_key) for dependency in dependencies), default=dt.timedelta.max)
        return ages[key]

    return {key: age(key) for key in by_key if age(key) < dt.timedelta.max}


def expected_day(now: dt.datetime, age: dt.timedelta) -> dt.date:
    """The newest UTC day that must be there at `now`, where content may be `age` old; the running day never must."""
    return min((now - age).date(), now.date() - ONE_DAY)


def freshness(
    instance: dg.DagsterInstance, ages: Ages, start_date: dt.date, now: dt.datetime
) -> dict[dg.AssetKey, Freshness]:
    """How fresh each asset is at `now`; what was never materialized has no freshness to lose and is left out."""
    found = {}
    for record in instance.get_asset_records(list(ages)):
        key, event = record.asset_entry.asset_key, record.asset_entry.last_materialization_record
        if event is None:
            continue
        by_day = event.event_log_entry.asset_materialization
        materialized = dt.datetime.fromtimestamp(event.timestamp, dt.UTC)
        overdue = now - materialized > ages[key]
        if by_day is not None and by_day.partition is not None:
            found[key] = _by_day(instance, key, ages[key], start_date, now, materialized)
        else:
            told = f"it was materialized last on {_minute(materialized)}, {hours(ages[key])} are allowed"
            found[key] = Freshness(not overdue, told if overdue else None, {})
    return found


def _by_day(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    age: dt.timedelta,
    start_date: dt.date,
    now: dt.datetime,
    materialized: dt.datetime,
) -> Freshness:
    expected = expected_day(now, age)
    first = max(start_date, expected - ONE_DAY * (LOOKBACK_DAYS - 1))
    days = [first + ONE_DAY * n for n in range((now.date() - first).days + 1)]
    there = instance.get_latest_storage_id_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION, {day.isoformat() for day in days}
    )
    present = [day for day in days if day.isoformat() in there]
    # What makes the asset stale is what lies between the newest day that is there and the one that must be.
    reached = max((day for day in present if day <= expected), default=first - ONE_DAY)
    missing = tuple(day for day in days if reached < day <= expected)
    newest = max(present, default=None)
    metadata = {"newest_day": str(newest or f"none since {first}"), "must_have": str(expected)}
    if missing:
        told = f"{spans(map(str, missing))} missing, the newest day is {metadata['newest_day']}."
        return Freshness(False, told, metadata, missing)
    if now - materialized > age:
        told = (
            f"no day is missing, but it was materialized last on {_minute(materialized)} and {hours(age)} are allowed: "
            "its source has no news, or its runs fail. Next: see the check `fresh` of its source tables."
        )
        return Freshness(False, told, metadata)
    return Freshness(True, None, metadata)


def source_freshness(source: SourceResource, tables: Iterable[SourceTable]) -> dict[str, SourceFreshness]:
    """Whether the newest change of each source table is young enough; a table that does not answer is not fresh.

    One without a cursor cannot tell, and is left out.
    """
    found: dict[str, SourceFreshness] = {}
    wanted = [table for table in tables if table.cursor]
    try:
        with source.snapshot() as reader:
            for table in wanted:
                try:
                    with reader.about(table, TABLE_SECONDS):
                        newest = reader.newest_change(table)
                    found[table.name] = SourceFreshness(newest, newest.stale_told(table))
                except Problem as problem:
                    found[table.name] = SourceFreshness(None, str(problem))
    except Problem as problem:
        # The database itself: nobody knows about the tables that were not reached.
        lost = SourceFreshness(None, str(problem))
        return {table.name: found.get(table.name, lost) for table in wanted}
    return found


def freshness_checks(domain: str, ages: Ages, start_date: dt.date) -> dg.AssetChecksDefinition:
    """One step, after all others of a run, that looks at the newest partition of every asset in `ages`."""

    @dg.multi_asset_check(
        name=f"{domain}__freshness",
        specs=[
            dg.AssetCheckSpec(CHECK, asset=key, description=f"No complete day older than {hours(age)} is missing.")
            for key, age in ages.items()
        ],
        can_subset=True,
    )
    def look(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        now, wanted = dt.datetime.now(dt.UTC), {check.asset_key for check in context.selected_asset_check_keys}
        found = freshness(context.instance, {key: ages[key] for key in wanted}, start_date, now)
        for key in sorted(wanted):
            due = expected_day(now, ages[key]) >= start_date
            never = Freshness(not due, "it was never materialized. Next: materialize it." if due else None, {})
            state = found.get(key, never)
            yield dg.AssetCheckResult(
                check_name=CHECK,
                asset_key=key,
                passed=state.fresh,
                severity=dg.AssetCheckSeverity.WARN,
                description=state.told,
                metadata=dict(state.metadata),
            )

    return look


def hours(age: dt.timedelta) -> str:
    """A time as people say it: 36 hours, 8 days."""
    count = age / dt.timedelta(hours=1)
    return f"{count:g} hours" if count < 72 else f"{count / 24:g} days"


def _minute(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def with_policies(assets: Iterable[dg.AssetsDefinition], ages: Ages) -> list[dg.AssetsDefinition]:
    """The assets with their freshness policies."""
    return [asset.map_asset_specs(lambda spec: with_policy(spec, ages)) for asset in assets]


def with_policy(spec: dg.AssetSpec, ages: Ages) -> dg.AssetSpec:
    """The asset with its freshness policy, where it has an age: what the UI says of it holds, and is not all."""
    if spec.key not in ages:
        return spec
    return spec.replace_attributes(freshness_policy=dg.FreshnessPolicy.time_window(fail_window=ages[spec.key]))
