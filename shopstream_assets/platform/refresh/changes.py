"""Which days of the source differ from the lake.

A day of a table is known by its fingerprint: its rows, its newest cursor, and a sum of hashes over keys, cursors and
versions of rows. It is compared with that in the lake's manifest, so a late commit, a back-dated update, an update that
left the cursor where it was, or a lost manifest heals itself; how a row changed does not matter.

A row that changes leaves its old day, which then differs as well. Where nothing but that has happened, the day may wait
for the audit: its rows are in the log with their new day.
"""

import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, field_serializer, field_validator

from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.lake.manifest import Manifest, intact_manifests, published, readable_manifests
from shopstream_assets.platform.lake.object_store import ObjectMissing, ObjectStoreResource
from shopstream_assets.platform.refresh.asked import Asked
from shopstream_assets.platform.sources.port import SourceReader
from shopstream_assets.platform.sources.reading import EMPTY, Fingerprint, Reading, SchemaMismatch, TableFault

if TYPE_CHECKING:
    import pyarrow as pa

# Days with more rows than this are taken again without comparing row by row.
COMPARE_ROWS = 1_000_000
# What an old day looks like that the lake does not have.
MISSING = "missing"
# Characters of a digest.
DIGEST = 8

Days = dict[dt.date, set[str]]
"""Day -> tables."""


class TableMemory(BaseModel):
    """What is remembered of a table: how its days looked when they were equal to the lake, and what was asked for.

    `probe` and `looked_back`: what `probe` said at the last look, and at the last long one. `missing`: what the audit
    asked for beyond the days that other looks see. `held`: days that differ and wait for a run, and whether it was
    found by a look at what has left.
    """

    settled: dict[dt.date, str] = {}
    asked: dict[dt.date, Asked] = {}
    held: dict[dt.date, bool] = {}
    missing: dict[dt.date, Asked] = {}
    probe: str = ""
    looked_back: str = ""

    @field_serializer("settled")
    def _packed(self, settled: dict[dt.date, str]) -> str:
        """The first day and a digest for each day from there on, in a row: Dagster keeps the cursor of every tick."""
        if not settled:
            return ""
        first, last = min(settled), max(settled)
        days = (first + ONE_DAY * n for n in range((last - first).days + 1))
        return f"{first} " + "".join(settled.get(day, "-" * DIGEST) for day in days)

    @field_validator("settled", mode="before")
    @classmethod
    def _unpacked(cls, settled: Any) -> Any:
        if not isinstance(settled, str):
            return settled
        first, _, digests = settled.partition(" ")
        parts = [digests[at : at + DIGEST] for at in range(0, len(digests), DIGEST)]
        return {
            dt.date.fromisoformat(first) + ONE_DAY * n: part for n, part in enumerate(parts) if part != "-" * DIGEST
        }

    def ask_for_missing(self, days: Collection[dt.date], taken: Collection[dt.date], now: dt.datetime) -> set[dt.date]:
        """Those of the missing days to ask for now: not what a run is on, nor what was asked for lately."""
        before, self.missing = self.missing, {}
        due = set()
        for day in days:
            asked = before.get(day)
            if day not in taken and not (asked and asked.waits(MISSING, now)):
                asked = Asked.after(asked, MISSING, now)
                due.add(day)
            if asked:
                self.missing[day] = asked
        return due

    def forget_outside(self, first: dt.date, end: dt.date, *, but_asked: dt.date | None = None) -> None:
        """Drop days that no tick looks at any more, or not yet; what was asked for on the day `but_asked` is kept."""
        self.settled = {key: digest for key, digest in self.settled.items() if first <= key < end}
        self.asked = {key: asked for key, asked in self.asked.items() if first <= key < end or key == but_asked}
        self.held = {key: left for key, left in self.held.items() if first <= key < end or key == but_asked}


@dataclass
class Found:
    """What a look found: the days to ask for, and what is wrong with single tables."""

    changes: Days = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def tables(self) -> set[str]:
        """The tables of which there are days to ask for."""
        return {name for names in self.changes.values() for name in names}

    def add(self, table: SourceTable, days: Iterable[dt.date]) -> None:
        """Take days of a table."""
        for day in days:
            self.changes.setdefault(day, set()).add(table.name)

    @contextmanager
    def faults_of(self, reader: SourceReader, table: SourceTable) -> Iterator[None]:
        """Keep to itself what goes wrong with one table in the block."""
        try:
            with reader.about(table):
                yield
        except (TableFault, SchemaMismatch) as fault:
            self.faults[table.name] = str(fault)


def differing_days(
    reader: SourceReader,
    store: ObjectStoreResource,
    table: SourceTable,
    memory: TableMemory,
    window: Window,
    now: dt.datetime,
    taken: Callable[[], Set[dt.date]] = frozenset,
    *,
    left_too: bool = False,
    compare: bool = True,
) -> set[dt.date]:
    """Days of a table to ask for now, remembered in `memory`.

    Days that are `taken` wait, for a run is on them; that is asked only where there is something to do. A day from
    which rows have left, and nothing else, is asked for where `left_too` says so, and so is one of which objects are
    lost in the lake; without `compare`, one from which rows have left is not looked at any closer. An empty day that
    the lake does not have is asked for too, from its first moment on: what is missing can be told from what is empty.
    """
    found = reader.fingerprints(table, window)
    digests = {day: _digest(found.get(day, EMPTY)) for day in window.days}
    open_days = [day for day, digest in digests.items() if _is_open(memory, day, digest, now)]
    held = {day: memory.held.pop(day, False) for day in window.days}
    if open_days:
        waiting = taken()
        memory.held |= {day: left_too or held[day] for day in open_days if day in waiting}
        open_days = [day for day in open_days if day not in waiting]
    differing = set()
    reading = reader.plan(table) if left_too and open_days else None
    manifests = readable_manifests(store, table, open_days)
    if left_too:
        manifests = intact_manifests(store, table, window, manifests)
    for day, manifest in manifests.items():
        fingerprint = found.get(day, EMPTY)
        before = memory.asked.get(day)
        if manifest and manifest.is_of(fingerprint) and not (reading and reads_otherwise(manifest, reading)):
            memory.asked.pop(day, None)
            memory.settled[day] = digests[day]
            continue
        if manifest is not None and not left_too and _may_only_have_left(manifest, fingerprint):
            if not compare:
                continue
            if not _has_arrivals(reader, store, table, manifest, fingerprint):
                memory.settled[day] = digests[day]
                continue
        memory.settled.pop(day, None)
        memory.asked[day] = Asked.after(before, digests[day], now)
        differing.add(day)
    return differing


def reads_otherwise(manifest: Manifest, reading: Reading) -> bool:
    """Whether rows of a day in quarantine might travel now: it was read by other rules or columns."""
    return bool(manifest.quarantined_rows) and manifest.reading != reading.digest


def missing_days(store: ObjectStoreResource, table: SourceTable, window: Window) -> set[dt.date]:
    """Days of the window of which the lake has no manifest; from one listing."""
    return set(window.days) - published(store, table, window).keys()


def _may_only_have_left(manifest: Manifest, now: Fingerprint) -> bool:
    """Whether rows leaving the day would explain how it looks."""
    newest = manifest.source_newest
    return now.rows < manifest.source_rows and not (now.newest and (newest is None or now.newest > newest))


def _has_arrivals(
    reader: SourceReader,
    store: ObjectStoreResource,
    table: SourceTable,
    manifest: Manifest,
    now: Fingerprint,
) -> bool:
    """Whether the source's day holds a (key, cursor) that the lake's does not; rows that left do not count."""
    if now.rows == 0:
        return False
    if manifest.source_rows > COMPARE_ROWS:
        return True
    try:
        source = reader.plan(table).versions(Window.day(manifest.partition))
        lake = _keys_in_lake(store, table, manifest)
    except (ObjectMissing, SchemaMismatch):
        # Taking the day again puts a lost object back, and says what is wrong with the table.
        return True
    # What Postgres has beyond the rows that may travel would be quarantined.
    if now.rows - source.num_rows > manifest.quarantined_rows or lake is None or lake.schema != source.schema:
        return True
    return source.join(lake, keys=source.column_names, join_type="left anti").num_rows > 0


def _keys_in_lake(store: ObjectStoreResource, table: SourceTable, manifest: Manifest) -> "pa.Table | None":
    """(key, cursor) of the day's rows; None where an object cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    current = [item for item in manifest.objects if item.kind == "current"]
    try:
        parts = [pq.read_table(pa.BufferReader(store.get(item.key)), columns=list(table.version)) for item in current]
    except pa.ArrowInvalid:
        return None
    return pa.concat_tables(parts).replace_schema_metadata(None) if parts else None


def _is_open(memory: TableMemory, day: dt.date, digest: str, now: dt.datetime) -> bool:
    """Whether a day must be compared with the lake: it is new, it changed, or what was asked for is overdue."""
    if asked := memory.asked.get(day):
        return not asked.waits(digest, now)
    return memory.settled.get(day) != digest


def _digest(found: Fingerprint) -> str:
    """How a day looks, in a few characters."""
    return hashlib.sha256(repr((found.rows, found.hash)).encode()).hexdigest()[:DIGEST]
