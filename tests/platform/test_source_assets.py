"""Postgres to lake to staging, on real services."""

import datetime as dt
from decimal import Decimal

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.tables import (
    BIGINT,
    MONEY,
    TEXT,
    TIMESTAMP,
    Column,
    SourceTable,
    postgres_ddl,
    quoted,
)
from shopstream_assets.platform.lake.extraction import extract_to_lake
from shopstream_assets.platform.lake.manifest import manifest_key, published, read_manifests
from shopstream_assets.platform.staging.change_log import staging_relation
from shopstream_assets.platform.staging.loading import load_from_lake

PAYMENTS = SourceTable(
    name="payments",
    grain="One row per payment.",
    description="Payments.",
    owner="team:sales",
    columns=(
        Column("id", BIGINT, "Key."),
        Column("amount", MONEY, "Amount."),
        Column("note", TEXT, "Note.", nullable=True),
        Column("updated_at", TIMESTAMP, "Cursor."),
    ),
)
MARCH = Window(dt.date(2026, 3, 1), dt.date(2026, 3, 4))


def insert(services: Services, *rows: str) -> None:
    with services.source.transaction() as connection, connection.cursor() as cursor:
        for statement in postgres_ddl(PAYMENTS, services.source.schema_name):
            cursor.execute(statement)
        for row in rows:
            cursor.execute(f"insert into {quoted(services.source.schema_name)}.payments values ({row})")


def staged(services: Services) -> list[tuple[object, ...]]:
    relation = staging_relation(services.warehouse.database, PAYMENTS)
    with services.warehouse.connection("REPORTING_WH") as session, session.cursor() as cursor:
        cursor.execute(f"select id, amount, note, updated_at, _partition_date, _source_row from {relation} order by id")
        return [tuple(row) for row in cursor.fetchall()]


def test_rows_reach_staging_exactly_in_the_partition_of_their_day(services: Services) -> None:
    insert(
        services,
        "1, 0.10, 'midnight', '2026-03-01 00:00:00+00'",
        "2, -9999999999.99, null, '2026-03-01 23:59:59.999999+00'",
        "3, 1234.56, 'two days later', '2026-03-03 12:00:00+02'",
        "4, 1.00, 'outside', '2026-03-04 00:00:00+00'",
    )
    _, manifests = extract_to_lake(services.source, services.store, PAYMENTS, MARCH)
    assert [manifest.rows for manifest in manifests.values()] == [2, 0, 1]
    load_from_lake(services.store, services.warehouse, PAYMENTS, MARCH)
    assert staged(services) == [
        (1, Decimal("0.10"), "midnight", dt.datetime(2026, 3, 1), dt.date(2026, 3, 1), 1),
        (
            2,
            Decimal("-9999999999.99"),
            None,
            dt.datetime(2026, 3, 1, 23, 59, 59, 999999),
            dt.date(2026, 3, 1),
            2,
        ),
        (3, Decimal("1234.56"), "two days later", dt.datetime(2026, 3, 3, 10), dt.date(2026, 3, 3), 1),
    ]


def test_running_again_changes_nothing_and_writes_no_new_object(services: Services) -> None:
    insert(services, "1, 1.00, 'a', '2026-03-01 10:00+00'", "2, 2.00, 'b', '2026-03-02 10:00+00'")
    for _ in range(2):
        extract_to_lake(services.source, services.store, PAYMENTS, MARCH)
        load_from_lake(services.store, services.warehouse, PAYMENTS, MARCH)
        objects = [key for key, _, _ in services.store.listed("raw/")]
        assert len(objects) == 2 + 3 + len(["_head.json"])
        assert [row[0] for row in staged(services)] == [1, 2]


def test_a_range_and_its_days_in_any_order_give_the_same_staging(services: Services) -> None:
    insert(services, *(f"{n}, {n}.00, null, '2026-03-0{1 + n % 3} 10:00+00'" for n in range(1, 8)))
    extract_to_lake(services.source, services.store, PAYMENTS, MARCH)
    load_from_lake(services.store, services.warehouse, PAYMENTS, MARCH)
    whole = staged(services)
    for day in reversed(list(MARCH.days)):
        alone = Window(day, day + dt.timedelta(days=1))
        extract_to_lake(services.source, services.store, PAYMENTS, alone)
        load_from_lake(services.store, services.warehouse, PAYMENTS, alone)
    assert staged(services) == whole


def test_a_changed_row_is_in_the_partition_of_its_change_too(services: Services) -> None:
    insert(services, "1, 1.00, 'new', '2026-03-01 10:00+00'")
    extract_to_lake(services.source, services.store, PAYMENTS, MARCH)
    load_from_lake(services.store, services.warehouse, PAYMENTS, MARCH)
    with services.source.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            f"update {quoted(services.source.schema_name)}.payments set note = 'changed', "
            "updated_at = '2026-03-02 10:00+00'"
        )
    day = Window(dt.date(2026, 3, 2), dt.date(2026, 3, 3))
    extract_to_lake(services.source, services.store, PAYMENTS, day)
    load_from_lake(services.store, services.warehouse, PAYMENTS, day)
    assert [(row[2], row[4]) for row in sorted(staged(services), key=str)] == [
        ("changed", dt.date(2026, 3, 2)),
        ("new", dt.date(2026, 3, 1)),
    ]


def test_what_was_published_or_lost_since_a_load_is_read_for_its_check_and_nothing_else(services: Services) -> None:
    insert(services, *(f"{n}, {n}.00, null, '2026-03-0{n} 10:00+00'" for n in (1, 2, 3)))
    extract_to_lake(services.source, services.store, PAYMENTS, MARCH)
    loaded = load_from_lake(services.store, services.warehouse, PAYMENTS, MARCH)
    first, second, third = MARCH.days
    insert_again = f"insert into {quoted(services.source.schema_name)}.payments values "
    with services.source.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(f"{insert_again} (4, 4.00, null, '2026-03-02 10:00+00')")
    extract_to_lake(services.source, services.store, PAYMENTS, Window.day(second))
    services.store.client.delete_object(Bucket=services.store.bucket, Key=manifest_key(PAYMENTS, third))
    current = loaded.current(services.store, PAYMENTS, published(services.store, PAYMENTS, MARCH))
    assert current[first] is loaded.manifests[first]
    assert current[second] == read_manifests(services.store, PAYMENTS, [second])[second] != loaded.manifests[second]
    assert current[third] is None


def test_an_empty_day_is_published_as_empty(services: Services) -> None:
    insert(services)
    extract_to_lake(services.source, services.store, PAYMENTS, MARCH)
    manifests = read_manifests(services.store, PAYMENTS, MARCH.days)
    assert [manifest.rows if manifest else None for manifest in manifests.values()] == [0, 0, 0]
    load_from_lake(services.store, services.warehouse, PAYMENTS, MARCH)
    assert staged(services) == []
