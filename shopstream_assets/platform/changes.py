"""The sensor that sees the source change, and asks for exactly the days that differ from the lake.

A day of a table is compared by its fingerprint (rows, newest cursor, hash of keys and cursors) with the one in the
lake's manifest. So a late commit, a back-dated update or a lost manifest heals itself; how a row changed does not
matter. A row that changes leaves its old day, which then differs as well: such a day has nothing new, its version in
the log is history, and it is left alone.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from pydantic import BaseModel

from shopstream_assets.platform.domain import Domain
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.extract import EMPTY, Fingerprint, fingerprints
from shopstream_assets.platform.lake import Manifest, read_manifests
from shopstream_assets.platform.partitions import ONE_DAY, Window
from shopstream_assets.platform.resources.object_store import ObjectStoreResource
from shopstream_assets.platform.resources.postgres import PostgresResource
from shopstream_assets.platform.source_assets import asset_key
from shopstream_assets.platform.tables import SourceTable, quoted

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

INTERVAL_SECONDS = 5
# Every tick looks at today and yesterday; once a minute at all days that late and back-dated changes may reach.
RECENT_DAYS = 2
LOOKBACK_DAYS = 30
LOOKBACK_EVERY = dt.timedelta(minutes=1)
# A day that was asked for and still differs is asked for again after this time: its run failed or was lost.
ASK_AGAIN_AFTER = dt.timedelta(minutes=10)
# Days with more rows than this are taken again without comparing row by row.
COMPARE_ROWS = 1_000_000
# Changes scattered over more ranges than this are covered by fewer, wider ones: a range costs a run.
MOST_RUNS = 3


class Asked(BaseModel):
    """What was last known of a day: its fingerprint, and when it was asked for (None: the lake has it)."""

    rows: int
    hash: int
    at: dt.datetime | None
    attempt: int = 0


class Cursor(BaseModel):
    """The sensor's memory, kept by Dagster from tick to tick and over restarts: table -> day -> what was known."""

    known: dict[str, dict[dt.date, Asked]] = {}
    looked_back_at: dt.datetime | None = None


# Day -> table -> what its content is known by, and how often it was asked for.
Changes = dict[dt.date, dict[str, str]]


def change_sensor(domain: Domain, start_date: dt.date) -> dg.SensorDefinition:
    """The domain's change sensor; running from the start."""
    lake = dg.AssetSelection.assets(*(asset_key(domain.name, "lake", table.name) for table in domain.tables))

    @dg.sensor(
        name=f"{domain.name}_changes",
        target=lake.downstream(),
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks at the source tables of {domain.name} every {INTERVAL_SECONDS} s and refreshes, from the "
        "lake to the marts, exactly the days that differ.",
    )
    def changes(
        context: dg.SensorEvaluationContext, source: PostgresResource, store: ObjectStoreResource
    ) -> dg.SensorResult | dg.SkipReason:
        cursor = Cursor.model_validate_json(context.cursor) if context.cursor else Cursor()
        now = dt.datetime.now(dt.UTC)
        look_back = cursor.looked_back_at is None or now - cursor.looked_back_at >= LOOKBACK_EVERY
        days = LOOKBACK_DAYS if look_back else RECENT_DAYS
        window = Window(max(start_date, now.date() + ONE_DAY - ONE_DAY * days), now.date() + ONE_DAY)
        try:
            changed = differing_days(domain.tables, source, store, cursor, window, now)
        except Problem as problem:
            return dg.SkipReason(f"looking for changes of {domain.name}: {problem}")
        if look_back:
            cursor.looked_back_at = now
        forget_before(cursor, now.date() - ONE_DAY * (LOOKBACK_DAYS + 1))
        graph = context.repository_def.asset_graph if context.repository_def else None
        if graph is None:
            raise RuntimeError("a change sensor needs the repository that it is part of")
        requests = [run_request(domain, graph, changed, days) for days in ranges(changed)]
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else f"No change since {window.first} that the lake does not have.",
            cursor=cursor.model_dump_json(),
        )

    return changes


def differing_days(
    tables: Iterable[SourceTable],
    source: PostgresResource,
    store: ObjectStoreResource,
    cursor: Cursor,
    window: Window,
    now: dt.datetime,
) -> Changes:
    """The days whose source differs from the lake and that are to be asked for now; remembers them in `cursor`.

    Raises Problem when the source or the lake does not answer.
    """
    changed: Changes = {}
    with source.snapshot() as connection:
        for table in tables:
            known = cursor.known.setdefault(table.name, {})
            found = fingerprints(connection, table, source.schema_name, window)
            # An empty day that is over is published too: what is missing can then be told from what is empty.
            unsettled = {
                day: found.get(day, EMPTY)
                for day in window.days
                if (day in found or day < now.date()) and _is_unsettled(known.get(day), found.get(day, EMPTY))
            }
            if not unsettled:
                continue
            manifests = read_manifests(store, table, unsettled)
            for day, fingerprint in unsettled.items():
                manifest, before = manifests[day], known.get(day)
                same = manifest is not None and (manifest.source_rows, manifest.source_hash) == (
                    fingerprint.rows,
                    fingerprint.hash,
                )
                is_new = before is None or (before.rows, before.hash) != (fingerprint.rows, fingerprint.hash)
                if same or (
                    manifest and is_new and not has_arrivals(connection, source.schema_name, store, table, manifest)
                ):
                    known[day] = Asked(rows=fingerprint.rows, hash=fingerprint.hash, at=None)
                elif is_new or before is None or before.at is None or now - before.at >= ASK_AGAIN_AFTER:
                    attempt = 0 if is_new or before is None else before.attempt + 1
                    known[day] = Asked(rows=fingerprint.rows, hash=fingerprint.hash, at=now, attempt=attempt)
                    content = f"{fingerprint.rows}:{fingerprint.hash}:{attempt}"
                    changed.setdefault(day, {})[table.name] = content
    return changed


def has_arrivals(
    connection: "Connection", schema: str, store: ObjectStoreResource, table: SourceTable, manifest: Manifest
) -> bool:
    """Whether the source's day holds a (key, cursor) that the lake's does not; rows that left do not count."""
    if manifest.source_rows > COMPARE_ROWS:
        return True
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [*table.primary_key, table.cursor]
    columns = ", ".join(quoted(name) for name in names)
    first, end = (f"timestamptz '{day} 00:00:00+00'" for day in (manifest.partition, manifest.partition + ONE_DAY))
    with connection.cursor() as cursor:
        cursor.execute(
            f"select {columns} from {quoted(schema)}.{quoted(table.name)} "
            f"where {quoted(table.cursor)} >= {first} and {quoted(table.cursor)} < {end}"
        )
        source = cursor.fetch_arrow_table()
    stored = [pq.read_table(pa.BufferReader(store.get(item.key)), columns=names) for item in manifest.objects]
    if not stored:
        return source.num_rows > 0
    lake = pa.concat_tables(stored)
    return source.cast(lake.schema).join(lake, keys=names, join_type="left anti").num_rows > 0


def _is_unsettled(before: Asked | None, now: Fingerprint) -> bool:
    """Whether a day must be compared with the lake: it is new, it changed, or what was asked for has not been seen."""
    return before is None or before.at is not None or (before.rows, before.hash) != (now.rows, now.hash)


def forget_before(cursor: Cursor, day: dt.date) -> None:
    """Drop days that no tick looks at any more, so that the cursor stays small."""
    for known in cursor.known.values():
        for old in [key for key in known if key < day]:
            del known[old]


def ranges(changed: Changes) -> Iterator[list[dt.date]]:
    """Runs of days in which the same tables changed; where there are many, those closest to each other are one."""
    days = sorted(changed)
    starts = [
        n
        for n, day in enumerate(days)
        if n > 0 and (day - days[n - 1] != ONE_DAY or changed[day].keys() != changed[days[n - 1]].keys())
    ]
    widest = sorted(starts, key=lambda n: days[n] - days[n - 1], reverse=True)[: MOST_RUNS - 1]
    bounds = [0, *sorted(widest), len(days)]
    yield from (days[start:end] for start, end in pairwise(bounds) if start < end)


def run_request(domain: Domain, graph: AssetGraph, changed: Changes, days: list[dt.date]) -> dg.RunRequest:
    """One run from the first to the last of the days: the lake of the changed tables and all that follows from it."""
    tables = sorted({table for day in days for table in changed[day]})
    lake = dg.AssetSelection.assets(*(asset_key(domain.name, "lake", table) for table in tables))
    first, last = days[0].isoformat(), days[-1].isoformat()
    content = repr([(str(day), sorted(changed[day].items())) for day in days])
    span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return dg.RunRequest(
        run_key=f"{first}..{last} {hashlib.sha256(content.encode()).hexdigest()[:16]}",
        asset_selection=sorted(lake.downstream().resolve(graph)),
        partition_key=first if first == last else None,
        tags={"shopstream/changed_tables": ",".join(tables), **({} if first == last else span)},
    )
