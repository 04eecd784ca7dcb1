"""Every type of Postgres, value by value through the layers, and every kind of relation that can be a source."""

import datetime as dt
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_input import DAY, FIRST, NOON, Spoiled, told

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.tables import (
    BIGINT,
    BOOLEAN,
    BYTES,
    INTEGER,
    SMALLINT,
    TEXT,
    TEXTS,
    TIME,
    TIMESTAMP,
    UUID,
    Column,
    ColumnType,
    SourceTable,
    array_of,
    arrow_schema,
    numeric,
)
from shopstream_assets.platform.refresh.changes import TableMemory, differing_days
from shopstream_assets.platform.refresh.reconcile import reconcile
from shopstream_assets.platform.sources.postgres.play import play
from shopstream_assets.platform.staging.integrity import changed
from shopstream_assets.platform.staging.verification import staging_differences


@dataclass(frozen=True)
class Kind:
    """A column: its type in Postgres, how it is declared, and literals with the values that they must arrive as."""

    postgres: str
    declared: ColumnType
    values: Mapping[str, object]


ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2**128 - 1)
NINES = "9" * 38
KINDS = {
    "mood": Kind("{s}.mood", TEXT, {"'happy'": "happy", "'it''s ok'": "it's ok"}),
    "price": Kind("{s}.price", numeric(10, 2), {"1.50": Decimal("1.50")}),
    "positive_price": Kind("{s}.positive_price", numeric(10, 2), {"99999999.99": Decimal("99999999.99")}),
    "email": Kind("{s}.email", TEXT, {"'a@b.c'": "a@b.c"}),
    "moods": Kind("{s}.mood[]", TEXTS, {"'{happy,it''s ok,NULL}'": ["happy", "it's ok", None]}),
    "time": Kind(
        "time",
        TIME,
        {
            "'00:00'": dt.time(),
            "'23:59:59.999999'": dt.time(23, 59, 59, 999999),
            "'12:34:56.7'": dt.time(12, 34, 56, 700000),
        },
    ),
    "interval": Kind(
        "interval", TEXT, {"'1 month 2 days 03:04:05.000006'": "1 mon 2 days 03:04:05.000006", "'-1 day'": "-1 days"}
    ),
    "bytes": Kind(
        "bytea",
        BYTES,
        {"'\\x'": b"", "'\\x00ff80c3280a'": b"\x00\xff\x80\xc3(\n", "'text'": b"text"},
    ),
    "wide": Kind(
        "numeric(38,10)",
        numeric(38, 10),
        {
            "0.0000000001": Decimal("0.0000000001"),
            f"-{NINES[:28]}.{NINES[:10]}": Decimal(f"-{NINES[:28]}.{NINES[:10]}"),
            "1234567890123456789.5": Decimal("1234567890123456789.5"),
        },
    ),
    "whole": Kind(
        "numeric(37,0)",
        numeric(37, 0),
        {NINES[1:]: Decimal(NINES[1:]), f"-{NINES[1:]}": Decimal(f"-{NINES[1:]}"), "7": Decimal(7)},
    ),
    "bare": Kind("numeric", numeric(30, 5), {"1.00001": Decimal("1.00001")}),
    "as_text": Kind(
        "numeric",
        TEXT,
        {"1.10": "1.10", "'NaN'": "NaN", "'Infinity'": "Infinity", f"{NINES}{NINES}.5": f"{NINES}{NINES}.5"},
    ),
    "char": Kind("char(5)", TEXT, {"'ab'": "ab", "'abcde'": "abcde"}),
    "varchar": Kind("varchar(10)", TEXT, {"'ab '": "ab "}),
    "inet": Kind("inet", TEXT, {"'192.168.0.1/24'": "192.168.0.1/24", "'::1'": "::1/128"}),
    "cidr": Kind("cidr", TEXT, {"'10.0.0.0/8'": "10.0.0.0/8"}),
    "macaddr": Kind("macaddr", TEXT, {"'08:00:2b:01:02:03'": "08:00:2b:01:02:03"}),
    "vector": Kind("tsvector", TEXT, {"'a:1 b:2'": "'a':1 'b':2"}),
    "money": Kind("money", TEXT, {"'1.5'::numeric::money": "$1.50"}),
    "bits": Kind("bit(3)", TEXT, {"b'101'": "101"}),
    "point": Kind("point", TEXT, {"'(1,2.5)'": "(1,2.5)"}),
    "range": Kind("int4range", TEXT, {"'[1,5)'": "[1,5)", "'empty'": "empty"}),
    "ranges": Kind("datemultirange", TEXT, {"'{[2026-01-01,2026-02-01)}'": "{[2026-01-01,2026-02-01)}"}),
    "pair": Kind("{s}.pair", TEXT, {"row(1, 'a,b')::{s}.pair": '(1,"a,b")'}),
    "timetz": Kind("timetz", TEXT, {"'12:00+02'": "12:00:00+02"}),
    "bigints": Kind("bigint[]", array_of(BIGINT), {"'{1,NULL,-9223372036854775808}'": [1, None, -(2**63)], "'{}'": []}),
    "integers": Kind("integer[]", array_of(INTEGER), {"'{1,2147483647}'": [1, 2147483647]}),
    "smalls": Kind("smallint[]", array_of(SMALLINT), {"'{-32768}'": [-32768]}),
    "widened": Kind("smallint[]", array_of(BIGINT), {"'{7,NULL}'": [7, None]}),
    "booleans": Kind("boolean[]", array_of(BOOLEAN), {"'{t,f,NULL}'": [True, False, None]}),
    "uuids": Kind("uuid[]", array_of(UUID), {f"array['{ONE}', null, '{TWO}']::uuid[]": [str(ONE), None, str(TWO)]}),
    "days": Kind("date[]", TEXTS, {"'{2026-01-01,infinity}'": ["2026-01-01", "infinity"]}),
    "amounts": Kind("numeric[]", TEXTS, {"'{1.10,NaN}'": ["1.10", "NaN"]}),
    "documents": Kind("jsonb[]", TEXTS, {"array['{\"a\": 1}'::jsonb]": ['{"a": 1}']}),
    "twice": Kind("int generated always as (id * 2) stored", INTEGER, {}),
}
ABSENT = dict.fromkeys(KINDS)


def table(name: str, *columns: Column, **changes: Any) -> SourceTable:
    return SourceTable(
        name=name,
        grain=f"One row per row of {name}.",
        description=name,
        owner="team:sales",
        columns=(Column("id", BIGINT, "Key."), *columns, Column("updated_at", TIMESTAMP, "Cursor.")),
        **changes,
    )


EVERYTHING = table("everything", *(Column(name, kind.declared, name, nullable=True) for name, kind in KINDS.items()))


@pytest.fixture
def everything(services: Services) -> Spoiled:
    spoiled = Spoiled(services, EVERYTHING)
    schema = f'"{services.source.schema_name}"'
    with services.source.transaction():
        pass  # A process that connects knows the server's types, of which the next ones are not yet.
    columns = ", ".join(f'"{name}" {kind.postgres}' for name, kind in KINDS.items()).replace("{s}", schema)
    return spoiled.run(
        f"create type {schema}.mood as enum ('happy', 'it''s ok')",
        f"create domain {schema}.price as numeric(10,2)",
        f"create domain {schema}.positive_price as {schema}.price check (value > 0)",
        f"create domain {schema}.email as text check (value like '%@%')",
        f"create type {schema}.pair as (a int, b text)",
        f"create table {{t}} (id bigint primary key, {columns}, updated_at timestamptz not null)",
    )


def fill(spoiled: Spoiled) -> dict[int, dict[str, object]]:
    """A row for each value of each type, the others null; and what must arrive of it."""
    schema, statements = f'"{spoiled.services.source.schema_name}"', []
    expected: dict[int, dict[str, object]] = {}
    for name, kind in KINDS.items():
        for literal, value in kind.values.items():
            id = len(expected) + 1
            expected[id] = {**ABSENT, name: value, "twice": 2 * id}
            literal = literal.replace("{s}", schema)
            statements.append(f"insert into {{t}} (id, \"{name}\", updated_at) values ({id}, {literal}, '{NOON}')")
    spoiled.run("; ".join(statements))
    return expected


def as_declared(name: str, value: object) -> object:
    """A value of staging as Python has it: lists come as JSON."""
    return json.loads(value) if isinstance(value, str) and KINDS[name].declared.element else value


def arrived(spoiled: Spoiled) -> dict[int, dict[str, object]]:
    rows = spoiled.staged("id", *KINDS)
    return {id: {name: as_declared(name, v) for name, v in zip(KINDS, values, strict=True)} for id, *values in rows}


def test_every_value_of_every_type_is_in_the_lake_as_it_was(everything: Spoiled) -> None:
    expected = fill(everything)
    manifest = everything.extract()[FIRST]
    assert everything.quarantined(manifest) == []
    found = {}
    for item in manifest.objects:
        for row in pq.read_table(pa.BufferReader(everything.services.store.get(item.key))).to_pylist():
            found[row["id"]] = {name: row[name] for name in KINDS}
    assert {id: row for id, row in found.items() if row != expected[id]} == {}
    assert found.keys() == expected.keys()


def test_every_value_of_every_type_is_in_staging_as_it_was(everything: Spoiled) -> None:
    expected = fill(everything)
    everything.stage()
    found = arrived(everything)
    assert {id: row for id, row in found.items() if row != expected[id]} == {}
    assert found.keys() == expected.keys()
    services = everything.services
    manifest = everything.extract()[FIRST]
    with services.warehouse.connection("REPORTING_WH") as session:
        differences = staging_differences(
            session, services.warehouse.database, EVERYTHING, DAY, {FIRST: manifest}, {FIRST: etag(everything)}
        )
        assert list(differences) == []


def etag(spoiled: Spoiled) -> str:
    from shopstream_assets.platform.lake.manifest import published

    return published(spoiled.services.store, spoiled.table, DAY)[FIRST]


def test_wide_whole_numbers_have_a_checksum_that_staging_is_held_to(everything: Spoiled) -> None:
    fill(everything)
    manifest = everything.stage()
    [item] = manifest.objects
    assert {"id", "price", "positive_price", "whole", "twice"} == item.checksums.keys()
    services = everything.services
    with services.warehouse.connection("LOADING_WH") as session, session.cursor() as cursor:
        cursor.execute(f'update {services.warehouse.database}.STAGING.STG_EVERYTHING set "WHOLE" = 8 where "WHOLE" = 7')
        [difference] = staging_differences(
            session, services.warehouse.database, EVERYTHING, DAY, {FIRST: manifest}, {FIRST: etag(everything)}
        )
    assert "the checksum of whole" in difference


def test_rows_that_leave_their_day_keep_values_of_every_type_in_its_history(everything: Spoiled) -> None:
    expected = fill(everything)
    both = Window(FIRST, FIRST + 2 * ONE_DAY)
    everything.stage(both)
    everything.run("update {t} set updated_at = '2026-03-02 12:00+00'")
    for _ in range(2):
        manifest = everything.stage(both)
    assert (manifest.moved, manifest.history) == (len(expected), len(expected))
    assert arrived(everything) == expected
    services = everything.services
    with services.warehouse.connection("REPORTING_WH") as session, session.cursor() as cursor:
        assert changed(cursor, services.warehouse.database, everything_but_the_cursor()).rows == 0


def everything_but_the_cursor() -> SourceTable:
    """The table as one whose cursor, which has changed, tells versions of a row apart."""
    return replace(EVERYTHING, primary_key=("id", "updated_at"))


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("time", "'24:00'", "time is 24:00, which is no time of a day"),
        ("bytes", f"convert_to(repeat('x', {8 * 2**20 + 1}), 'UTF8')", "bytes is longer than 8388608 bytes"),
        ("bare", "0.000001", "bare does not fit numeric(30,5)"),
        ("bare", "'NaN'", "bare does not fit numeric(30,5)"),
        ("bare", "'-Infinity'", "bare does not fit numeric(30,5)"),
        ("bare", "1e25", "bare does not fit numeric(30,5)"),
        ("wide", "'NaN'", "wide does not fit numeric(38,10)"),
        ("bigints", "'{{1},{2}}'", "bigints is no plain list: an array of one dimension, numbered from 1"),
    ],
)  # fmt: skip
def test_a_value_that_the_next_layer_cannot_hold_goes_to_quarantine(
    everything: Spoiled, column: str, value: str, reason: str
) -> None:
    everything.run(
        f"insert into {{t}} (id, \"{column}\", updated_at) values (1, {value}, '{NOON}'), (2, null, '{NOON}')"
    )
    manifest = everything.stage()
    [line] = everything.quarantined(manifest)
    assert (line["reasons"], line["row"]["id"]) == (reason, 1)
    assert arrived(everything).keys() == {2}


def test_the_longest_bytes_arrive(everything: Spoiled) -> None:
    everything.run(
        f"insert into {{t}} (id, bytes, updated_at) values (1, convert_to(repeat('x', {8 * 2**20}), 'UTF8'), '{NOON}')"
    )
    everything.stage()
    assert everything.staged("bytes") == [(b"x" * 8 * 2**20,)]


@pytest.mark.parametrize(
    ("column", "kind", "found"),
    [
        ("bytes", TEXT, "column bytes is now bytea, declared text."),
        ("time", TEXT, "column time is now time without time zone, declared text."),
        ("bigints", TEXTS, "column bigints is now bigint[], declared text[]."),
        ("bigints", array_of(INTEGER), "column bigints is now bigint[], declared integer[]."),
        ("price", BIGINT, "column price is now numeric(10,2), declared bigint."),
        ("days", TEXT, "column days is now date[], declared text."),
        ("inet", UUID, "column inet is now inet, declared uuid."),
    ],
)  # fmt: skip
def test_a_type_whose_values_would_change_is_refused(
    everything: Spoiled, column: str, kind: ColumnType, found: str
) -> None:
    columns = tuple(replace(c, type=kind) if c.name == column else c for c in EVERYTHING.columns)
    result = replace(everything, table=replace(EVERYTHING, columns=columns)).materialize("lake")
    assert found in told(result)


# What a source can be.


def check(spoiled: Spoiled, expected: dict[Any, Any], window: Window = DAY) -> None:
    """All layers agree on key and note; nothing is left to ask for; and the whole table equals its source."""
    assert {tuple(key): note for *key, note in spoiled.staged(*spoiled.table.primary_key, "note")} == expected
    services, memory = spoiled.services, TableMemory()
    now = dt.datetime.combine(window.end, dt.time(12), dt.UTC)
    with services.source.looking() as reader:
        assert differing_days(reader, services.store, spoiled.table, memory, window, now) == set()
    found = reconcile(services.source, services.store, services.warehouse, spoiled.table, window)
    assert str(found) == "nothing differs"


NOTE = Column("note", TEXT, "Note.", nullable=True)


def test_a_partitioned_table_travels_like_any_other(services: Services) -> None:
    spoiled = Spoiled(services, table("parts", NOTE))
    part = spoiled.relation[:-1]
    spoiled.run(
        "create table {t} (id bigint, note text, updated_at timestamptz not null, primary key (id, updated_at)) "
        "partition by range (updated_at)",
        f"create table {part}_1\" partition of {{t}} for values from ('2026-01-01') to ('2026-03-02')",
        f'create table {part}_2" partition of {{t}} default',
        "insert into {t} values (1, 'a', '2026-03-01 12:00+00'), (2, 'b', '2026-03-02 12:00+00'), "
        "(3, 'c', '2026-03-01 13:00+00')",
    )
    both = Window(FIRST, FIRST + 2 * ONE_DAY)
    spoiled.stage(both)
    check(spoiled, {(1,): "a", (2,): "b", (3,): "c"}, both)
    # To another day, and so to another partition of Postgres.
    spoiled.run("update {t} set updated_at = '2026-03-02 14:00+00', note = 'moved' where id = 1")
    spoiled.run("delete from {t} where id = 3")
    spoiled.stage(both)
    check(spoiled, {(1,): "moved", (2,): "b"}, both)


@pytest.mark.parametrize("materialized", ["", "materialized "])
def test_a_view_travels_by_the_key_that_is_declared_of_it(services: Services, materialized: str) -> None:
    spoiled = Spoiled(services, table("shown", NOTE))
    base = spoiled.relation.replace("shown", "base")
    refresh = f"refresh {materialized}view {{t}}" if materialized else "select 1"
    spoiled.run(
        f"create table {base} (id bigint, note text, secret text, updated_at timestamptz)",
        f"insert into {base} values (1, 'a', 's', '{NOON}'), (2, 'b', 's', '{NOON}')",
        f"create {materialized}view {{t}} as select id, upper(note) as note, updated_at from {base}",
    )
    spoiled.stage()
    check(spoiled, {(1,): "A", (2,): "B"})
    spoiled.run(f"update {base} set note = 'c' where id = 2", f"delete from {base} where id = 1", refresh)
    spoiled.stage()
    check(spoiled, {(2,): "C"})


@pytest.mark.postgres(18)
def test_a_column_generated_on_reading_travels(services: Services) -> None:
    spoiled = Spoiled(services, table("virtual", NOTE))
    spoiled.run(
        "create table {t} (id bigint primary key, word text, note text generated always as (upper(word)) virtual, "
        "updated_at timestamptz)",
        f"insert into {{t}} (id, word, updated_at) values (1, 'a', '{NOON}')",
    )
    assert spoiled.stage().drift == "added: word"
    check(spoiled, {(1,): "A"})


@pytest.mark.parametrize("kind", ["uuid", "text", "numeric(30,2)", "date", "timestamptz"])
def test_a_composite_key_of_any_type_is_followed_when_its_row_moves_and_goes(services: Services, kind: str) -> None:
    values = {
        "uuid": (UUID, str(ONE), str(TWO)),
        "text": (TEXT, 'it\'s \\ "one"', "🙂"),
        "numeric(30,2)": (numeric(30, 2), Decimal("12345678901234567890.10"), Decimal("-0.01")),
        "date": (dt.date, dt.date(2026, 1, 1), dt.date(1, 1, 1)),
        "timestamptz": (dt.datetime, dt.datetime(2026, 1, 1, 1, 2, 3, 4), dt.datetime(1969, 1, 1)),
    }
    declared, one, two = values[kind]
    if not isinstance(declared, ColumnType):
        declared = ColumnType(kind)  # type: ignore[arg-type]
    spoiled = Spoiled(services, table("Order", Column("Select", declared, "Key."), NOTE, primary_key=("id", "Select")))
    spoiled.run(
        f'create table {{t}} (id bigint, "Select" {kind}, note text, updated_at timestamptz, '
        'primary key (id, "Select"))'
    )
    spoiled.insert(id=1, Select=one, note="a").insert(id=1, Select=two, note="b").insert(id=2, Select=one, note="c")
    spoiled.stage()
    check(spoiled, {(1, one): "a", (1, two): "b", (2, one): "c"})
    spoiled.run(
        "update {t} set updated_at = '2026-03-02 12:00+00', note = 'moved' where note = 'a'",
        "delete from {t} where note = 'b'",
    )
    both = Window(FIRST, FIRST + 2 * ONE_DAY)
    manifest = spoiled.stage(both)
    assert (manifest.moved, manifest.deleted) == (1, 1)
    check(spoiled, {(1, one): "moved", (2, one): "c"}, both)


@pytest.mark.parametrize(
    ("kind", "literals"), [("{s}.letter", ("a", "b")), ("{s}.short", ("x", "y")), ("varchar(3)", ("k", "l"))]
)
def test_an_enum_and_a_domain_can_be_a_key(services: Services, kind: str, literals: tuple[str, str]) -> None:
    spoiled = Spoiled(services, table("keyed", Column("code", TEXT, "Key."), NOTE, primary_key=("code",)))
    schema = f'"{services.source.schema_name}"'
    spoiled.run(
        f"create type {schema}.letter as enum ('a', 'b')",
        f"create domain {schema}.short as varchar(2)",
        f"create table {{t}} (id bigint, code {kind.replace('{s}', schema)} primary key, note text, "
        "updated_at timestamptz)",
    )
    for code in literals:
        spoiled.insert(id=1, code=code, note=code)
    spoiled.stage()
    spoiled.run(f"delete from {{t}} where note = '{literals[0]}'")
    assert spoiled.stage().deleted == 1
    check(spoiled, {(literals[1],): literals[1]})


@pytest.mark.parametrize(
    ("kind", "key"),
    [("inet", "10.0.0.1/32"), ("char(9)", "ab"), ("numeric", "1.10"), ("interval", "1 mon"), ("{s}.letter", "a")],
)
def test_a_key_that_is_carried_as_its_text_is_marked_when_its_row_comes_to_break_a_rule(
    services: Services, kind: str, key: str
) -> None:
    code, strict = Column("code", TEXT, "Key."), Column("note", TEXT, "Note.", values=("good",))
    spoiled = Spoiled(services, table("keyed", code, strict, primary_key=("code",)))
    schema = f'"{services.source.schema_name}"'
    spoiled.run(
        f"create type {schema}.letter as enum ('a', 'b')",
        f"create table {{t}} (id bigint, code {kind.replace('{s}', schema)} primary key, note text, "
        "updated_at timestamptz)",
    )
    spoiled.insert(id=1, code=key, note="good").stage()
    check(spoiled, {(key,): "good"})
    spoiled.run("update {t} set note = 'bad'")
    manifest = spoiled.stage()
    assert (manifest.quarantined_rows, manifest.marked) == (1, 1)
    check(spoiled, {})
    with services.warehouse.connection("REPORTING_WH") as session, session.cursor() as cursor:
        cursor.execute(f"select distinct code from {services.warehouse.database}.STAGING.STG_KEYED")
        assert cursor.fetchall() == [(key,)]


def test_a_simulated_source_is_played_in_every_type(services: Services) -> None:
    now = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    values: dict[str, object] = {
        "id": 1, "clock": dt.time(1, 2, 3, 4), "bytes": b"\x00\xff", "wide": Decimal(f"{NINES[:28]}.5"),
        "numbers": [1, None], "ids": [str(ONE), None], "words": ["a", "{b}", None], "is_on": [True, False],
        "updated_at": now,
    }  # fmt: skip
    kinds = [TIME, BYTES, numeric(38, 10), array_of(BIGINT), array_of(UUID), TEXTS, array_of(BOOLEAN)]
    names = [name for name in values if name not in ("id", "updated_at")]
    played = table("played", *(Column(name, kind, name) for name, kind in zip(names, kinds, strict=True)))

    class Simulator:
        def batches(self, name: str, first: dt.date, end: dt.date) -> Iterator[pa.RecordBatch]:
            yield pa.RecordBatch.from_pylist([values], schema=arrow_schema(played))

    with services.source.transaction() as connection:
        play(connection, Simulator(), played, services.source.schema_name, FIRST, FIRST + ONE_DAY)
    spoiled = Spoiled(services, played)
    [item] = spoiled.extract()[FIRST].objects
    [row] = pq.read_table(pa.BufferReader(services.store.get(item.key))).to_pylist()
    assert {name: row[name] for name in values} == values


@pytest.mark.parametrize("kind", [TIME, BYTES, array_of(UUID)])
def test_a_key_that_has_no_one_text_is_refused(kind: ColumnType) -> None:
    with pytest.raises(ValueError, match="table t: its key 'code' cannot be a "):
        table("t", Column("code", kind, "Key."), primary_key=("code",))


def test_a_domain_refuses_tables_whose_names_cannot_be_assets_or_would_be_one_in_staging() -> None:
    with pytest.raises(ValueError, match="'Order Lines' cannot be; declare a view of another name"):
        Domain("shop", (table("Order Lines"),), simulator=lambda _: pytest.fail("not played"))
    with pytest.raises(ValueError, match="two tables would be STG_ORDERS in staging"):
        Domain("shop", (table("orders"), table("Orders")), simulator=lambda _: pytest.fail("not played"))
