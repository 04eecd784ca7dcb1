"""Quarantined rows as the UI shows them: with their reasons, personal data masked, read back from real objects."""

from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
from bad_input import DAYS, FIRST, LINES, Spoiled

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.partitions import ONE_DAY
from shopstream_assets.platform.declare.tables import TEXT, Column
from shopstream_assets.platform.lake.previews import quarantine_preview

WITH_EMAIL = replace(LINES, columns=(*LINES.columns, Column("email", TEXT, "Address.", nullable=True, pii=True)))


@pytest.fixture
def lines(services: Services) -> Spoiled:
    return Spoiled(services, WITH_EMAIL).create(plain=True)


def shown(lines: Spoiled) -> list[dict[str, Any]]:
    metadata = quarantine_preview(lines.services.store, lines.table, lines.extract(DAYS).values())
    if not metadata:
        return []
    (name, value), *_ = metadata.items()
    assert name == "quarantined"
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def test_a_bad_row_is_shown_with_its_key_its_reasons_and_what_is_wrong_and_a_good_one_is_not(lines: Spoiled) -> None:
    lines.insert(id=1, status="paid").insert(id=2, status="lost", amount="NaN", note="gift", email="ann@example.com")
    (row,) = shown(lines)
    assert list(row)[:3] == ["day", "reasons", "id"]
    assert (row["day"], row["id"], row["status"], row["amount"]) == (str(FIRST), 2, "lost", "NaN")
    assert "amount does not fit numeric(12,2)" in row["reasons"]
    assert row["reasons"].endswith("; status is not one of paid, it's late; a gift must be free")


def test_personal_data_is_masked_and_a_column_that_nobody_declared_is_not_shown(lines: Spoiled) -> None:
    lines.run("alter table {t} add column password text").insert(
        id=1, quantity=0, email="ann@example.com", password="geheim"
    )
    lines.insert(id=2, quantity=0)
    first, second = shown(lines)
    assert {first["email"], second["email"]} == {"***", None}
    assert "password" not in first
    assert "ann@" not in str(first)


def test_a_number_too_long_for_a_float_keeps_its_digits(lines: Spoiled) -> None:
    lines.insert(id=1, amount="12345678901234567890.123456789")
    assert shown(lines)[0]["amount"] == "12345678901234567890.123456789"


def test_ten_rows_are_shown_the_newest_day_first(lines: Spoiled) -> None:
    for number in range(8):
        lines.insert(id=number, quantity=0)
        lines.insert(id=100 + number, quantity=0, updated_at=f"{FIRST + ONE_DAY} 12:00+00")
    days = [row["day"] for row in shown(lines)]
    assert days == [str(FIRST + ONE_DAY)] * 8 + [str(FIRST)] * 2


def test_nothing_is_shown_where_nothing_is_quarantined_or_retention_has_deleted_it(lines: Spoiled) -> None:
    lines.insert(id=1)
    assert shown(lines) == []
    lines.insert(id=2, quantity=0)
    manifests = lines.extract(DAYS)
    store = lines.services.store
    for item in manifests[FIRST].quarantine_objects:
        store.client.delete_object(Bucket=store.bucket, Key=item.key)
    assert quarantine_preview(store, lines.table, manifests.values()) == {}


def test_a_line_break_inside_a_value_is_no_end_of_a_row(lines: Spoiled) -> None:
    lines.insert(id=1, quantity=0, note="one\ntwo\u2028three\x85four")
    assert shown(lines)[0]["note"] == "one\ntwo\u2028three\x85four"
