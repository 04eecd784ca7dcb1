"""Tables without a cursor: all of one lies in the first partition, and is read again whenever its hash differs."""

import datetime as dt
import random
from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
import psycopg
import pyarrow as pa
import pytest
from bad_input import FIRST, LINES, Spoiled

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window, daily, ranges
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.tables import BIGINT, TEXT, Column, SourceTable
from shopstream_assets.platform.errors import LayerError
from shopstream_assets.platform.lake.asset import lake_asset
from shopstream_assets.platform.lake.manifest import manifest_key, read_manifests
from shopstream_assets.platform.refresh.asked import ASK_AGAIN_AFTER
from shopstream_assets.platform.refresh.change_sensor import (
    AUDIT_EVERY,
    LOOKBACK_DAYS,
    Cursor,
    change_sensor,
    look_for_changes,
)
from shopstream_assets.platform.refresh.freshness import allowed_ages
from shopstream_assets.platform.refresh.freshness_sensor import freshness_sensor
from shopstream_assets.platform.refresh.reconcile import Reconciled, reconcile
from shopstream_assets.platform.sources.checks import source_checks
from shopstream_assets.platform.sources.postgres.play import play
from shopstream_assets.platform.sources.postgres.previews import source_preview

# At noon: the hours that the tests let pass end on the same day, at whatever hour they run.
NOW = dt.datetime.now(dt.UTC).replace(hour=12)
COUNTRIES = SourceTable(
    name="countries",
    grain="One row per country.",
    description="Countries.",
    owner="team:sales",
    cursor=None,
    primary_key=("code",),
    columns=(Column("code", TEXT, "Key."), Column("name", TEXT, "Name.", nullable=True)),
    max_loss=1.0,
)
MEMBERS = SourceTable(
    name="members",
    grain="One row per member of a group.",
    description="Who is in which group.",
    owner="team:sales",
    cursor=None,
    primary_key=("user_id", "group_id"),
    columns=(Column("user_id", BIGINT, "User."), Column("group_id", BIGINT, "Group.")),
)


class World:
    """The table, its layers, and the change sensor's memory; its first partition lies long before its look-back."""

    def __init__(self, services: Services, table: SourceTable = COUNTRIES, days: int = LOOKBACK_DAYS + 10) -> None:
        self.start, self.now, self.cursor = NOW.date() - ONE_DAY * days, NOW, Cursor()
        self.domain = Domain("shop", (table,), simulator=lambda _: pytest.fail("nothing is simulated"))
        self.table = Spoiled(services, table).create()
        self.services = services

    @property
    def everything(self) -> Window:
        return Window.everything(self.start, self.now)

    @property
    def first(self) -> Window:
        return self.everything.part(self.start, self.start + ONE_DAY)

    def look(self, after: dt.timedelta = dt.timedelta(seconds=5)) -> set[dt.date]:
        """The days that a tick asks for, `after` the last."""
        self.now += after
        self.cursor = Cursor.model_validate_json(self.cursor.model_dump_json(exclude_defaults=True))
        # The hours pass as they are told here, and what a look took on this machine calls for no rest.
        self.cursor.rest_until = {}
        services = self.services
        found = look_for_changes(
            self.domain, services.source, services.store, self.cursor, self.everything, self.now, set
        )
        assert not found.faults
        return set(found.changes)

    def stage(self, days: set[dt.date]) -> None:
        for first, last in ranges(map(str, sorted(days))):
            self.table.stage(self.everything.part(dt.date.fromisoformat(first), dt.date.fromisoformat(last) + ONE_DAY))

    def settle(self) -> None:
        """Refresh what is asked for until nothing is, and let the audit be over."""
        self.stage(self.look(AUDIT_EVERY))
        assert self.look(ASK_AGAIN_AFTER) == set()

    def reconciled(self) -> Reconciled:
        """What the daily look at everything finds."""
        services = self.services
        return reconcile(services.source, services.store, services.warehouse, self.table.table, self.everything)

    def in_source(self) -> list[tuple[object, ...]]:
        names = ", ".join(column.name for column in self.table.table.columns)
        with psycopg.connect(self.services.source.dsn) as connection:
            return sorted(connection.execute(f"select {names} from {self.table.relation}"), key=repr)  # type: ignore[arg-type]

    def staged(self) -> list[tuple[object, ...]]:
        return self.table.staged(*(column.name for column in self.table.table.columns))


@pytest.fixture
def world(services: Services) -> World:
    world = World(services)
    world.table.run("insert into {t} values ('DE', 'Germany'), ('FR', 'France'), ('IT', null)")
    world.settle()
    return world


def test_all_rows_lie_in_the_first_partition_and_the_others_are_there_and_empty(world: World) -> None:
    manifests = read_manifests(world.services.store, COUNTRIES, list(world.everything.days))
    rows = {day: manifest and manifest.rows for day, manifest in manifests.items()}
    assert rows == {day: 3 if day == world.start else 0 for day in world.everything.days}
    assert world.staged() == world.in_source() == [("DE", "Germany"), ("FR", "France"), ("IT", None)]


@pytest.mark.parametrize(
    "change",
    [
        "insert into {t} values ('ES', 'Spain')",
        "update {t} set name = 'Italy' where code = 'IT'",
        # What it says is as before: only its version tells.
        "update {t} set name = name where code = 'IT'",
        "delete from {t} where code = 'FR'",
        "update {t} set code = 'BE' where code = 'FR'",
        "truncate {t}",
    ],
)
def test_the_next_tick_asks_for_the_first_day_whatever_changed_and_staging_equals_the_source(
    world: World, change: str
) -> None:
    world.table.run(change)
    assert world.look() == {world.start}
    # It waits for that, and does not ask at every tick.
    assert world.look() == set()
    world.stage({world.start})
    assert world.look() == set()
    assert world.staged() == world.in_source()


def test_a_day_that_stays_unequal_is_asked_for_again_later_and_a_lost_object_too(world: World) -> None:
    world.table.run("delete from {t} where code = 'FR'")
    assert world.look() == {world.start}
    assert world.look() == set()
    assert world.look(ASK_AGAIN_AFTER) == {world.start}
    world.stage({world.start})
    assert world.look() == set()
    world.services.store.client.delete_object(
        Bucket=world.services.store.bucket, Key=manifest_key(COUNTRIES, world.start)
    )
    assert world.look(AUDIT_EVERY) == {world.start}


def test_the_sensor_remembers_no_more_of_a_long_history(services: Services) -> None:
    worlds = [World(services, replace(COUNTRIES, name=f"countries_{days}"), days) for days in (40, 2000)]
    lengths = []
    for world in worlds:
        world.table.run("insert into {t} values ('DE', 'Germany')")
        world.table.stage(world.first)
        for _ in range(2):
            world.look()
        lengths.append(len(world.cursor.tables[world.table.table.name].model_dump_json(exclude={"missing"})))
    assert lengths[0] == lengths[1]


def test_a_new_first_day_takes_the_rows_along(world: World) -> None:
    for days in (3, -6):
        world.start += ONE_DAY * days
        world.settle()
        # Former first days lie before the look-back: the daily look empties them.
        world.stage(world.reconciled().days)
        # One state of the source may be told in the partitions that a row has left, too.
        assert sorted(set(world.staged()), key=repr) == world.in_source()
        held = read_manifests(world.services.store, COUNTRIES, list(world.everything.days))
        days_with_rows = {day: found.rows for day, found in held.items() if found and found.rows}
        assert days_with_rows == {world.start: 3}


def test_rows_that_break_a_rule_go_to_quarantine_and_come_back(services: Services) -> None:
    columns = tuple(column for column in LINES.columns if column.name != "updated_at")
    world = World(services, replace(LINES, cursor=None, columns=columns))
    world.table.run("insert into {t} (id, quantity) values (1, 1), (2, 0)")
    world.settle()
    [manifest] = read_manifests(services.store, world.table.table, [world.start]).values()
    assert manifest
    [held_back] = world.table.quarantined(manifest)
    assert (held_back["row"]["id"], held_back["reasons"]) == (2, "quantity is below 1")
    assert world.table.staged("id") == [(1,)]
    world.table.run("update {t} set quantity = 2")
    world.stage(world.look())
    assert world.table.staged("id", "quantity") == [(1, 2), (2, 2)]


def test_a_table_that_loses_more_than_it_may_stops(services: Services) -> None:
    world = World(services, replace(COUNTRIES, max_loss=0.2))
    world.table.run("insert into {t} select n::text, '' from generate_series(1, 1000) as n")
    world.settle()
    world.table.run("delete from {t} where code::int > 500")
    with pytest.raises(LayerError, match="500 rows are gone"):
        world.stage({world.start})


def test_a_table_that_is_all_key_travels_and_is_reconciled(services: Services) -> None:
    world = World(services, MEMBERS)
    world.table.run("insert into {t} values (1, 1), (1, 2), (2, 1)")
    world.settle()
    world.table.run("delete from {t} where user_id = 1 and group_id = 2", "insert into {t} values (3, 1)")
    world.stage(world.look())
    assert world.staged() == world.in_source() == [(1, 1), (2, 1), (3, 1)]

    assert world.reconciled() == Reconciled()
    world.table.run("insert into {t} values (4, 4)")
    found = world.reconciled()
    assert (found.days, found.new) == ({world.start}, 1)


def test_its_age_is_not_known_so_nothing_asks_for_it(services: Services) -> None:
    domain = Domain("shop", (COUNTRIES, LINES), simulator=lambda _: pytest.fail("nothing is simulated"))
    settings = DomainSettings(source_mode="live", start_date=FIRST)
    checks = {(key.asset_key.path[-1], key.name) for key in source_checks(domain, settings).check_keys}
    assert {name for table, name in checks if table == "countries"} == {"columns_as_declared"}
    assert {name for table, name in checks if table == "lines"} > {"fresh", "every_row_has_a_day"}
    specs = [
        dg.AssetSpec(asset_key("shop", "lake", name), deps=[asset_key("shop", "postgres", name)])
        for name in ("countries", "lines")
    ]
    both = dg.AssetSpec("both", deps=[spec.key for spec in specs])
    ages = allowed_ages(domain, [*specs, both])
    assert ages == {specs[1].key: LINES.freshness, both.key: LINES.freshness}


def test_the_sensors_of_its_domain_go_on_beside_it(services: Services) -> None:
    domain = Domain("shop", (COUNTRIES, LINES), simulator=lambda _: pytest.fail("nothing is simulated"))
    Spoiled(services, COUNTRIES).create().insert(code="DE")
    Spoiled(services, LINES).create().insert(id=1)
    yesterday = NOW.date() - ONE_DAY
    keys = {name: asset_key("shop", "lake", name) for name in ("countries", "lines")}
    specs = [dg.AssetSpec(key, deps=[asset_key("shop", "postgres", name)]) for name, key in keys.items()]
    defs = dg.Definitions(
        assets=[lake_asset(domain, table, daily(yesterday)) for table in domain.tables],
        resources={"source": services.source, "store": services.store},
        sensors=[
            change_sensor(domain, yesterday, services.source, services.store),
            freshness_sensor(domain, allowed_ages(domain, specs), yesterday, services.source),
        ],
    )
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(keys["lines"], partition=str(yesterday)))

        def tick(name: str) -> dg.SensorResult:
            context = dg.build_sensor_context(instance, repository_def=defs.get_repository_def())
            return defs.resolve_sensor_def(f"shop_{name}").evaluate_tick(context)  # type: ignore[return-value]

        freshness = tick("freshness")
        assert "shop/postgres/lines" in str(freshness.skip_message)  # type: ignore[attr-defined]
        [asked] = tick("changes").run_requests or []
        assert {key.path[-1] for key in asked.asset_selection or []} == {"countries", "lines"}


def test_a_simulator_plays_it_and_the_page_shows_its_rows(services: Services) -> None:
    class Simulator:
        def batches(self, table: str, first: dt.date, end: dt.date) -> Iterator[pa.RecordBatch]:
            yield pa.record_batch({"code": ["DE", "FR"], "name": [str(first), "France"]})

    days = [NOW.date(), NOW.date() + ONE_DAY]
    with services.source.transaction() as connection:
        for day in days:
            play(connection, Simulator(), COUNTRIES, services.source.schema_name, day, day + ONE_DAY)  # type: ignore[arg-type]
    world = World.__new__(World)
    world.services, world.table = services, Spoiled(services, COUNTRIES)
    assert world.in_source() == [("DE", str(days[1])), ("FR", "France")]
    with services.source.snapshot() as reader:
        window = Window.everything(FIRST, NOW)
        shown = source_preview(reader, COUNTRIES, window)
    assert "France" in str(shown)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 12))])
def test_whatever_happens_in_any_order_staging_comes_to_equal_the_source(services: Services, seed: int) -> None:
    chance = random.Random(seed)
    world = World(services)

    def code() -> str:
        return chance.choice("ABCDEFGH")

    def change() -> None:
        world.table.run(
            chance.choice(
                [
                    f"insert into {{t}} values ('{code()}', '{chance.random()}') on conflict do nothing",
                    f"update {{t}} set name = '{chance.random()}' where code = '{code()}'",
                    f"delete from {{t}} where code = '{code()}'",
                    f"update {{t}} set code = lower(code) where code = '{code()}' "
                    f"and not exists (select from {{t}} as o where o.code = lower({{t}}.code))",
                    "create table {t}_new as table {t}; truncate {t}; insert into {t} select * from {t}_new; "
                    "drop table {t}_new".replace("{t}_new", "pg_temp.again"),
                    "delete from {t}",
                ]
            )
        )

    def some_days() -> Window:
        first = chance.choice([world.start, world.start + ONE_DAY, world.everything.last])
        return world.everything.part(first, first + ONE_DAY * chance.randint(1, 2))

    acts = [change] * 4 + [
        lambda: world.stage(world.look()),
        lambda: world.look(),
        lambda: world.table.extract(some_days()),
        lambda: world.table.stage(some_days()),
    ]
    world.settle()
    for _ in range(25):
        chance.choice(acts)()
    world.settle()
    assert world.staged() == world.in_source()
