"""A source whose columns are not the declared ones, and names that need quoting everywhere."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pytest
from bad_input import DAY, FIRST, LINES, NOON, Spoiled, retried, told

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.tables import BIGINT, MONEY, TEXT, TIMESTAMP, Column, SourceTable, numeric
from shopstream_assets.platform.errors import LayerError
from shopstream_assets.platform.lake.manifest import Manifest

WHERE = "lake/lines, partition 2026-03-01: extracting changed rows to the lake: "


@pytest.fixture
def lines(services: Services) -> Spoiled:
    return Spoiled(services, LINES).create()


def test_an_added_column_travels_in_a_type_of_its_own_and_is_reported(lines: Spoiled) -> None:
    lines.insert(id=1).stage()
    lines.run(
        "alter table {t} add a bigint, add b timestamptz, add c date, add d boolean, add e numeric, add f float8, "
        "add g text[], add h jsonb, add i interval"
    )
    lines.insert(
        id=2, a=2**40, b="2026-03-01 10:00:00.000001+02", c="2026-03-02", d="t", e="NaN", f="0.1", g='{"a",NULL}',
        h='{"k": 1}', i="1 day",
    )  # fmt: skip
    result = lines.materialize("lake")
    assert result.success
    [check] = [each for each in result.get_asset_check_evaluations() if each.check_name == "schema_as_declared"]
    assert not check.passed
    assert check.description == (
        "columns of the source that differ from the declaration: added: a, b, c, d, e, f, g, h, i"
    )
    lines.load()
    assert lines.staged("id", *"abcdefghi") == [
        (1, *[None] * 9),
        (
            2, 2**40, dt.datetime(2026, 3, 1, 8, 0, 0, 1), dt.date(2026, 3, 2), True, "NaN", "0.1", "{a,NULL}",
            '{"k": 1}', "1 day",
        ),
    ]  # fmt: skip


def test_an_added_column_is_held_to_what_the_next_layer_can_represent(lines: Spoiled) -> None:
    lines.run("alter table {t} add expires timestamptz")
    lines.insert(id=1, expires="infinity")
    [line] = lines.quarantined(lines.extract()[FIRST])
    assert line["reasons"] == "expires is not a time between the years 1 and 9999"


def test_a_dropped_column_becomes_null_and_is_reported(lines: Spoiled) -> None:
    lines.insert(id=1, note="kept", amount="1.00").stage()
    lines.run("alter table {t} drop note, drop amount, drop seen_at, drop due, drop status, drop quantity")
    lines.run("update {t} set updated_at = '2026-03-02 12:00+00'")
    second = type(DAY)(DAY.end, DAY.end + dt.timedelta(days=1))
    manifest = lines.stage(second)
    assert manifest.drift == "dropped: quantity, amount, status, note, due, seen_at"
    assert lines.staged("id", "amount", "note") == [(1, None, None)]


def test_a_renamed_column_is_one_dropped_and_one_added(lines: Spoiled) -> None:
    lines.run("alter table {t} rename note to remark").insert(id=1, remark="hello")
    manifest = lines.stage()
    assert manifest.drift == "added: remark; dropped: note"
    assert lines.staged("note", "remark") == [(None, "hello")]


def test_an_integer_that_became_a_bigint_is_widened_all_the_way(lines: Spoiled) -> None:
    lines.insert(id=1, quantity=7).stage()
    lines.run("alter table {t} alter quantity type bigint").insert(id=2, quantity=2**40)
    assert lines.stage().drift == "widened: quantity"
    assert lines.staged("quantity") == [(2**40,), (7,)]


def test_integers_and_wider_numerics_are_read_into_a_declared_numeric_exactly(lines: Spoiled) -> None:
    for kind, value in (
        ("smallint", "32767"),
        ("integer", "2147483647"),
        ("bigint", "9999999999"),
        ("numeric(30,9)", "1.5"),
    ):
        lines.run("delete from {t}", f"alter table {{t}} alter amount type {kind} using 1").insert(id=1, amount=value)
        lines.stage()
        assert lines.staged("amount") == [(Decimal(value),)]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("alter amount type text", "column amount is now text, declared numeric(12,2)."),
        ("alter amount type float8", "column amount is now double precision, declared numeric(12,2)."),
        ("alter seen_at type timestamp", "column seen_at is now timestamp without time zone, declared timestamptz."),
        ("alter updated_at type timestamp", "column updated_at is now timestamp without time zone, declared"),
        ("alter due type timestamptz", "column due is now timestamp with time zone, declared date."),
        ("alter id type numeric(20,0)", "column id is now numeric(20,0), declared bigint."),
        ("drop id", "column id is gone from {schema}.lines, and it is its key or cursor."),
        ("rename updated_at to changed_at", "column updated_at is gone from {schema}.lines, and it is its key"),
        ("rename to rows", "Postgres has no table {schema}.lines that this role can see."),
        ('add "NOTE" text', "columns NOTE and note would have one name in Snowflake."),
        ("add _source_file text", "columns _source_file and _source_file of staging would have one name in Snowflake."),
    ],
)  # fmt: skip
def test_a_change_that_would_lose_something_stops_the_partition_before_anything_is_written(
    lines: Spoiled, change: str, found: str
) -> None:
    lines.insert(id=1)
    lines.extract()
    before = lines.manifest_bytes(), list(lines.services.store.listed(""))
    lines.insert(id=2).run(f"alter table {{t}} {change}")
    with pytest.raises(LayerError) as caught:
        lines.extract()
    assert str(caught.value).startswith(WHERE + found.format(schema=lines.services.source.schema_name))
    assert " Next: " in str(caught.value)
    assert not caught.value.allow_retries
    assert (lines.manifest_bytes(), list(lines.services.store.listed(""))) == before


def test_the_run_of_a_lake_asset_tells_the_change_and_does_not_try_again(lines: Spoiled) -> None:
    lines.run("alter table {t} alter amount type text")
    result = lines.materialize("lake")
    assert not result.success
    assert not retried(result)
    assert told(result) == (
        f"{WHERE}column amount is now text, declared numeric(12,2). Next: change the type back, or declare the new one "
        "and rebuild the table from its first partition."
    )


def test_a_declaration_of_more_digits_is_refused_while_staging_would_round_them(lines: Spoiled) -> None:
    lines.insert(id=1, amount="1.25").stage()
    finer = tuple(replace(c, type=numeric(12, 4)) if c.name == "amount" else c for c in LINES.columns)
    lines.run("alter table {t} alter amount type numeric(12,4)", "update {t} set amount = 1.2345")
    redeclared = Spoiled(lines.services, replace(LINES, columns=finer))
    redeclared.extract()
    with pytest.raises(
        LayerError, match=r"cannot hold what the lake has: amount of number\(12,4\). Next: alter"
    ) as caught:
        redeclared.load()
    assert not caught.value.allow_retries
    assert lines.staged("amount") == [(Decimal("1.25"),)]


def test_an_undeclared_column_that_changes_its_type_does_not_slip_into_the_old_one(lines: Spoiled) -> None:
    lines.run("alter table {t} add extra bigint").insert(id=1, extra=1).stage()
    lines.run("alter table {t} alter extra type text using extra::text").insert(id=2, extra="two")
    lines.extract()
    with pytest.raises(LayerError, match="cannot hold what the lake has: extra of varchar"):
        lines.load()
    assert lines.staged("id", "extra") == [(1, 1)]


def odd(name: str, key: str, note: str, cursor: str) -> SourceTable:
    return SourceTable(
        name=name,
        grain="One row per oddity.",
        description="Odd names.",
        owner="team:sales",
        columns=(
            Column(key, BIGINT, "Key."),
            Column(note, TEXT, "Note.", nullable=True, values=("a", "b")),
            Column(f"{note} 2", MONEY, "Amount.", minimum=0),
            Column(cursor, TIMESTAMP, "Cursor."),
        ),
        primary_key=(key,),
        cursor=cursor,
    )


@pytest.mark.parametrize(
    "table",
    [
        odd('say "hi"', 'the "key"', "it's", 'up"dated'),
        odd("Upper Case", "ID", "Note", "UpdatedAt"),
        odd("select", "from", "group", "order"),
        odd("100% über", "%s", "straße", "ŉ ﬁ 時刻"),
        odd("naïve.table", "a.b", "a,b;c--", "{x}"),
        odd("back\\slash", "k\\", "n\\'", "$1"),
        odd("🙂", "👩‍👧", "ſ", "e\u0301"),
    ],
    ids=lambda table: table.name,
)
def test_names_that_need_quoting_work_in_every_layer(services: Services, table: SourceTable) -> None:
    spoiled = Spoiled(services, table).create(plain=True)
    key, note, amount, cursor = (column.name for column in table.columns)
    rows = [(1, "a", "1.50"), (2, "b", "-1.00"), (3, "c", "2.00")]
    values = ", ".join(f"({id}, '{text}', {money}, '{NOON}')" for id, text, money in rows)
    spoiled.run(f"insert into {spoiled.relation} values {values}")
    manifest = spoiled.stage()
    assert (manifest.rows, manifest.quarantined_rows) == (1, 2)
    assert spoiled.staged(key, note, amount, cursor) == [(1, "a", Decimal("1.50"), dt.datetime(2026, 3, 1, 12))]
    assert {line["reasons"]: line["row"][key] for line in spoiled.quarantined(manifest)} == {
        f"{amount} is below 0": 2,
        f"{note} is not one of a, b": 3,
    }
    assert spoiled.extract()[FIRST].objects == manifest.objects


def test_a_manifest_says_which_types_its_rows_were_stored_in(lines: Spoiled) -> None:
    lines.run("alter table {t} alter quantity type bigint")
    stored = Manifest.model_validate_json((lines.extract(), lines.manifest_bytes())[1])
    assert {column.name: column.type for column in stored.columns}["amount"] == "number(12,2)"
