"""The sensor that sees the source change, and asks for exactly the days that differ from the lake."""

import datetime as dt
from collections.abc import Callable
from functools import cache

import dagster as dg

from shopstream_assets.platform.changes import Changes, Cursor, differing_days, missing_days
from shopstream_assets.platform.domain import Domain
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.freshness import CHECK as FRESHNESS
from shopstream_assets.platform.partitions import ONE_DAY, Window
from shopstream_assets.platform.refresh import run_request, taken_days
from shopstream_assets.platform.resources.object_store import ObjectStoreResource
from shopstream_assets.platform.resources.postgres import PostgresResource
from shopstream_assets.platform.source_assets import asset_key

INTERVAL_SECONDS = 5
# Every tick looks at today and yesterday; once a minute at all days that late and back-dated changes may reach.
RECENT_DAYS = 2
LOOKBACK_DAYS = 30
LOOKBACK_EVERY = dt.timedelta(minutes=1)
# Now and then nothing is taken for known: days that the lake has lost, however old, are found.
AUDIT_EVERY = dt.timedelta(hours=1)


def change_sensor(
    domain: Domain, start_date: dt.date, source: PostgresResource, store: ObjectStoreResource
) -> dg.SensorDefinition:
    """The domain's change sensor; running from the start.

    The connections are made once per process: as resources of the sensor they would have Dagster open its own storage,
    with seven connections, for every tick that finds nothing.
    """

    @cache
    def connections() -> tuple[PostgresResource, ObjectStoreResource]:
        return source.process_config_and_initialize(), store.process_config_and_initialize()

    lake = {asset_key(domain.name, "lake", table.name) for table in domain.tables}
    extracted = lake | {asset_key(domain.name, "postgres", table.name) for table in domain.tables}

    @dg.sensor(
        name=f"{domain.name}_changes",
        asset_selection=dg.AssetSelection.assets(*lake).downstream(),
        # Dagster looks at its sensors as often; one that asks for the same is at times a hair early, and waits twice.
        minimum_interval_seconds=INTERVAL_SECONDS - 1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks at the source tables of {domain.name} every {INTERVAL_SECONDS} s and refreshes, from the "
        "lake to the marts, exactly the days that differ. A day that a run is on waits for it.",
    )
    def changes(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        cursor = Cursor.model_validate_json(context.cursor) if context.cursor else Cursor()
        now = dt.datetime.now(dt.UTC)
        everything = Window(min(start_date, now.date()), now.date() + ONE_DAY)
        try:
            changed, absent = look_for_changes(
                domain,
                *connections(),
                cursor,
                everything,
                now,
                lambda: taken_days(context.instance, extracted, everything),
            )
        except Problem as problem:
            return dg.SkipReason(f"looking for changes of {domain.name}: {problem}")
        requests = []
        if changed:
            if context.repository_def is None:
                raise RuntimeError("a change sensor needs the repository that it is part of")
            assets = {
                day: {asset_key(domain.name, "lake", table) for table in tables} for day, tables in changed.items()
            }
            # The same memory asks for the same only once, should a tick be cut off before its cursor is stored.
            attempt = context.cursor or now.isoformat()
            requests = [run_request(context.repository_def.asset_graph, assets, FRESHNESS, attempt)]
        told = f" The source has no table {', '.join(absent)} yet." if absent else ""
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else f"Nothing new to ask for.{told}",
            cursor=cursor.model_dump_json(exclude_defaults=True),
        )

    return changes


def look_for_changes(
    domain: Domain,
    source: PostgresResource,
    store: ObjectStoreResource,
    cursor: Cursor,
    everything: Window,
    now: dt.datetime,
    taken: Callable[[], set[dt.date]],
) -> tuple[Changes, list[str]]:
    """The changes to ask for in this tick, and the tables that the source lacks; remembers both looks in `cursor`."""
    audit = cursor.audited_at is None or now - cursor.audited_at >= AUDIT_EVERY
    look_back = audit or cursor.looked_back_at is None or now - cursor.looked_back_at >= LOOKBACK_EVERY
    first = max(everything.first, everything.end - ONE_DAY * (LOOKBACK_DAYS if look_back else RECENT_DAYS))
    if audit:
        cursor.settled = {}
    changed, absent = differing_days(domain.tables, source, store, cursor, Window(first, everything.end), now, taken)
    if audit and first > everything.first:
        for table in domain.tables:
            if table.name not in absent:
                for day in missing_days(store, table, Window(everything.first, first)) - taken():
                    changed.setdefault(day, set()).add(table.name)
    if audit:
        cursor.audited_at = now
    if look_back:
        cursor.looked_back_at = now
    cursor.forget_before(everything.end - ONE_DAY * LOOKBACK_DAYS)
    return changed, absent
