"""What the change sensor sees of a source, on real services, and what it asks for."""

import datetime as dt
import itertools
import time
from collections.abc import Iterator, Set
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.partitions import ONE_DAY, TAKES_TAGS, Window, daily
from shopstream_assets.platform.declare.tables import (
    BIGINT,
    TEXT,
    TIMESTAMP,
    UUID,
    Column,
    SourceTable,
    postgres_ddl,
    quoted,
)
from shopstream_assets.platform.lake.asset import lake_asset
from shopstream_assets.platform.lake.extraction import extract_to_lake
from shopstream_assets.platform.lake.manifest import manifest_key, read_manifests
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.refresh.asked import ASK_AGAIN_AFTER
from shopstream_assets.platform.refresh.change_sensor import (
    AUDIT_EVERY,
    DUTY,
    LOOKBACK_DAYS,
    Cursor,
    change_sensor,
    look_for_changes,
)
from shopstream_assets.platform.refresh.changes import (
    Days,
    Found,
    TableMemory,
    differing_days,
    missing_days,
)
from shopstream_assets.platform.refresh.freshness import freshness_checks
from shopstream_assets.platform.refresh.run_requests import run_request, taken_days
from shopstream_assets.platform.sources.postgres import kept_connection
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.sources.postgres.session import Limits
from shopstream_assets.platform.staging.asset import staging_asset
from shopstream_assets.platform.staging.warehouse import WarehouseResource

NOW = dt.datetime.now(dt.UTC)
TODAY = NOW.date()


ID = Column("id", BIGINT, "Key.")


def table(name: str, key: Column = ID) -> SourceTable:
    return SourceTable(
        name=name,
        grain=f"One row per row of {name}.",
        description=name,
        owner="team:sales",
        primary_key=(key.name,),
        columns=(key, Column("note", TEXT, "Note.", nullable=True), Column("updated_at", TIMESTAMP, "Cursor.")),
    )


ORDERS, USERS = table("orders"), table("users", Column("uid", UUID, "Key."))
TABLES = (ORDERS, USERS)
USER = "00000000-0000-0000-0000-00000000000"


ONE_SECOND = dt.timedelta(seconds=1)


def day(back: int) -> dt.date:
    return TODAY - ONE_DAY * back


def window(days: int) -> Window:
    return Window(day(days - 1), TODAY + ONE_DAY, open_ended=True)


class Shop:
    """A source with two tables, its lake, and what the sensor remembers."""

    def __init__(self, services: Services) -> None:
        self.source, self.store = services.source, services.store
        self.cursor, self.now = Cursor(), NOW
        self.execute(*(sql for table in TABLES for sql in postgres_ddl(table, self.source.schema_name)))

    def execute(self, *statements: str) -> None:
        with self.source.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(f"set local search_path to {quoted(self.source.schema_name)}")
            for statement in statements:
                cursor.execute(statement)

    def order(self, key: int, back: int, time_of_day: str = "00:00") -> None:
        self.execute(
            f"insert into orders values ({key}, '', '{day(back)} {time_of_day}+00') "
            "on conflict (id) do update set updated_at = excluded.updated_at"
        )

    def user(self, key: int, back: int) -> None:
        self.execute(f"insert into users values ('{USER}{key}', '', '{day(back)} 00:00+00')")

    def tick(self, after: dt.timedelta, taken: Set[dt.date] = frozenset(), everything: Window | None = None) -> Days:
        """What the sensor asks for, so long after NOW; its cursor goes through its text, as Dagster keeps it."""
        found = look_for_changes(
            SHOP, self.source, self.store, self.cursor, everything or window(4), NOW + after, lambda: taken
        )
        self.cursor = Cursor.model_validate_json(self.cursor.model_dump_json(exclude_defaults=True))
        return found.changes

    def look(
        self,
        days: int = 4,
        taken: set[dt.date] | None = None,
        tables: tuple[SourceTable, ...] = TABLES,
        *,
        audit: bool = False,
    ) -> Days:
        """What a look asks for; the cursor goes through its text, as Dagster keeps it."""
        self.cursor = Cursor.model_validate_json(self.cursor.model_dump_json(exclude_defaults=True))
        found = Found()
        with self.source.looking() as reader:
            for table in tables:
                with found.faults_of(reader, table):
                    differing = differing_days(
                        reader,
                        self.store,
                        table,
                        self.memory(table),
                        window(days),
                        self.now,
                        lambda: taken or set(),
                        left_too=audit,
                    )
                    found.add(table, differing)
        self.faults = found.faults
        return found.changes

    def memory(self, table: SourceTable) -> TableMemory:
        return self.cursor.tables.setdefault(table.name, TableMemory())

    def probe(self, table: SourceTable) -> str:
        with self.source.looking() as reader:
            return reader.probe(table)

    def refresh(self, changed: Days) -> None:
        for date, names in changed.items():
            for table in TABLES:
                if table.name in names:
                    extract_to_lake(
                        self.source, self.store, table, Window.seen_at(date, date + ONE_DAY, dt.datetime.now(dt.UTC))
                    )


@pytest.fixture
def shop(services: Services) -> Shop:
    """A shop whose last four days are in the lake, and known to be."""
    shop = Shop(services)
    for back in range(4):
        shop.order(back, back)
    shop.user(1, 2)
    shop.refresh(shop.look())
    shop.now += ASK_AGAIN_AFTER
    assert shop.look() == {}
    return shop


def test_at_first_every_day_is_asked_for_and_empty_ones_too_today_among_them(services: Services) -> None:
    shop = Shop(services)
    shop.order(1, 0)
    assert shop.look() == {day(back): {"orders", "users"} for back in range(4)}


def test_nothing_is_asked_for_while_nothing_changes(shop: Shop) -> None:
    for _ in range(3):
        shop.now += ASK_AGAIN_AFTER
        assert shop.look() == {}
    shop.cursor = Cursor()
    assert shop.look() == {}, "a cursor that was lost costs a comparison, not a refresh"


def test_new_late_and_back_dated_rows_ask_for_exactly_their_days_and_tables(shop: Shop) -> None:
    shop.order(10, 0, "00:01")
    shop.order(11, 2, "00:00")
    shop.user(2, 3)
    changed = shop.look()
    assert changed == {day(0): {"orders"}, day(2): {"orders"}, day(3): {"users"}}
    shop.refresh(changed)
    shop.now += ASK_AGAIN_AFTER
    assert shop.look() == {}


def test_the_day_that_a_changed_row_left_waits_for_the_audit(shop: Shop) -> None:
    shop.order(2, 0, "00:01")
    assert shop.look() == {day(0): {"orders"}}
    shop.refresh({day(0): {"orders"}})
    assert shop.look() == {}
    shop.memory(ORDERS).settled = {}
    assert shop.look(audit=True) == {day(2): {"orders"}}
    shop.refresh({day(2): {"orders"}})
    shop.now += ASK_AGAIN_AFTER
    assert shop.look(audit=True) == {}
    shop.execute(f"update users set updated_at = '{day(1)} 00:00+00'")
    assert shop.look() == {day(1): {"users"}}


def test_a_row_that_takes_the_place_of_one_that_left_is_seen(shop: Shop) -> None:
    shop.execute("delete from orders where id = 2", f"delete from users where uid = '{USER}1'")
    assert shop.look() == {}
    shop.order(12, 2)
    shop.user(3, 2)
    assert shop.look() == {day(2): {"orders", "users"}}


def test_a_day_that_was_asked_for_is_asked_for_again_only_when_it_is_overdue_and_ever_later(shop: Shop) -> None:
    shop.order(10, 0, "00:01")
    asked = {day(0): {"orders"}}
    assert shop.look() == asked
    for wait in (1, 2, 4):
        assert shop.look() == {}
        shop.now += ASK_AGAIN_AFTER * wait
        assert shop.look() == asked
    shop.order(11, 0, "00:02")
    assert shop.look() == asked, "a new change does not wait"


def test_a_day_that_a_run_is_on_waits(shop: Shop) -> None:
    shop.order(10, 0, "00:01")
    shop.order(11, 1, "00:01")
    assert shop.look(taken={day(0)}) == {day(1): {"orders"}}
    assert shop.look() == {day(0): {"orders"}}


@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_manifest_that_is_lost_or_damaged_is_written_again(shop: Shop, content: bytes | None) -> None:
    key = manifest_key(ORDERS, day(2))
    if content is None:
        shop.store.client.delete_object(Bucket=shop.store.bucket, Key=key)
    else:
        shop.store.put(key, content, "application/json")
    shop.memory(ORDERS).settled = {}
    changed = shop.look()
    assert changed == {day(2): {"orders"}}
    shop.refresh(changed)
    assert read_manifests(shop.store, ORDERS, [day(2)])[day(2)]


def test_an_object_that_is_lost_does_not_stop_the_comparison(shop: Shop) -> None:
    shop.order(20, 2, "00:00")
    shop.refresh(shop.look())
    manifest = read_manifests(shop.store, ORDERS, [day(2)])[day(2)]
    assert manifest
    shop.store.client.delete_object(Bucket=shop.store.bucket, Key=manifest.objects[0].key)
    shop.execute("delete from orders where id = 20")
    assert shop.look() == {day(2): {"orders"}}


def test_days_of_any_age_that_the_lake_lacks_are_found_by_one_listing(shop: Shop) -> None:
    assert missing_days(shop.store, ORDERS, window(6)) == {day(4), day(5)}
    assert missing_days(shop.store, ORDERS, Window(day(2), day(0))) == set()


def test_a_table_that_the_source_does_not_have_yet_leaves_the_others_alone(shop: Shop) -> None:
    shop.order(10, 0, "00:01")
    assert shop.look(tables=(table("returns"), *TABLES)) == {day(0): {"orders"}}
    assert "has no such table" in shop.faults.pop("returns")
    assert shop.faults == {}


def test_an_update_that_leaves_the_cursor_where_it_was_is_seen(shop: Shop) -> None:
    shop.execute("update orders set note = 'corrected' where id = 1")
    assert shop.look() == {day(1): {"orders"}}


def test_rows_that_were_loaded_again_with_the_same_keys_and_cursors_are_seen(shop: Shop) -> None:
    shop.execute(
        "create table copy as select id, 'other' as note, updated_at from orders",
        "truncate orders",
        "insert into orders select * from copy",
    )
    assert shop.look() == {day(back): {"orders"} for back in range(4)}


def test_pairs_of_rows_that_take_each_others_place_do_not_cancel(shop: Shop) -> None:
    twice = f"insert into orders values (50, '', '{day(1)} 01:00+00'), (51, '', '{day(1)} 01:00+00')"
    shop.execute("alter table orders drop constraint orders_pkey", twice, twice)
    shop.refresh(shop.look())
    shop.now += ASK_AGAIN_AFTER
    assert shop.look() == {}
    shop.execute("update orders set id = id + 10 where id in (50, 51)")
    assert shop.look() == {day(1): {"orders"}}


def test_a_row_from_the_future_travels_today_and_stays_asked_for_on_no_other_day(shop: Shop) -> None:
    shop.order(30, -400, "00:00")
    assert shop.look() == {day(0): {"orders"}}
    shop.refresh({day(0): {"orders"}})
    shop.now += ASK_AGAIN_AFTER
    assert shop.look() == {}
    manifest = read_manifests(shop.store, ORDERS, [day(0)])[day(0)]
    assert manifest
    assert manifest.source_newest
    assert manifest.source_newest.date() == day(0), "what is dated in the future is no news"


def test_a_table_that_nothing_happened_to_has_the_same_probe_and_any_change_another(shop: Shop) -> None:
    before = shop.probe(ORDERS)
    assert shop.probe(ORDERS) == before
    shop.order(40, 0, "00:01")
    assert shop.probe(ORDERS) != before


@pytest.mark.long
def test_the_cursor_stays_small(shop: Shop) -> None:
    assert shop.look(days=31) != {}
    shop.refresh(shop.look(days=31))
    shop.now += ASK_AGAIN_AFTER
    shop.refresh(shop.look(days=31))
    shop.now += 2 * ASK_AGAIN_AFTER
    assert shop.look(days=31) == {}
    assert len(shop.cursor.model_dump_json(exclude_defaults=True)) < 400 * len(TABLES)
    for table in TABLES:
        shop.memory(table).forget_outside(day(2), day(0))
    for table in TABLES:
        assert {*shop.memory(table).settled, *shop.memory(table).asked} <= {day(1), day(2)}


def test_a_connection_that_died_between_two_ticks_is_replaced(shop: Shop) -> None:
    shop.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle' and pid <> pg_backend_pid()"
    )
    assert shop.look() == {}


# What is asked for.

SHOP = Domain(name="shop", tables=TABLES, simulator=lambda _: pytest.fail("no simulator"))
SOMEWHERE = PostgresResource(dsn="postgresql://nobody:secret@127.0.0.1:1/shop")
WAREHOUSE = WarehouseResource(account="none", user="none", database="NONE")


@pytest.fixture(scope="module")
def graph() -> dg.Definitions:
    partitions = daily(day(1100))

    @dg.asset(key=["shop", "marts", "mart"], deps=[asset_key("shop", "staging", t.name) for t in TABLES])
    def mart() -> None: ...

    keys = {asset_key("shop", "lake", t.name): dt.timedelta(hours=36) for t in TABLES}
    return dg.Definitions(
        assets=[
            *(lake_asset(SHOP, t, partitions) for t in TABLES),
            *(staging_asset(SHOP, t, partitions) for t in TABLES),
            mart,
        ],
        asset_checks=[freshness_checks("shop", keys, day(1100))],
        resources={"source": SOMEWHERE, "store": ObjectStoreResource(bucket="lake"), "warehouse": WAREHOUSE},
    )


def asked_for(graph: dg.Definitions, changed: Days) -> dg.RunRequest:
    keys = {date: {asset_key("shop", "lake", name) for name in names} for date, names in changed.items()}
    return run_request(graph.resolve_asset_graph(), keys, "1")


def names(request: dg.RunRequest) -> set[str]:
    assert request.asset_selection
    return {"/".join(key.path[1:]) for key in request.asset_selection}


def test_one_day_is_one_run_of_what_changed_and_all_that_follows_from_it(graph: dg.Definitions) -> None:
    request = asked_for(graph, {day(1): {"orders"}})
    assert request.partition_key == str(day(1))
    assert names(request) == {"lake/orders", "staging/orders", "marts/mart"}
    checks = {key.name for key in request.asset_check_keys or []}
    assert "objects_hold_the_source" in checks
    assert "newest_day_arrived" in checks


def test_a_thousand_days_in_a_row_are_one_run(graph: dg.Definitions) -> None:
    request = asked_for(graph, {day(back): {"orders", "users"} for back in range(1000)})
    assert request.partition_key is None
    assert request.tags["dagster/asset_partition_range_start"] == str(day(999))
    assert request.tags["dagster/asset_partition_range_end"] == str(TODAY)
    assert names(request) == {"lake/orders", "lake/users", "staging/orders", "staging/users", "marts/mart"}


def test_scattered_days_are_one_backfill_of_exactly_those_partitions(graph: dg.Definitions) -> None:
    request = asked_for(graph, {day(0): {"orders"}, day(5): {"users"}, day(6): {"users"}})
    subset = request.asset_graph_subset
    assert request.requires_backfill_daemon()
    assert subset
    found = {
        "/".join(key.path[1:]): set(partitions.get_partition_keys())
        for key, partitions in subset.partitions_subsets_by_asset_key.items()
    }
    users = {str(day(5)), str(day(6))}
    assert found == {
        "lake/orders": {str(TODAY)},
        "staging/orders": {str(TODAY)},
        "lake/users": users,
        "staging/users": users,
    }
    assert subset.non_partitioned_asset_keys == {dg.AssetKey(["shop", "marts", "mart"])}


def test_days_of_unfinished_runs_on_the_assets_are_taken(graph: dg.Definitions) -> None:
    lake = {asset_key("shop", "lake", "orders")}
    span = {
        "dagster/asset_partition_range_start": str(day(3)),
        "dagster/asset_partition_range_end": str(day(2)),
    }
    mart, takes = (
        {dg.AssetKey(["shop", "marts", "mart"])},
        dict(zip(TAKES_TAGS, map(str, (day(5), day(4))), strict=True)),
    )
    job = graph.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        for selection, tags, status in (
            (lake, span, dg.DagsterRunStatus.STARTED),
            (lake, {"dagster/partition": str(day(1))}, dg.DagsterRunStatus.STARTING),
            (lake, {"dagster/partition": str(day(0))}, dg.DagsterRunStatus.FAILURE),
            (mart, {"dagster/partition": str(day(0))}, dg.DagsterRunStatus.STARTED),
            (mart, {"dagster/partition": str(day(0)), **takes}, dg.DagsterRunStatus.STARTED),
        ):
            instance.create_run_for_job(
                job.get_subset(asset_selection=selection),
                status=status,
                tags=tags,
                asset_selection=frozenset(selection),
            )
        assert taken_days(instance, lake, window(6)) == {day(back) for back in (1, 2, 3, 4, 5)}
        assert taken_days(instance, {asset_key("other", "lake", "orders")}, window(6)) == set()


@pytest.mark.parametrize("table", ["orders", "users"])
def test_days_that_a_backfill_has_yet_to_launch_are_taken(graph: dg.Definitions, table: str) -> None:
    assets, orders = graph.resolve_asset_graph(), asset_key("shop", "lake", "orders")
    request = run_request(assets, {day(1): {orders}, day(3): {orders}}, "1")
    assert request.asset_graph_subset
    with dg.DagsterInstance.ephemeral() as instance:
        backfill = PartitionBackfill.from_asset_graph_subset(
            backfill_id="scattered",
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=instance,
            asset_graph_subset=request.asset_graph_subset,
            title=None,
            description=None,
            run_config=None,
        )
        instance.add_backfill(backfill)
        days = taken_days(instance, {asset_key("shop", "lake", table)}, window(5))
        assert days == ({day(1), day(3)} if table == "orders" else set())

        instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
        assert taken_days(instance, {orders}, window(5)) == set()


# The sensor itself.


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def tick(
    graph: dg.Definitions,
    instance: dg.DagsterInstance,
    services: Services,
    cursor: str | None = None,
    source: PostgresResource | None = None,
) -> dg.SensorResult | dg.SkipReason:
    sensor = change_sensor(SHOP, day(3), source or services.source, services.store)
    result = sensor(dg.build_sensor_context(instance=instance, cursor=cursor, definitions=graph))
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def test_the_sensor_asks_once_and_remembers_over_a_restart(
    graph: dg.Definitions, instance: dg.DagsterInstance, services: Services
) -> None:
    shop = Shop(services)
    shop.order(1, 0)
    first = tick(graph, instance, services)
    assert isinstance(first, dg.SensorResult)
    assert first.run_requests
    assert first.run_requests[0].tags["shop/changed_tables"] == "orders,users"
    second = tick(graph, instance, services, first.cursor)
    assert isinstance(second, dg.SensorResult)
    assert not second.run_requests
    assert second.skip_reason


def test_dagster_takes_a_run_and_a_backfill_from_the_sensor(
    graph: dg.Definitions, instance: dg.DagsterInstance, services: Services, shop: Shop
) -> None:
    sensor = change_sensor(SHOP, day(3), services.source, services.store)
    for backs, is_backfill in (((0, 1), False), ((0, 2), True)):
        shop.refresh({day(back): {"orders", "users"} for back in range(4)})
        for back in backs:
            shop.order(100 + 10 * is_backfill + back, back, "01:00" if is_backfill else "00:30")
        context = dg.build_sensor_context(instance=instance, definitions=graph)
        (request,) = sensor.evaluate_tick(context).run_requests or []
        assert request.requires_backfill_daemon() == is_backfill


def test_an_old_day_that_is_missing_is_asked_for_by_the_audit_and_again_later_and_later(
    services: Services, shop: Shop
) -> None:
    everything = window(LOOKBACK_DAYS + 3)
    hour = dt.timedelta(hours=1)
    asked = []
    for hours in range(12):
        if day(LOOKBACK_DAYS + 1) in shop.tick(hour * hours, everything=everything):
            asked.append(hours)

    assert asked == [0, 1, 2, 3, 5, 8]


def test_what_waits_for_a_run_is_asked_for_at_the_first_look_after_it(services: Services, shop: Shop) -> None:
    shop.refresh({day(back): {"orders", "users"} for back in range(4)})
    assert shop.tick(0 * ONE_SECOND) == {}
    shop.order(1, 0, "00:00:00.001")
    # A run that was asked for by another table: nothing of this one was.
    assert [shop.tick(seconds * ONE_SECOND, {day(0)}) for seconds in (5, 10)] == [{}, {}]
    # Nothing happens to the table in between, so that its counters say nothing new.
    assert shop.tick(15 * ONE_SECOND) == {day(0): {"orders"}}


def test_a_table_is_not_looked_at_while_what_it_has_waits_for_a_run(
    services: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def look(*arguments: Any, **options: Any) -> set[dt.date]:
        looks.append(arguments[2].name)
        return differing_days(*arguments, **options)

    monkeypatch.setattr("shopstream_assets.platform.refresh.change_sensor.differing_days", look)

    shop.refresh({day(back): {"orders", "users"} for back in range(4)})
    shop.tick(0 * ONE_SECOND)
    shop.order(1, 0, "00:00:00.001")
    looks.clear()
    for seconds in range(5, 55, 5):
        assert shop.tick(seconds * ONE_SECOND, {day(0)}) == {}
    assert looks == ["orders"]
    assert shop.tick(55 * ONE_SECOND) == {day(0): {"orders"}}


def test_rows_that_left_a_day_during_a_run_on_it_are_asked_for_after_the_run_and_not_at_the_next_audit(
    services: Services, shop: Shop
) -> None:
    shop.order(1, 1, "02:00")
    shop.refresh({day(back): {"orders", "users"} for back in range(4)})
    shop.tick(0 * ONE_SECOND)
    shop.execute("delete from orders where id = 1")
    # The audit sees it, while a run of another table is on that day.
    assert shop.tick(AUDIT_EVERY, {day(1)}) == {}
    assert shop.tick(AUDIT_EVERY + 61 * ONE_SECOND, {day(1)}) == {}
    assert shop.tick(AUDIT_EVERY + 66 * ONE_SECOND) == {day(1): {"orders"}}


def test_what_is_committed_to_several_tables_between_the_looks_at_them_is_asked_for_at_once(
    services: Services, shop: Shop
) -> None:
    shop.refresh({day(back): {"orders", "users"} for back in range(4)})
    look_for_changes(SHOP, shop.source, shop.store, shop.cursor, window(4), NOW, set)
    shop.user(9, 0)
    looks: list[int] = []

    def taken() -> set[dt.date]:
        # The look at users, after that at orders.
        if not looks:
            shop.order(1, 0, "00:00:00.001")
        looks.append(1)
        return set()

    found = look_for_changes(SHOP, shop.source, shop.store, shop.cursor, window(4), NOW + 5 * ONE_SECOND, taken)
    assert found.changes == {day(0): {"orders", "users"}}


def test_a_table_rests_a_hundred_times_as_long_as_looking_at_it_took(
    services: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every look takes two seconds.
    clock = SimpleNamespace(monotonic=itertools.count(step=2).__next__)
    monkeypatch.setattr("shopstream_assets.platform.refresh.change_sensor.time", clock)

    def asked(seconds: int) -> set[str]:
        return {table for tables in shop.tick(seconds * ONE_SECOND).values() for table in tables}

    shop.refresh({day(back): {"orders", "users"} for back in range(4)})
    assert asked(0) == set()
    # The newest of all: what the server counts, it may tell a moment later.
    shop.order(1, 0, "00:00:00.001")
    assert [asked(seconds) for seconds in (60, 120)] == [set()] * 2
    assert asked(180) == {"orders"}
    # That was early, which counts: the table has used its share up to 400 seconds.
    shop.order(2, 0, "00:00:00.002")
    assert [asked(seconds) for seconds in (240, 300, 360)] == [set()] * 3
    assert asked(420) == {"orders"}


def test_one_look_that_takes_long_does_not_make_the_next_change_wait(
    services: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(seconds: int) -> set[str]:
        return {table for tables in shop.tick(seconds * ONE_SECOND).values() for table in tables}

    shop.refresh({day(back): {"orders", "users"} for back in range(4)})
    assert asked(0) == set()
    shop.order(1, 0, "00:00:00.001")
    # As where a run keeps the machine busy: a quarter of a second for this look, hundredths for the next.
    module = "shopstream_assets.platform.refresh.change_sensor.time"
    monkeypatch.setattr(module, SimpleNamespace(monotonic=itertools.count(step=0.25).__next__))
    assert asked(5) == {"orders"}
    monkeypatch.setattr(module, SimpleNamespace(monotonic=itertools.count(step=0.01).__next__))
    shop.refresh({day(0): {"orders"}})
    assert asked(10) == set()
    shop.order(2, 0, "00:00:00.002")
    assert asked(15) == {"orders"}


def test_a_clock_that_was_set_back_lets_nothing_wait(
    services: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = dt.timedelta(days=2)
    # An hour for each look, after which a table rests for four days.
    clock = SimpleNamespace(monotonic=itertools.count(step=3600).__next__)
    with monkeypatch.context() as slow:
        slow.setattr("shopstream_assets.platform.refresh.change_sensor.time", clock)
        slow.setattr("shopstream_assets.platform.refresh.change_sensor.TICK_SECONDS", float("inf"))
        shop.tick(ahead)
        shop.order(1, 1, "02:00")
        assert "orders" in shop.tick(ahead + AUDIT_EVERY)[day(1)]
    # What was asked for is asked for again, and what has left, which only the hourly audit sees, is asked for.
    shop.execute("delete from orders where id = 3")
    found = shop.tick(0 * ONE_SECOND)
    assert "orders" in found[day(1)] & found[day(3)]
    shop.refresh(found)
    shop.order(2, 0, "00:00:00.001")
    assert shop.tick(5 * ONE_SECOND) == {day(0): {"orders"}}


def test_a_source_that_is_down_gives_a_reason_to_skip_and_forgets_nothing(
    graph: dg.Definitions, instance: dg.DagsterInstance, services: Services
) -> None:
    skipped = tick(graph, instance, services, source=SOMEWHERE)
    assert isinstance(skipped, dg.SkipReason)
    assert "Postgres did not answer" in (skipped.skip_message or "")
    assert "secret" not in (skipped.skip_message or "")


def test_a_quiet_tick_costs_milliseconds(instance: dg.DagsterInstance, services: Services, shop: Shop) -> None:
    sensor = change_sensor(SHOP, day(3), services.source, services.store)
    cursor, costs = Cursor(audited_at=NOW, looked_back_at=NOW).model_dump_json(), []
    for _ in range(6):
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        before = time.process_time()
        result = sensor(context)
        costs.append(time.process_time() - before)
        assert isinstance(result, dg.SensorResult)
        assert not result.run_requests
        cursor = result.cursor or ""
    assert sorted(costs)[2] < 0.03, f"CPU seconds of the ticks: {costs}"


def test_fingerprints_use_the_index_of_the_cursor(shop: Shop) -> None:
    shop.execute("insert into orders select n, '', '2020-01-01'::timestamptz from generate_series(1000, 60000) as n")
    shop.execute("analyze orders")
    # Not over ADBC, which wraps every statement in a COPY.
    with psycopg.connect(shop.source.dsn) as connection:
        plan = connection.execute(
            f"explain select count(*) from {quoted(shop.source.schema_name)}.orders "  # type: ignore[arg-type]
            f"where updated_at >= timestamptz '{day(2)} 00:00:00+00' and updated_at < timestamptz '{TODAY} 00:00:00+00'"
        ).fetchall()
    assert "orders_updated_at_idx" in str(plan)


def test_a_table_that_cannot_be_read_is_told_with_a_next_step_and_leaves_the_others_alone(shop: Shop) -> None:
    shop.execute("alter table orders rename column updated_at to changed_at")
    shop.user(5, 0)
    assert shop.look() == {day(0): {"users"}}
    assert "Next: " in shop.faults["orders"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Looks wait for half a second at most, and what took so long is long."""
    limits = Limits(statement=dt.timedelta(seconds=0.5), lock=dt.timedelta(seconds=5))
    monkeypatch.setattr(kept_connection, "LOOKING", limits)
    monkeypatch.setattr("shopstream_assets.platform.refresh.change_sensor.LONG_SECONDS", 0.2)
    kept_connection._idle.clear()
    yield
    kept_connection._idle.clear()


@pytest.mark.usefixtures("impatient")
def test_a_table_that_is_too_slow_to_be_looked_at_leaves_the_others_alone_and_is_left_alone_for_a_while(
    shop: Shop,
) -> None:
    # Its newest cursor is there at once; what its days look like is not.
    shop.execute(
        "alter table orders rename to base",
        "create view orders as select * from base",
        "insert into base select n, '', now() from generate_series(100, 200000) as n",
        "create or replace view orders as select id, note || repeat(md5(note), 300) as note, updated_at from base",
    )
    looked = Cursor(audited_at=shop.now, looked_back_at=shop.now)
    domain = Domain("shop", TABLES, simulator=lambda _: pytest.fail("nothing is simulated"))

    def look(now: dt.datetime) -> Found:
        everything = Window.everything(day(3), now)
        return look_for_changes(domain, shop.source, shop.store, looked, everything, now, set)

    shop.user(7, 0)
    found = look(shop.now)
    assert found.changes.get(day(0)) == {"users"}
    assert "statement_timeout" in found.faults["orders"]
    # It is told all the time, and not met again: not even an audit looks at it, which is due after that.
    met = looked.resting["orders"]
    rest = met.until - shop.now
    assert rest > dt.timedelta(seconds=0.5 * DUTY)
    looked.audited_at = None
    for after in (rest / 3, rest / 2):
        assert look(shop.now + after).faults == found.faults
        assert (looked.resting, looked.left_out) == ({"orders": met}, {"orders": True})
    shop.execute("drop view orders", "alter table base rename to orders")
    shop.execute("delete from orders where id = 2", "delete from orders where id >= 100")
    assert look(shop.now + rest).changes == {day(2): {"orders"}}
    assert (looked.resting, looked.left_out) == ({}, {})


def test_tables_that_a_tick_has_no_time_for_are_looked_at_by_the_next_as_long_as_this_one_would_have(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Cursor()
    domain = Domain("shop", TABLES, simulator=lambda _: pytest.fail("nothing is simulated"))
    # Only an audit sees it.
    shop.execute("delete from orders where id = 2")

    def look(now: dt.datetime) -> Days:
        everything = Window.everything(day(3), now)
        return look_for_changes(domain, shop.source, shop.store, looked, everything, now, set).changes

    with monkeypatch.context() as patch:
        patch.setattr("shopstream_assets.platform.refresh.change_sensor.TICK_SECONDS", -1)
        assert look(shop.now) == {}
    assert looked.left_out == {"orders": True, "users": True}
    assert look(shop.now + dt.timedelta(seconds=5)) == {day(2): {"orders"}}
    assert looked.left_out == {}
