"""The port that a source fulfils: one that is no Postgres goes the same road, and is watched by the same eyes."""

import datetime as dt
import random
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import dagster as dg
import pytest
from bad_input import Spoiled
from sqlite_source import SqliteSource

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.environment import SettingsError
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window, daily
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.tables import BIGINT, INTEGER, TEXT, TIMESTAMP, Column, SourceTable
from shopstream_assets.platform.definitions import domain_definitions, resources
from shopstream_assets.platform.lake.asset import lake_asset
from shopstream_assets.platform.lake.extraction import extract_to_lake
from shopstream_assets.platform.lake.head import SourceChanged
from shopstream_assets.platform.lake.manifest import Manifest
from shopstream_assets.platform.refresh.change_sensor import AUDIT_EVERY, Cursor, look_for_changes
from shopstream_assets.platform.refresh.freshness import source_freshness
from shopstream_assets.platform.refresh.reconcile import Reconciled, reconcile
from shopstream_assets.platform.sources.checks import source_checks, whole_source_checks
from shopstream_assets.platform.staging.loading import load_from_lake

NOW = dt.datetime.now(dt.UTC)
FIRST = NOW.date() - ONE_DAY * 9
PARCELS = SourceTable(
    name="parcels",
    grain="One row per parcel.",
    description="Parcels of a carrier.",
    owner="team:logistics",
    cursor="updated_at",
    primary_key=("id",),
    columns=(
        Column("id", BIGINT, "Key."),
        Column("grams", INTEGER, "Weight.", nullable=True, minimum=1),
        Column("note", TEXT, "Note.", nullable=True, pii=True),
        Column("updated_at", TIMESTAMP, "Cursor."),
    ),
    max_loss=1.0,
)
GONE = replace(PARCELS, name="returns")


@dataclass
class Carrier:
    """A carrier's file, and the layers of its table."""

    services: Services
    source: SqliteSource
    cursor: Cursor = field(default_factory=Cursor)
    now: dt.datetime = NOW

    @property
    def everything(self) -> Window:
        return Window.everything(FIRST, NOW)

    def run(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.source.path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def make(self, number: int) -> None:
        self.run(
            f"pragma application_id = {number}",
            "create table parcels (id integer primary key, grams integer, note text, updated_at text not null)",
        )

    def put(self, key: int, back: int, grams: int = 100, note: str = "") -> None:
        at = dt.datetime.combine(NOW.date() - ONE_DAY * back, dt.time(), dt.UTC)
        self.run(
            f"insert into parcels values ({key}, {grams}, '{note}', '{at.isoformat()}') on conflict (id) do update "
            "set grams = excluded.grams, note = excluded.note, updated_at = excluded.updated_at"
        )

    def refresh(self, window: Window | None = None) -> dict[dt.date, Manifest]:
        window = window or self.everything
        _, manifests = extract_to_lake(self.source, self.services.store, PARCELS, window, FIRST)
        load_from_lake(self.services.store, self.services.warehouse, PARCELS, window)
        return manifests

    def look(self) -> set[dt.date]:
        """What the change sensor asks for; hours pass, and how long a look took calls for no rest."""
        self.now += AUDIT_EVERY
        self.cursor.rest_until = {}
        domain = Domain("carrier", (PARCELS, GONE), simulator=lambda _: pytest.fail("nothing is simulated"))
        found = look_for_changes(domain, self.source, self.services.store, self.cursor, self.everything, self.now, set)
        # A table that the file lacks is its own fault.
        assert found.faults.keys() == {"returns"}
        return set(found.changes)

    def reconciled(self) -> Reconciled:
        return reconcile(self.source, self.services.store, self.services.warehouse, PARCELS, self.everything)

    def staged(self) -> list[tuple[object, ...]]:
        # One state of the source may be told in the partitions that a row has left, too.
        return sorted(set(Spoiled(self.services, PARCELS).staged("id", "grams", "note")))

    def in_file(self) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.source.path)) as connection:
            return connection.execute("select id, grams, note from parcels where grams >= 1 order by id").fetchall()


@pytest.fixture
def carrier(services: Services, tmp_path: Path) -> Carrier:
    carrier = Carrier(services, SqliteSource(path=str(tmp_path / "carrier.db")))
    carrier.make(1)
    for key in range(8):
        carrier.put(key, back=key)
    return carrier


def test_rows_that_change_move_and_leave_arrive_in_staging(carrier: Carrier) -> None:
    carrier.refresh()
    assert carrier.staged() == carrier.in_file()
    assert carrier.look() == set()

    carrier.put(3, back=1, note="moved")
    carrier.run("delete from parcels where id = 5", "update parcels set note = 'in place' where id = 6")
    days = carrier.look()
    assert {NOW.date() - ONE_DAY * back for back in (1, 5, 6)} <= days
    for day in days:
        carrier.refresh(carrier.everything.part(day, day + ONE_DAY))
    assert carrier.staged() == carrier.in_file()
    assert carrier.look() == set()
    assert carrier.reconciled() == Reconciled()


def test_rows_that_break_a_rule_wait_in_quarantine(carrier: Carrier) -> None:
    carrier.put(2, back=2, grams=0, note="for Ann Lee")
    manifest = carrier.refresh()[NOW.date() - ONE_DAY * 2]
    assert (manifest.rows, manifest.quarantined_rows) == (0, 1)
    [held_back] = Spoiled(carrier.services, PARCELS).quarantined(manifest)
    assert held_back["row"] | {"updated_at": ""} == {"id": 2, "grams": 0, "note": "***(11)", "updated_at": ""}
    carrier.put(2, back=2, grams=7)
    carrier.refresh()
    assert carrier.staged() == carrier.in_file()


def test_the_whole_table_is_reconciled_key_by_key(carrier: Carrier) -> None:
    carrier.refresh()
    carrier.run("delete from parcels where id in (4, 7)")
    carrier.put(99, back=3)
    found = carrier.reconciled()
    assert (found.gone, found.new) == (2, 1)
    assert found.days == {NOW.date() - ONE_DAY * back for back in (3, 4, 7)}


def test_another_file_in_its_place_stops_the_extraction(carrier: Carrier, tmp_path: Path) -> None:
    carrier.refresh()
    Path(carrier.source.path).rename(tmp_path / "before.db")
    carrier.make(7)
    carrier.put(1, back=1)
    with pytest.raises(SourceChanged):
        carrier.refresh()


def test_dagster_takes_it_for_the_source_of_assets_and_checks(carrier: Carrier) -> None:
    domain = Domain("carrier", (PARCELS,), simulator=lambda _: pytest.fail("nothing is simulated"))
    settings = DomainSettings(source_mode="live", start_date=FIRST)
    partitions = daily(FIRST)
    carrier.run("update parcels set updated_at = '2001-01-01T00:00:00+00:00' where id = 1")
    defs = dg.Definitions(
        assets=[
            dg.AssetSpec(asset_key("carrier", "postgres", "parcels"), partitions_def=partitions),
            lake_asset(domain, PARCELS, partitions, FIRST),
        ],
        asset_checks=[source_checks(domain, settings), whole_source_checks(domain, settings)],
        resources={"source": carrier.source, "store": carrier.services.store},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        lake = asset_key("carrier", "lake", "parcels")
        result = job.execute_in_process(
            instance=instance, asset_selection=[lake], partition_key=str(NOW.date() - ONE_DAY * 2)
        )
        assert result.asset_materializations_for_node("carrier__lake__parcels")[0].partition
        checks = {check for check in defs.resolve_asset_graph().asset_check_keys if check.asset_key != lake}
        checked = job.get_subset(asset_selection=set(), asset_check_selection=checks).execute_in_process(
            instance=instance
        )
        passed = {one.check_name: one.passed for one in checked.get_asset_check_evaluations()}
    assert passed == {
        "columns_as_declared": True,
        "every_row_has_a_day": False,
        "no_rows_from_the_future": True,
        "fresh": True,
        "keys_unique_and_not_null": True,
    }
    found = source_freshness(carrier.source, [PARCELS, GONE])
    assert found["parcels"].stale_told is None
    assert "no such table" in (found["returns"].stale_told or "")


def test_a_domain_takes_it_for_its_source_unless_it_is_to_be_played(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SqliteSource(path="carrier.db")
    monkeypatch.setenv("SHOPSTREAM_START_DATE", str(FIRST))
    monkeypatch.setenv("SHOPSTREAM_SOURCE_MODE", "live")
    assert domain_definitions(SHOPSTREAM, source=source).resources == {**resources(SHOPSTREAM), "source": source}
    monkeypatch.setenv("SHOPSTREAM_SOURCE_MODE", "simulated")
    with pytest.raises(SettingsError, match="the source of shopstream is not Postgres"):
        domain_definitions(SHOPSTREAM, source=source)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_in_any_order_staging_comes_to_equal_the_file(carrier: Carrier, seed: int) -> None:
    chance = random.Random(seed)

    def change() -> None:
        key = chance.randrange(12)
        chance.choice(
            [
                lambda: carrier.put(key, chance.randrange(9), grams=chance.choice([0, 50]), note=str(chance.random())),
                lambda: carrier.run(f"delete from parcels where id = {key}"),
                lambda: carrier.run(f"update parcels set id = id + 20 where id = {key}"),
            ]
        )()

    def some_days() -> Window:
        first = FIRST + ONE_DAY * chance.randrange(9)
        return carrier.everything.part(first, min(first + ONE_DAY * 3, carrier.everything.end))

    for _ in range(20):
        chance.choice([change, change, lambda: carrier.refresh(some_days())])()
    for day in carrier.look() | carrier.reconciled().days:
        carrier.refresh(carrier.everything.part(day, day + ONE_DAY))
    assert carrier.staged() == carrier.in_file()
    assert carrier.reconciled() == Reconciled()
