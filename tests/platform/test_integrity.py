"""Orphans and changed rows of append-only tables, over logs of real staging tables."""

from collections.abc import Iterator

import dagster as dg
import pytest
from snowflake.connector.cursor import SnowflakeCursor

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.settings import LOADING
from shopstream_assets.platform.declare.tables import BIGINT, BOOLEAN, TEXT, TIMESTAMP, Column, SourceTable
from shopstream_assets.platform.staging.change_log import staging_relation
from shopstream_assets.platform.staging.integrity import APPENDED, ORPHANS, integrity_checks

ORDERS = SourceTable(
    name="orders",
    grain="One row per order.",
    description="Orders.",
    owner="team:sales",
    columns=(Column("id", BIGINT, "Key."), Column("updated_at", TIMESTAMP, "Cursor.")),
)
EVENTS = SourceTable(
    name="events",
    grain="One row per event.",
    description="Events.",
    owner="team:growth",
    cursor="occurred_at",
    append_only=True,
    columns=(
        Column("id", BIGINT, "Key."),
        Column("order_id", BIGINT, "Order.", nullable=True, references="orders.id"),
        Column("note", TEXT, "Note.", nullable=True),
        Column("is_bot", BOOLEAN, "Bot.", nullable=True),
        Column("occurred_at", TIMESTAMP, "Cursor."),
    ),
)
DOMAIN = Domain("shop", (ORDERS, EVENTS), simulator=lambda _: pytest.fail("nothing is simulated"))


@pytest.fixture
def log(services: Services) -> Iterator[SnowflakeCursor]:
    with services.warehouse.connection(LOADING) as session, session.cursor() as cursor:
        for table in DOMAIN.tables:
            columns = ", ".join(f"{column.name} {column.type.snowflake}" for column in table.columns)
            cursor.execute(
                f"create table {staging_relation(services.warehouse.database, table)} "
                f"({columns}, _snapshot varchar, _deleted boolean, _quarantined boolean)"
            )
        yield cursor


def order(services: Services, log: SnowflakeCursor, number: int, snapshot: str | None = "a", **mark: bool) -> None:
    row = (number, None if mark else "2026-03-01", snapshot, mark.get("deleted"), mark.get("quarantined"))
    log.execute(
        f"insert into {staging_relation(services.warehouse.database, ORDERS)} "
        "(id, updated_at, _snapshot, _deleted, _quarantined) select %s, %s::timestamp_ntz, %s, %s, %s",
        row,
    )


def event(
    services: Services,
    log: SnowflakeCursor,
    number: int,
    snapshot: str | None = "a",
    order_id: int | None = None,
    note: str | None = None,
    **mark: bool,
) -> None:
    row = (
        number,
        order_id,
        note,
        None if mark else "2026-03-01",
        snapshot,
        mark.get("deleted"),
        mark.get("quarantined"),
    )
    log.execute(
        f"insert into {staging_relation(services.warehouse.database, EVENTS)} "
        "(id, order_id, note, is_bot, occurred_at, _snapshot, _deleted, _quarantined) "
        "select %s, %s, %s, false, %s::timestamp_ntz, %s, %s, %s",
        row,
    )


def result(services: Services, name: str) -> dg.AssetCheckEvaluation:
    """The real check, run by itself."""
    key = dg.AssetCheckKey(asset_key("shop", "staging", "events"), name)
    definitions = dg.Definitions(
        asset_checks=[integrity_checks(DOMAIN)],
        jobs=[dg.define_asset_job("look", dg.AssetSelection.checks(key))],
        resources={"warehouse": services.warehouse},
    )
    (found,) = definitions.resolve_job_def("look").execute_in_process().get_asset_check_evaluations()
    assert found.severity == dg.AssetCheckSeverity.WARN
    return found


def test_rows_whose_parent_does_not_exist_are_counted_and_named(services: Services, log: SnowflakeCursor) -> None:
    order(services, log, 1)
    event(services, log, 10, order_id=1)
    event(services, log, 11)
    assert result(services, ORPHANS).passed
    event(services, log, 12, order_id=7)
    event(services, log, 13, order_id=8)
    found = result(services, ORPHANS)
    assert not found.passed
    assert found.metadata["rows"].value == 2
    assert (found.description or "").startswith("2 rows (id 12 to 13) whose order_id is in no row of orders.id.")


def test_a_deleted_parent_makes_an_orphan_and_a_deleted_child_is_none(services: Services, log: SnowflakeCursor) -> None:
    order(services, log, 1)
    order(services, log, 1, "b", deleted=True)
    event(services, log, 10, order_id=1)
    assert not result(services, ORPHANS).passed
    event(services, log, 10, "b", deleted=True)
    assert result(services, ORPHANS).passed
    # Whatever the order of loading: the greatest snapshot is the truth, one from before them is older than any.
    order(services, log, 1, None)
    event(services, log, 11, "c", order_id=1)
    assert not result(services, ORPHANS).passed
    order(services, log, 1, "c")
    assert result(services, ORPHANS).passed


def test_a_parent_in_quarantine_is_told_apart(services: Services, log: SnowflakeCursor) -> None:
    order(services, log, 1, quarantined=True)
    event(services, log, 10, order_id=1)
    assert "1 of them because the parent is in quarantine" in (result(services, ORPHANS).description or "")


def test_a_row_seen_twice_alike_or_released_from_quarantine_has_not_changed(
    services: Services, log: SnowflakeCursor
) -> None:
    for snapshot in ("a", "b"):
        event(services, log, 10, snapshot, note="x")
        event(services, log, 11, snapshot)
    event(services, log, 12, "a", quarantined=True)
    event(services, log, 12, "b", note="y")
    assert result(services, APPENDED).passed


@pytest.mark.parametrize(("before", "after"), [("x", "y"), (None, "y"), ("x", None)])
def test_a_row_with_two_contents_has_changed(
    services: Services, log: SnowflakeCursor, before: str | None, after: str | None
) -> None:
    event(services, log, 10, "a", note=before)
    event(services, log, 10, "b", note=after)
    found = result(services, APPENDED)
    assert not found.passed
    assert "0 are gone, 1 changed" in (found.description or "")


def test_a_tombstone_is_a_row_that_is_gone(services: Services, log: SnowflakeCursor) -> None:
    event(services, log, 10)
    event(services, log, 10, "b", deleted=True)
    assert "1 are gone, 0 changed" in (result(services, APPENDED).description or "")


def test_a_table_that_was_never_staged_or_by_an_earlier_version_is_said_not_to_be_checked(services: Services) -> None:
    assert "events was never staged" in (result(services, ORPHANS).description or "")
    with services.warehouse.connection(LOADING) as session, session.cursor() as cursor:
        cursor.execute(f"create table {staging_relation(services.warehouse.database, EVENTS)} (id number(38,0))")
    assert "has no column _SNAPSHOT" in (result(services, APPENDED).description or "")
