"""Timestamps without time zone, as columns and as the cursor: local times that travel as the moments they stand for."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, LiteralString, cast
from zoneinfo import ZoneInfo

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_input import DAY, FIRST, Spoiled, told

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.tables import (
    BIGINT,
    TEXT,
    TIMESTAMP,
    Column,
    ColumnType,
    SourceTable,
    local_timestamp,
    postgres_ddl,
)
from shopstream_assets.platform.present.table_assets import column_schema
from shopstream_assets.platform.refresh.changes import TableMemory, differing_days
from shopstream_assets.platform.refresh.reconcile import reconcile
from shopstream_assets.platform.sources.postgres.cursor import compared, cursor_moment, within
from shopstream_assets.platform.sources.postgres.play import play

BERLIN, NEW_YORK = local_timestamp("Europe/Berlin"), local_timestamp("America/New_York")
OPERATORS: tuple[Literal["<", "<=", ">", ">="], ...] = ("<", "<=", ">", ">=")
NOON = dt.datetime(2026, 3, 1, 12)


def visits(cursor: ColumnType = BERLIN) -> SourceTable:
    return SourceTable(
        name="visits",
        grain="One row per visit.",
        description="Visits.",
        owner="team:sales",
        columns=(
            Column("id", BIGINT, "Key."),
            Column("note", TEXT, "Note.", nullable=True),
            Column("left_at", NEW_YORK, "When.", nullable=True),
            Column("updated_at", cursor, "Cursor."),
        ),
    )


@pytest.fixture
def spoiled(services: Services) -> Spoiled:
    table = Spoiled(services, visits())
    return table.run(*postgres_ddl(table.table, services.source.schema_name))


def moment(local: dt.datetime, zone: str) -> dt.datetime:
    """The UTC moment by the rule of Postgres, found without it: of two the later, of none by the offset before."""
    readings = [local.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(dt.UTC) for fold in (0, 1)]
    exists = [reading.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == local for reading in readings]
    return (readings[1] if all(exists) else readings[0]).replace(tzinfo=None)


def fill(table: Spoiled, times: list[dt.datetime]) -> Spoiled:
    """A row for each time, numbered in their order: the cursor, and 4 hours earlier when they left."""
    with psycopg.connect(table.services.source.dsn, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.executemany(
            f"insert into {table.relation} (id, left_at, updated_at) values (%s, %s, %s)",
            [(number, time - dt.timedelta(hours=4), time) for number, time in enumerate(times)],
        )
    return table


def every(minutes: int, first: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    step = dt.timedelta(minutes=minutes)
    return [first + step * n for n in range((end - first) // step)]


# Around the days on which clocks are put forward and back: local times that are skipped, and that occur twice.
FORWARD = dt.date(2026, 3, 29)
BACK = dt.date(2026, 10, 25)


@pytest.mark.parametrize("switch", [FORWARD, BACK])
def test_every_local_time_arrives_as_its_moment_in_the_partition_of_its_utc_day(
    spoiled: Spoiled, switch: dt.date
) -> None:
    midnight = dt.datetime.combine(switch, dt.time())
    times = every(30, midnight - 2 * ONE_DAY, midnight + 2 * ONE_DAY)
    times += [time + dt.timedelta(microseconds=1) for time in times] + [midnight - dt.timedelta(microseconds=1)]
    fill(spoiled, times)
    window = Window(switch - 3 * ONE_DAY, switch + 3 * ONE_DAY)
    manifests = spoiled.extract(window)
    expected = {
        number: (
            moment(time - dt.timedelta(hours=4), "America/New_York"),
            moment(time, "Europe/Berlin"),
            moment(time, "Europe/Berlin").date(),
        )
        for number, time in enumerate(times)
    }
    lake: dict[int, Any] = {}
    for day, manifest in manifests.items():
        for item in manifest.objects:
            rows = pq.read_table(pa.BufferReader(spoiled.services.store.get(item.key))).to_pylist()
            assert [row["updated_at"] for row in rows] == sorted(row["updated_at"] for row in rows)
            lake |= {
                row["id"]: (row["left_at"].replace(tzinfo=None), row["updated_at"].replace(tzinfo=None), day)
                for row in rows
            }
    assert lake == expected
    spoiled.load(window)
    staged = spoiled.staged("id", "left_at", "updated_at", "_partition_date")
    assert {id: tuple(values) for id, *values in staged} == expected


def test_a_skipped_time_counts_by_the_offset_before_and_a_time_shown_twice_is_the_later(spoiled: Spoiled) -> None:
    fill(spoiled, [dt.datetime(2026, 3, 29, 2, 30), dt.datetime(2026, 10, 25, 2, 30)])
    for day in (FORWARD, BACK):
        spoiled.stage(Window.day(day))
    assert spoiled.staged("id", "updated_at") == [
        (0, dt.datetime(2026, 3, 29, 1, 30)),
        (1, dt.datetime(2026, 10, 25, 1, 30)),
    ]


@pytest.mark.parametrize(
    ("zone", "switch"),
    [
        ("UTC", FORWARD),
        ("Europe/Berlin", FORWARD),
        ("Europe/Berlin", BACK),
        ("America/New_York", dt.date(2026, 3, 8)),
        ("America/New_York", dt.date(2026, 11, 1)),
        ("Australia/Lord_Howe", dt.date(2026, 4, 5)),
        ("Asia/Kathmandu", FORWARD),
        # It moved to the other side of the date line: 30 December was left out.
        ("Pacific/Apia", dt.date(2011, 12, 30)),
        # The day before lasted twice as long.
        ("America/Juneau", dt.date(1867, 10, 19)),
    ],
)
def test_what_the_index_leaves_out_is_never_within_a_bound(services: Services, zone: str, switch: dt.date) -> None:
    midnight = dt.datetime.combine(switch, dt.time())
    table = Spoiled(services, visits(local_timestamp(zone)))
    table.create()
    fill(table, every(15, midnight - 3 * ONE_DAY, midnight + 4 * ONE_DAY))
    bounds = every(45, midnight - 2 * ONE_DAY, midnight + 3 * ONE_DAY)
    exact = cursor_moment(table.table)
    differing = [
        f"select count(*) from {{t}} where ({compared(table.table, operator, bound)}) <> ({exact} {operator} {bound})"
        for bound in (f"timestamptz '{time}+00'" for time in bounds)
        for operator in OPERATORS
    ]  # fmt: skip
    counts = f"select {' + '.join(f'({query})' for query in differing)}".replace("{t}", table.relation)
    assert rows(table, counts) == [(0,)]


def rows(table: Spoiled, query: str) -> list[tuple[Any, ...]]:
    """As the platform's own session answers; {t} is the table."""
    with table.services.source.snapshot() as reader, reader.connection.cursor() as cursor:
        cursor.execute(query.replace("{t}", table.relation))
        return [tuple(row) for row in cursor.fetchall()]


@pytest.mark.parametrize("day", [FORWARD - 10 * ONE_DAY, FORWARD, BACK])
def test_a_day_is_read_by_the_index_on_the_column_of_local_times(spoiled: Spoiled, day: dt.date) -> None:
    spoiled.run(
        "insert into {t} (id, updated_at) select n, timestamp '2026-01-01' + n * interval '5 minutes' "
        "from generate_series(1, 100000) as n",
        "analyze {t}",
    )
    with psycopg.connect(spoiled.services.source.dsn) as connection:
        connection.execute("set time zone 'UTC'")
        query = f"select * from {spoiled.relation} where {within(spoiled.table, Window.day(day))}"
        [plan] = connection.execute(cast(LiteralString, f"explain (analyze, format json) {query}")).fetchone() or ()
    node = plan[0]["Plan"]
    while "Plans" in node:
        node = node["Plans"][0]
    assert "updated_at >=" in node["Index Cond"]
    assert "updated_at <" in node["Index Cond"]
    # Not more than the hours around a switch are read in vain.
    assert node["Actual Rows"] + node.get("Rows Removed by Filter", 0) <= (24 + 2) * 12


class Looks:
    """What the change sensor remembers of the table."""

    def __init__(self, table: Spoiled, window: Window) -> None:
        self.table, self.window, self.memory = table, window, TableMemory()
        self.now = dt.datetime.combine(window.end, dt.time(12), dt.UTC)

    def look(self) -> set[dt.date]:
        self.now += dt.timedelta(days=1)
        services = self.table.services
        with services.source.looking() as reader:
            return differing_days(reader, services.store, self.table.table, self.memory, self.window, self.now)

    def probe(self) -> str:
        with self.table.services.source.looking() as reader:
            return reader.probe(self.table.table)


def test_the_change_sensor_asks_for_the_utc_days_of_what_changed(spoiled: Spoiled) -> None:
    fill(spoiled, [dt.datetime(2026, 7, 1, 12), dt.datetime(2026, 7, 2, 12)])
    window = Window(dt.date(2026, 6, 30), dt.date(2026, 7, 4))
    spoiled.stage(window)
    looks = Looks(spoiled, window)
    assert looks.look() == set()
    before = looks.probe()
    # Half past one in the morning in Berlin is the day before.
    spoiled.run("insert into {t} (id, updated_at) values (7, '2026-07-03 01:30')")
    assert looks.probe() != before
    assert looks.look() == {dt.date(2026, 7, 2)}
    spoiled.stage(window)
    assert looks.look() == set()
    spoiled.run("update {t} set note = 'x' where id = 7")
    assert looks.look() == {dt.date(2026, 7, 2)}


def test_a_row_that_moves_to_another_day_is_followed_and_one_that_is_deleted_leaves_a_tombstone(
    spoiled: Spoiled,
) -> None:
    fill(spoiled, [dt.datetime(2026, 7, 1, 12), dt.datetime(2026, 7, 1, 13), dt.datetime(2026, 7, 1, 14)])
    first = Window.day(dt.date(2026, 7, 1))
    spoiled.stage(first)
    spoiled.run("update {t} set updated_at = '2026-07-02 12:00', note = 'moved' where id = 0")
    spoiled.run("delete from {t} where id = 1")
    manifest = spoiled.stage(first)
    assert (manifest.rows, manifest.moved, manifest.deleted) == (1, 1, 1)
    assert spoiled.staged("id", "note", "updated_at") == [
        (0, "moved", dt.datetime(2026, 7, 2, 10)),
        (2, None, dt.datetime(2026, 7, 1, 12)),
    ]


def test_the_whole_table_equals_its_source_until_a_row_goes_without_a_trace(spoiled: Spoiled) -> None:
    fill(spoiled, every(30, dt.datetime(2026, 10, 24, 23), dt.datetime(2026, 10, 25, 5)))
    window = Window(dt.date(2026, 10, 24), dt.date(2026, 10, 26))
    spoiled.stage(window)
    services = spoiled.services
    found = reconcile(services.source, services.store, services.warehouse, spoiled.table, window)
    assert str(found) == "nothing differs"
    spoiled.run("delete from {t} where updated_at = '2026-10-25 02:30'")
    found = reconcile(services.source, services.store, services.warehouse, spoiled.table, window)
    assert (found.days, found.gone) == ({dt.date(2026, 10, 25)}, 1)


def test_rows_that_no_partition_holds_and_rows_from_the_future_are_told_by_their_moments(spoiled: Spoiled) -> None:
    now = dt.datetime.now(ZoneInfo("Europe/Berlin")).replace(tzinfo=None)
    hour = dt.timedelta(hours=1)
    spoiled.run("alter table {t} alter updated_at drop not null")
    for id, time in enumerate(
        ("infinity", "-infinity", None, "2026-03-01 00:30", "2026-03-01 01:30", now - 3 * hour, now + 3 * hour)
    ):
        spoiled.insert(id=id, updated_at=time)
    with spoiled.services.source.snapshot() as reader:
        assert reader.unpartitioned(spoiled.table, FIRST) == {
            "updated_at is null": 1,
            "updated_at is infinite": 2,
            "updated_at is before 2026-03-01": 1,
        }
        newest = reader.newest_change(spoiled.table)
    assert newest.age is not None
    assert abs(newest.age - 3 * hour) < dt.timedelta(minutes=5)
    assert newest.from_future == 1
    future = (now + 3 * hour).replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(dt.UTC)
    assert newest.furthest == f"{future:%Y-%m-%d %H:%M:%S.%f}".rstrip("0") + "+00"


def test_a_time_that_the_next_layer_cannot_hold_goes_to_quarantine_as_it_was_written(spoiled: Spoiled) -> None:
    spoiled.insert(id=1, updated_at=NOON, left_at="infinity").insert(id=2, updated_at=NOON)
    # By the clock of New York the year is still 9999.
    spoiled.insert(id=3, updated_at=NOON, left_at="9999-12-31 23:00")
    manifest = spoiled.stage()
    assert spoiled.staged("id", "left_at") == [(2, None)]
    assert {line["row"]["id"]: (line["reasons"], line["row"]["left_at"]) for line in spoiled.quarantined(manifest)} == {
        1: ("left_at is not a time between the years 1 and 9999", "infinity"),
        3: ("left_at is not a time between the years 1 and 9999", "9999-12-31T23:00:00"),
    }


def test_a_timestamp_whose_zone_nobody_declared_is_refused_with_what_to_write(spoiled: Spoiled) -> None:
    columns = tuple(
        replace(column, type=TIMESTAMP) if column.name == "updated_at" else column for column in spoiled.table.columns
    )
    told_of = told(replace(spoiled, table=replace(spoiled.table, columns=columns)).materialize("lake"))
    assert "column updated_at is now timestamp without time zone, declared timestamptz." in told_of
    assert "Next: declare it with the zone whose local time it holds, as local_timestamp('Europe/Berlin')" in told_of


def test_a_zone_that_is_declared_anew_reads_every_day_anew(spoiled: Spoiled) -> None:
    spoiled.insert(id=1, updated_at=NOON).stage()
    assert spoiled.staged("updated_at") == [(NOON - dt.timedelta(hours=1),)]
    elsewhere = replace(spoiled, table=visits(local_timestamp("UTC")))
    elsewhere.stage()
    assert elsewhere.staged("updated_at") == [(NOON,)]


def test_a_column_of_local_times_that_is_gone_becomes_null(spoiled: Spoiled) -> None:
    spoiled.insert(id=1, updated_at=NOON, left_at=NOON).run("alter table {t} drop left_at")
    assert spoiled.stage().drift == "dropped: left_at"
    assert spoiled.staged("id", "left_at") == [(1, None)]


@pytest.mark.parametrize("zone", ["", "Berlin", "Europe/Atlantis", "../etc/passwd", "+02:00", "'"])
def test_a_zone_that_nobody_knows_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match=r"no time zone is called .*: name one as 'UTC' or 'Europe/Berlin'"):
        local_timestamp(zone)


def test_a_local_time_is_no_key_since_two_may_be_one_moment() -> None:
    with pytest.raises(ValueError, match="table visits: its key 'left_at' cannot be a timestamp"):
        replace(visits(), primary_key=("id", "left_at"))


def test_the_page_of_the_source_says_the_zone_and_those_of_the_layers_below_none() -> None:
    shown = [column_schema(visits(), layer).columns[-1].type for layer in ("postgres", "lake", "staging")]
    assert shown == ["timestamp (Europe/Berlin)", "timestamp_ntz(6)", "timestamp_ntz(6)"]


def test_a_simulated_source_is_played_in_local_time(services: Services) -> None:
    table = visits()
    times = [dt.datetime(2026, 3, 1, 11, tzinfo=dt.UTC), dt.datetime(2026, 7, 1, 11, tzinfo=dt.UTC)]

    class Simulator:
        def __init__(self, settings: DomainSettings | None = None) -> None: ...

        def batches(self, name: str, first: dt.date, end: dt.date) -> Iterator[pa.RecordBatch]:
            assert name == "visits"
            kind = pa.timestamp("us", tz="UTC")
            yield pa.record_batch(
                {
                    "id": pa.array([1, 2], pa.int64()),
                    "note": pa.array(["a", "b"]),
                    "left_at": pa.array(times, kind),
                    "updated_at": pa.array(times, kind),
                }
            )

    with services.source.transaction() as connection:
        play(connection, Simulator(), table, services.source.schema_name, FIRST, FIRST + ONE_DAY)
    played = Spoiled(services, table)
    assert rows(played, "select left_at::text, updated_at::text from {t} order by id") == [
        ("2026-03-01 06:00:00", "2026-03-01 12:00:00"),
        ("2026-07-01 07:00:00", "2026-07-01 13:00:00"),
    ]
    played.stage(DAY)
    assert played.staged("id", "left_at") == [(1, dt.datetime(2026, 3, 1, 11))]
