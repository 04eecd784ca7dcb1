"""A mart against the source, by day, while both move.

A day that agrees is right, whatever moved. One that differs is a fault only where nothing moved: every partition that
its rows lie on looks in the source as the lake's manifest says, and the mart was built from that very manifest.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from shopstream_assets.platform.declare.partitions import ONE_DAY, Window, ranges
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.declare.tables import SourceTable, literal, snowflake_name
from shopstream_assets.platform.lake.manifest import readable_manifests
from shopstream_assets.platform.sources.port import SourceReader, SourceResource
from shopstream_assets.platform.sources.reading import EMPTY
from shopstream_assets.platform.staging.ledger import built_relation, one_state

if TYPE_CHECKING:
    from shopstream_assets.platform.lake.object_store import ObjectStoreResource
    from shopstream_assets.platform.staging.warehouse import WarehouseResource

Figures = tuple[int, Decimal]
"""Two numbers of a day; what they count, the `Subject` says."""
NOTHING: Figures = (0, Decimal(0))


@dataclass(frozen=True)
class Subject:
    """What a mart says of each day of the reporting time zone, and how the same is counted in Postgres.

    `in_source` selects day (by {zone}), partition and the two figures from {rows}, `in_mart` day and figures from
    {mart}, `places_in_fact` day and partition of the rows of {fact}. The figures of a `running` subject are what all
    days up to the day have left; in the source they are told as changes.
    """

    mart: str
    fact: str
    table: SourceTable
    names: tuple[str, str]
    in_source: str
    in_mart: str
    places_in_fact: str
    running: bool = False


@dataclass(frozen=True)
class Comparison:
    """Both sides by day. `faults` are days that differ although nothing moved, `moving` the others that differ."""

    source: Mapping[dt.date, Figures]
    mart: Mapping[dt.date, Figures]
    faults: Mapping[dt.date, Collection[dt.date]] = field(default_factory=dict)
    moving: Collection[dt.date] = ()


def compare(
    subject: Subject,
    source: SourceResource,
    store: ObjectStoreResource,
    warehouse: WarehouseResource,
    start: dt.date,
    window: Window | None = None,
    *,
    zone: str = "UTC",
) -> Comparison:
    """Compare a mart with Postgres: every day, or those that the window and the day before it touch.

    What breaks a rule is in quarantine and counts on neither side. Of a running subject all events are read, of any
    other those of the window's partitions and later ones, by the cursor's index. `start` is the first partition, `zone`
    the reporting time zone, whose days the mart has.
    """
    now = dt.datetime.now(dt.UTC)
    everything = Window.everything(start, now)
    first = window.first - ONE_DAY if window else everything.first
    places: defaultdict[dt.date, set[dt.date]] = defaultdict(set)
    found: defaultdict[dt.date, Figures] = defaultdict(lambda: NOTHING)
    with source.snapshot([subject.table]) as reader:
        # A day of the reporting time zone begins or ends on the UTC day before or after.
        read = everything if subject.running else everything.part(first - ONE_DAY, everything.end)
        counting = subject.in_source.format(rows="{rows}", zone=literal(zone))
        for day, place, count, amount in reader.plan(subject.table).rows_of(counting, read):
            found[day] = found[day][0] + int(count), found[day][1] + Decimal(amount)
            places[day].add(min(place, everything.last))
        known = set(places)
        in_mart, built = _of_warehouse(subject, warehouse, places, everything)
        if subject.running:
            running, before = NOTHING, frozenset[dt.date]()
            for day in sorted(places):
                running = running[0] + found[day][0], running[1] + found[day][1]
                before |= places[day]
                found[day], places[day] = running, set(before)
            # A day of the fact alone has nothing in the source.
            found = defaultdict(lambda: NOTHING, {day: found[day] for day in known})
        last = window.last if window else dt.date.max
        in_source = {day: figures for day, figures in found.items() if first <= day <= last}
        in_mart = {day: figures for day, figures in in_mart.items() if first <= day <= last}
        differing = sorted(
            day for day in in_source.keys() | in_mart.keys() if in_source.get(day, NOTHING) != in_mart.get(day, NOTHING)
        )
        wanted = {place for day in differing for place in places[day]}
        settled = settled_days(reader, store, subject.table, wanted, built, everything)
    # Where no row tells why, nothing may be under way at all.
    at_rest = all(built.values())
    faults = {day: places[day] for day in differing if places[day] <= settled and (places[day] or at_rest)}
    return Comparison(in_source, in_mart, faults, [day for day in differing if day not in faults])


def _of_warehouse(
    subject: Subject, warehouse: WarehouseResource, places: defaultdict[dt.date, set[dt.date]], everything: Window
) -> tuple[dict[dt.date, Figures], dict[dt.date, str]]:
    """The mart's figures by day, and what it and its fact were built from; `places` learns where the fact's rows lie.

    One statement, so that the figures are those of what they say they were built from.
    """
    database = snowflake_name(warehouse.database)
    mart, fact = f"{database}.MARTS.{subject.mart}", f"{database}.CORE.{subject.fact}"
    in_mart: dict[dt.date, Figures] = {}
    built: dict[dt.date, str] = {}
    with warehouse.connection(REPORTING) as session, session.cursor() as cursor:
        cursor.execute(
            f"select 'mart', day, null::date, first::number(38,2), second::number(38,2), null::varchar "
            f"from ({subject.in_mart.format(mart=mart)}) as figures (day, first, second) union all "
            f"select distinct 'fact', day, place, null, null, null "
            f"from ({subject.places_in_fact.format(fact=fact)}) as lies (day, place) union all "
            f"select 'built', null, partition_date, null, null, {one_state(2)} "
            f"from {built_relation(warehouse.database)} "
            f"where model_name in ('{subject.mart}', '{subject.fact}') and table_name = '{subject.table.name}' "
            f"group by partition_date"
        )
        for kind, day, place, count, amount, content in cursor.fetchall():
            if kind == "mart":
                in_mart[day] = int(count), Decimal(amount)
            elif kind == "fact":
                places[day].add(min(place, everything.last))
            else:
                built[place] = content
    return in_mart, built


def settled_days(
    reader: SourceReader,
    store: ObjectStoreResource,
    table: SourceTable,
    days: Collection[dt.date],
    built: Mapping[dt.date, str],
    everything: Window,
) -> set[dt.date]:
    """Those of the days of a table of which source, lake and models have one and the same state.

    `reader` has the snapshot that the source's figures are of; `built` the manifest hashes that the models say they
    were built from, read with the models' figures; `everything` all partitions there can be.
    """
    found = set()
    wanted = sorted(days)
    manifests = readable_manifests(store, table, wanted)
    for first, last in ranges(map(str, wanted)):
        span = everything.part(dt.date.fromisoformat(first), dt.date.fromisoformat(last) + ONE_DAY)
        now = reader.fingerprints(table, span)
        for day in span.days:
            manifest = manifests.get(day)
            if manifest and manifest.is_of(now.get(day, EMPTY)) and built.get(day) == manifest.hash:
                found.add(day)
    return found
