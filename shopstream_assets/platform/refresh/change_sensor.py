"""The sensor that sees the source change, and asks for exactly the days that differ from the lake.

What it costs the source is bounded. A table whose counters have not moved is not looked at. One that is busy is looked
at no longer than one second in DUTY: on a small table every tick, on a large one as seldom as its size asks for. A
single look that took long, as on a busy machine, makes no rest.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence, Set
from functools import cache

import dagster as dg
from pydantic import BaseModel

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.refresh.asked import has_passed
from shopstream_assets.platform.refresh.changes import Found, TableMemory, differing_days, missing_days
from shopstream_assets.platform.refresh.run_requests import run_request, taken_days
from shopstream_assets.platform.sources.port import SourceResource

INTERVAL_SECONDS = 5
# Every tick looks at today and yesterday; once a minute at all days that late and back-dated changes usually reach.
RECENT_DAYS = 2
LOOKBACK_DAYS = 30
LOOKBACK_EVERY = dt.timedelta(minutes=1)
# Now and then nothing is taken for known, and days that rows have left are taken as well: deleted rows among them.
AUDIT_EVERY = dt.timedelta(hours=1)
# Of the time, looking at a table may take one part in so many; so long after a look the next may come too early.
DUTY = 100
EARLY = dt.timedelta(seconds=30)
# A look that ends in a fault after as many seconds is one that the table is too large or too busy for, not one that
# waited for a lock.
LONG_SECONDS = 10
# Dagster ends a tick after 60 s, and what it has found is lost: after as many, other tables wait for the next.
TICK_SECONDS = 30


class Resting(BaseModel):
    """A table that is left alone for a while, after a look that took long and failed with this fault."""

    until: dt.datetime
    fault: str


class Cursor(BaseModel):
    """What is remembered from tick to tick, and over restarts. Small, as Dagster stores it with every tick.

    `rest_until`: up to when the looks so far, and those at length, have used the table's share of the time. `left_out`:
    tables that the last tick did not come to, and whether their audit is due.
    """

    tables: dict[str, TableMemory] = {}
    rest_until: dict[str, dt.datetime] = {}
    resting: dict[str, Resting] = {}
    left_out: dict[str, bool] = {}
    looked_back_at: dt.datetime | None = None
    audited_at: dt.datetime | None = None


def sensor_name(domain: str) -> str:
    """Name of the sensor that asks for a domain's refreshes."""
    return f"{domain}_changes"


def change_sensor(
    domain: Domain, start_date: dt.date, source: SourceResource, store: ObjectStoreResource
) -> dg.SensorDefinition:
    """The domain's change sensor; running from the start.

    The connections are made once per process: as resources of the sensor they would have Dagster open its own storage,
    with seven connections, for every tick that finds nothing.
    """

    @cache
    def connections() -> tuple[SourceResource, ObjectStoreResource]:
        return source.process_config_and_initialize(), store.process_config_and_initialize()

    lake = {asset_key(domain.name, "lake", table.name) for table in domain.tables}
    extracted = lake | {asset_key(domain.name, "postgres", table.name) for table in domain.tables}

    @dg.sensor(
        name=sensor_name(domain.name),
        asset_selection=dg.AssetSelection.assets(*lake).downstream().materializable(),
        # Dagster looks at its sensors as often; one that asks for the same is at times a hair early, and waits twice.
        minimum_interval_seconds=INTERVAL_SECONDS - 1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks at the source tables of {domain.name} every {INTERVAL_SECONDS} s and refreshes, from the "
        "lake to the marts, exactly the days that differ. A day that a run is on waits for it.",
    )
    def changes(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        cursor = Cursor.model_validate_json(context.cursor) if context.cursor else Cursor()
        now = dt.datetime.now(dt.UTC)
        everything = Window.everything(start_date, now)
        try:
            found = look_for_changes(
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
        if found.changes:
            if context.repository_def is None:
                raise RuntimeError("a change sensor needs the repository that it is part of")
            assets = {
                day: {asset_key(domain.name, "lake", table) for table in tables}
                for day, tables in found.changes.items()
            }
            # The same memory asks for the same only once, should a tick be cut off before its cursor is stored.
            attempt = context.cursor or now.isoformat()
            requests = [run_request(context.repository_def.asset_graph, assets, attempt)]
        told = "".join(f" {table}: {fault}." for table, fault in sorted(found.faults.items()))
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else f"Nothing new to ask for.{told}",
            cursor=cursor.model_dump_json(exclude_defaults=True),
        )

    return changes


def look_for_changes(
    domain: Domain,
    source: SourceResource,
    store: ObjectStoreResource,
    cursor: Cursor,
    everything: Window,
    now: dt.datetime,
    taken: Callable[[], Set[dt.date]],
) -> Found:
    """The changes to ask for in this tick; remembers in `cursor` what was seen.

    Raises ServiceError when the source or the lake does not answer; what is wrong with one table is told of that table.
    """
    audit = has_passed(AUDIT_EVERY, cursor.audited_at, now)
    look_back = audit or has_passed(LOOKBACK_EVERY, cursor.looked_back_at, now)
    if cursor.looked_back_at and cursor.looked_back_at > now:
        # By a clock that has been set back since: a rest might last for days.
        cursor.rest_until, cursor.resting = {}, {}
    left_out, cursor.left_out = cursor.left_out, {}
    first_day = everything.part(everything.first, everything.first + ONE_DAY)
    found, started, probed = Found(), time.monotonic(), dict[str, str]()
    with source.looking() as reader:
        tables = sorted(domain.tables, key=lambda table: table.name not in left_out)
        for table, is_again in _in_turn(tables, found):
            memory = cursor.tables.setdefault(table.name, TableMemory())
            audits = not is_again and (audit or left_out.get(table.name, False))
            looks_back = not is_again and (look_back or table.name in left_out)
            if (resting := cursor.resting.get(table.name)) and now < resting.until:
                found.faults[table.name] = resting.fault
            looked = time.monotonic()
            if table.name in found.faults or looked - started > TICK_SECONDS:
                if not is_again:
                    cursor.left_out[table.name] = audits
                continue
            first = max(everything.first, everything.end - ONE_DAY * (LOOKBACK_DAYS if looks_back else RECENT_DAYS))
            window = everything.part(first, everything.end)
            if audits:
                memory.settled = {}
            look = f"{table.name} {'looked back' if looks_back else 'recent'}"
            used = max(now, cursor.rest_until.get(look, now))
            if not audits and now < used - EARLY:
                continue
            with found.faults_of(reader, table):
                # A new day is news of its own: the lake does not have it.
                state = f"{now.date()} {reader.probe(table)}"
                if is_again and state == probed.get(table.name):
                    continue
                probed[table.name] = state
                # All rows of a table without a cursor lie on the first day, and what leaves it goes to no other.
                whole = table.cursor is None
                windows = [first_day, window] if whole and not window.from_start else [window]
                days_looked_at = {day for looked_at in windows for day in looked_at.days}
                due = any(asked.is_overdue(now) for asked in memory.asked.values())
                # What waited for a run is looked at when that has ended, though nothing else has happened since.
                held = memory.held.keys() & days_looked_at
                freed = held - taken() if held else held
                known = memory.looked_back if looks_back else memory.probe
                if not audits and not due and not freed and state == known:
                    continue
                begun = time.monotonic()
                left_too = audits or any(memory.held[day] for day in freed)
                days = set[dt.date]()
                for looked_at in windows:
                    days |= differing_days(
                        reader,
                        store,
                        table,
                        memory,
                        looked_at,
                        now,
                        taken,
                        left_too=left_too or (whole and looked_at.from_start),
                        compare=looks_back,
                    )
                if audits and first > everything.first:
                    missing = missing_days(store, table, everything.part(everything.first, first))
                    days |= memory.ask_for_missing(missing, taken() if missing else (), now)
                found.add(table, days)
                # What was asked for is looked at again until the lake has it.
                state = "" if memory.asked.keys() & days_looked_at else state
                memory.probe = state
                if looks_back:
                    memory.looked_back = state
                cursor.rest_until.pop(look, None)
                used += dt.timedelta(seconds=DUTY * (time.monotonic() - begun))
                if (used - now).total_seconds() > INTERVAL_SECONDS:
                    cursor.rest_until[look] = used
            if table.name in found.faults and (took := time.monotonic() - looked) > LONG_SECONDS:
                rest = dt.timedelta(seconds=DUTY * took)
                cursor.resting[table.name] = Resting(until=now + rest, fault=found.faults[table.name])
                cursor.left_out[table.name] = audits
            else:
                cursor.resting.pop(table.name, None)
            memory.forget_outside(
                everything.end - ONE_DAY * LOOKBACK_DAYS,
                everything.end,
                but_asked=None if table.cursor else everything.first,
            )
    if audit:
        cursor.audited_at = now
    if look_back:
        cursor.looked_back_at = now
    return found


def _in_turn(tables: Sequence[SourceTable], found: Found) -> Iterator[tuple[SourceTable, bool]]:
    """Each table, and whether it is again: those in which nothing was found are looked at once more when something was
    in another. A transaction that changed both may have been committed between the looks at them, and what is left of
    it would wait for the run of the rest.
    """
    is_again, more = False, True
    while more:
        before = len(found.tables)
        yield from ((table, is_again) for table in tables if table.name not in found.tables)
        is_again, more = True, len(found.tables) > before
