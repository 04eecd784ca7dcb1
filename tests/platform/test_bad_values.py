"""Values and rows that the next layer could not hold, or must not: quarantined with the reason, and counted."""

import datetime as dt
import random
from decimal import Decimal
from typing import Any

import dagster as dg
import psycopg
import pytest
from bad_input import DAY, DAYS, FIRST, LINES, NOON, Spoiled

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.tables import (
    BIGINT,
    BOOLEAN,
    DATE,
    INTEGER,
    JSON,
    TEXT,
    TIMESTAMP,
    UUID,
    Column,
    SourceTable,
    numeric,
)
from shopstream_assets.platform.sources.checks import source_checks, whole_source_checks

NO_TIME = "is not a time between the years 1 and 9999"


@pytest.fixture
def lines(services: Services) -> Spoiled:
    return Spoiled(services, LINES).create(plain=True)


OFFENCES = [
    ("amount", "NaN", "amount does not fit numeric(12,2)"),
    ("amount", "Infinity", "amount does not fit numeric(12,2)"),
    ("amount", "-Infinity", "amount does not fit numeric(12,2)"),
    ("amount", "10000000000.00", "amount does not fit numeric(12,2)"),
    ("amount", "-10000000000.00", "amount does not fit numeric(12,2)"),
    ("amount", "1" + 300 * "0", "amount does not fit numeric(12,2)"),
    ("amount", "0.001", "amount does not fit numeric(12,2)"),
    ("seen_at", "infinity", f"seen_at {NO_TIME}"),
    ("seen_at", "-infinity", f"seen_at {NO_TIME}"),
    ("seen_at", "0044-03-15 12:00+00 BC", f"seen_at {NO_TIME}"),
    ("seen_at", "10000-01-01 00:00+00", f"seen_at {NO_TIME}"),
    ("due", "infinity", f"due {NO_TIME}"),
    ("due", "-infinity", f"due {NO_TIME}"),
    ("due", "10000-01-01", f"due {NO_TIME}"),
    ("status", "lost", "status is not one of paid, it's late"),
    ("status", "", "status is not one of paid, it's late"),
    ("quantity", "0", "quantity is below 1"),
    ("quantity", "-3", "quantity is below 1"),
    ("id", None, "id is null"),
]


def test_every_value_that_breaks_a_rule_goes_to_quarantine_with_its_reason_and_the_whole_row(lines: Spoiled) -> None:
    lines.insert(id=1, note="good")
    for number, (column, value, _) in enumerate(OFFENCES):
        lines.insert(**{"id": number, "note": f"offence {number}", column: value})
    manifest = lines.stage()
    assert (manifest.source_rows, manifest.rows, manifest.quarantined_rows) == (1 + len(OFFENCES), 1, len(OFFENCES))
    assert lines.staged("note") == [("good",)]
    quarantined = {line["row"]["note"]: line for line in lines.quarantined(manifest)}
    for number, (column, value, reason) in enumerate(OFFENCES):
        line = quarantined.pop(f"offence {number}")
        assert line["reasons"] == reason
        assert set(line["row"]) == {each.name for each in LINES.columns}
        assert str(line["row"][column]).replace("T", " ")[:8] == str(value)[:8]
    assert not quarantined


def test_the_widest_values_that_fit_travel_exactly(lines: Spoiled) -> None:
    lines.insert(id=-(2**63), amount="-9999999999.99", due="0001-01-01", seen_at="0001-01-01 00:00+00")
    lines.insert(
        id=2**63 - 1,
        amount="9999999999.99",
        due="9999-12-31",
        seen_at="9999-12-31 23:59:59.999999+00",
        quantity=2**31 - 1,
    )
    lines.stage()
    assert sorted(lines.staged("id", "amount", "due", "seen_at", "quantity")) == [
        (-(2**63), Decimal("-9999999999.99"), dt.date.min, dt.datetime.min, None),
        (2**63 - 1, Decimal("9999999999.99"), dt.date.max, dt.datetime.max, 2**31 - 1),
    ]


def test_a_row_that_breaks_several_rules_is_counted_once_and_told_all_of_them(lines: Spoiled) -> None:
    lines.insert(id=1, quantity=-1, amount="NaN", note="gift")
    manifest = lines.stage()
    assert manifest.quarantined_rows == 1
    assert lines.quarantined(manifest)[0]["reasons"] == (
        "quantity is below 1; amount does not fit numeric(12,2); a gift must be free"
    )


def test_a_rule_over_several_columns_takes_null_for_no_offence(lines: Spoiled) -> None:
    lines.insert(id=1, note="gift", amount="1.00").insert(id=2, note="gift", amount="0").insert(id=3, note="gift")
    manifest = lines.stage()
    assert [line["row"]["id"] for line in lines.quarantined(manifest)] == [1]
    assert lines.staged("id") == [(2,), (3,)]


def test_on_every_day_source_rows_are_loaded_or_quarantined(lines: Spoiled) -> None:
    lines.run(
        "insert into {t} (id, quantity, updated_at) "
        "select n, n % 5, timestamptz '2026-03-01 00:00+00' + n * interval '1 minute' from generate_series(1, 3000) n"
    )
    manifests = lines.extract(DAYS)
    lines.load(DAYS)
    assert [(m.source_rows, m.rows, m.quarantined_rows) for m in manifests.values()] == [
        (1439, 1152, 287),
        (1440, 1152, 288),
        (121, 96, 25),
    ]
    for day, manifest in manifests.items():
        rows = [line["row"] for line in lines.quarantined(manifest)]
        assert len(rows) == manifest.quarantined_rows
        assert {row["updated_at"][:10] for row in rows} == {str(day)}
        assert {row["quantity"] for row in rows} == {0}
    assert len(lines.staged("id")) == sum(manifest.rows for manifest in manifests.values())


def test_orphans_travel(lines: Spoiled) -> None:
    lines.insert(id=1, order_id=404).stage()
    assert lines.staged("order_id") == [(404,)]


TEXTS = {
    "emoji": "👩‍👩‍👧‍👦🇫🇷🏴󠁧󠁢󠁳󠁣󠁴󠁿 🙂",
    "right to left": "שלום \u202eabc\u202c مرحبا",
    "combining": "e\u0301 Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢",
    "edge of the plane": "\ufffd\uffff\ufffe\ufeff\ue000\ud7ff",
    "beyond the plane": "\U00010000\U0010ffff\U0001f600",
    "zero width": "a\u200bb\u200d\u200c\u2060\u00ad",
    "controls": "".join(map(chr, range(1, 32))) + "\x7f\x80\x85\x9f\u2028\u2029",
    "quotes": "it's \"quoted\" `so` '' \"\" ''; drop table x; --",
    "newlines": "a\r\nb\nc\rd\n",
    "backslashes": "\\ \\\\ \\n \\u0000 \\x41 \\'",
    "spaces": "  \t ",
    "empty": "",
    "words for nothing": "NULL",
    "percent and braces": "%s %(a)s %% {} {t} $1 :a ?",
    "a megabyte": "é🙂x" * (1024 * 1024 // 7),
}


def test_every_text_that_postgres_holds_arrives_as_it_was(lines: Spoiled) -> None:
    for number, text in enumerate(TEXTS.values()):
        lines.insert(id=number, note=text)
    lines.stage()
    arrived = dict(lines.staged("id", "note"))
    assert [name for number, (name, text) in enumerate(TEXTS.items()) if arrived[number] != text] == []


def test_every_text_is_kept_in_quarantine_as_it_was(lines: Spoiled) -> None:
    for number, text in enumerate(TEXTS.values()):
        lines.insert(id=number, note=text, quantity=0)
    kept = {line["row"]["id"]: line["row"]["note"] for line in lines.quarantined(lines.extract()[FIRST])}
    assert [name for number, (name, text) in enumerate(TEXTS.items()) if kept[number] != text] == []


def test_a_text_longer_than_snowflake_takes_goes_to_quarantine(lines: Spoiled) -> None:
    lines.run(
        f"insert into {{t}} (id, note, updated_at) values (1, repeat('x', {2**24}), '{NOON}'), "
        f"(2, repeat('x', {2**24 + 1}), '{NOON}')"
    )
    manifest = lines.extract()[FIRST]
    [line] = lines.quarantined(manifest)
    assert (line["row"]["id"], line["reasons"]) == (2, "note is longer than 16777216 bytes")
    assert len(line["row"]["note"]) == 2**24 + 1


@pytest.mark.postgres(15)
def test_texts_of_a_database_in_another_encoding_arrive_as_unicode(services: Services) -> None:
    name = services.source.schema_name
    lines = Spoiled(services, LINES)
    lines.run(f"create database \"{name}\" template template0 encoding 'LATIN1' locale_provider libc locale 'C'")
    base, _, _ = services.source.dsn.rpartition("/")
    try:
        latin = Spoiled(
            Services(
                source=services.source.model_copy(update={"dsn": f"{base}/{name}"}),
                store=services.store,
                warehouse=services.warehouse,
            ),
            LINES,
        )
        latin.run(f'create schema "{name}"').create().insert(id=1, note="déjà ÿ").stage()
        assert latin.staged("note") == [("déjà ÿ",)]
    finally:
        lines.run(f'drop database "{name}" with (force)')


@pytest.mark.postgres(15)
def test_a_text_that_is_no_utf8_goes_to_quarantine_and_the_others_travel(services: Services) -> None:
    name = services.source.schema_name
    lines = Spoiled(services, LINES)
    lines.run(f"create database \"{name}\" template template0 encoding 'SQL_ASCII' locale_provider libc locale 'C'")
    base, _, _ = services.source.dsn.rpartition("/")
    good = {1: "déjà ÿ", 2: "🙂\\351", 3: "", 4: "plain\nlines"}
    bad = {11: "e9", 12: "eda080", 13: "f4908080", 14: "c0af", 15: "636166c3", 16: "80"}
    try:
        ascii = lines.by(source=services.source.model_copy(update={"dsn": f"{base}/{name}"}))
        ascii.run(f'create schema "{name}"').create().run("alter table {t} add extra text[]")
        for number, written in (*((id, text.encode().hex()) for id, text in good.items()), *bad.items()):
            text = f"convert_from('\\x{written}'::bytea, 'SQL_ASCII')"
            ascii.run(
                f"insert into {{t}} (id, note, extra, updated_at) "
                f"values ({number}, {text}, array['sound'], '{NOON}'), "
                f"(100 + {number}, 'sound', array[{text}], '{NOON}')"
            )
        manifest = ascii.stage()
        assert dict(ascii.staged("id", "note")) == good | {100 + id: "sound" for id in good}
        quarantined = {line["row"]["id"]: line for line in ascii.quarantined(manifest)}
    finally:
        lines.run(f'drop database "{name}" with (force)')
    assert quarantined.keys() == {*bad, *(100 + id for id in bad)}
    assert {quarantined[id]["reasons"] for id in bad} == {"note is not UTF-8"}
    assert {quarantined[100 + id]["reasons"] for id in bad} == {"extra is not UTF-8"}
    assert quarantined[15]["row"]["note"] == "caf\\303"


def test_what_json_and_undeclared_columns_hold_stays_readable_in_quarantine(services: Services) -> None:
    table = SourceTable(
        name="t",
        grain="One row per t.",
        description="Named like its alias in SQL.",
        owner="team:sales",
        columns=(
            Column("t", BIGINT, "Key, and the alias again."),
            Column("properties", JSON, "Context.", nullable=True),
            Column("quantity", INTEGER, "Units.", minimum=1),
            Column("updated_at", TIMESTAMP, "Cursor."),
        ),
        primary_key=("t",),
    )
    spoiled = Spoiled(services, table).run(
        "create table {t} (t bigint, properties json, quantity integer, updated_at timestamptz, "
        "price numeric, ratio float8, tags text[], raw bytea)",
        r"""insert into {t} values (1, e'{"a": "\\u0000",\n\r "b": 1.10}', 0, '2026-03-01 12:00+00', 'NaN', '-inf',
            '{"a","b\\n"}', '\x00ff')""",
    )
    [line] = spoiled.quarantined(spoiled.extract()[FIRST])
    assert line["row"] == {
        "t": 1,
        "properties": {"a": "\0", "b": 1.1},
        "quantity": 0,
        "updated_at": "2026-03-01T12:00:00+00:00",
        "price": "NaN",
        "ratio": "-Infinity",
        "tags": ["a", "b\\n"],
        "raw": "\\x00ff",
    }


def test_a_day_without_rows_is_published_staged_and_empties_what_was_there(lines: Spoiled) -> None:
    lines.insert(id=1).stage()
    lines.run("delete from {t}")
    manifest = lines.stage()
    assert (manifest.rows, manifest.source_rows, manifest.deleted, manifest.history) == (0, 0, 1, 1)
    assert lines.staged("id") == []


def checked(lines: Spoiled) -> dict[str, dg.AssetCheckEvaluation]:
    domain = Domain("shop", (lines.table,), simulator=lambda _: pytest.fail("nothing is simulated"))
    settings = DomainSettings(source_mode="live", start_date=FIRST)
    checks = [source_checks(domain, settings), whole_source_checks(domain, settings)]
    job = dg.define_asset_job("look", dg.AssetSelection.all_asset_checks())
    definitions = dg.Definitions(asset_checks=checks, jobs=[job], resources={"source": lines.services.source})
    result = definitions.resolve_job_def("look").execute_in_process(raise_on_error=False)
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def test_repeated_keys_of_a_source_without_a_primary_key_fail_its_check(lines: Spoiled) -> None:
    lines.insert(id=1).insert(id=1).insert(id=2).insert(id=None)
    check = checked(lines)["keys_unique_and_not_null"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert check.blocking
    assert check.description == "2 rows have a null key or repeat one"


def test_rows_that_no_day_will_ever_hold_are_reported_with_the_reason(lines: Spoiled) -> None:
    for number, moment in enumerate((None, "infinity", "-infinity", "2026-02-28 23:59:59.999999+00", NOON)):
        lines.insert(id=number, updated_at=moment)
    check = checked(lines)["every_row_has_a_day"]
    assert not check.passed
    assert check.description == (
        "no partition will ever hold 1 rows whose updated_at is null, 2 rows whose updated_at is infinite, "
        "1 rows whose updated_at is before 2026-03-01"
    )
    assert lines.extract()[FIRST].source_rows == 1


def test_a_sound_source_passes_its_checks_but_for_freshness(services: Services) -> None:
    results = checked(Spoiled(services, LINES).create().insert(id=1))
    assert {name for name, check in results.items() if not check.passed} == {"fresh"}


ALL_TYPES = SourceTable(
    name="all_types",
    grain="One row per draw.",
    description="A column of each type.",
    owner="team:sales",
    columns=(
        Column("id", BIGINT, "Key."),
        Column("whole", BIGINT, "Bigint.", nullable=True),
        Column("small", INTEGER, "Integer.", nullable=True),
        Column("money", numeric(12, 2), "Money.", nullable=True),
        Column("digits", numeric(18, 0), "Whole number.", nullable=True),
        Column("fraction", numeric(18, 18), "Fraction.", nullable=True),
        Column("flag", BOOLEAN, "Flag.", nullable=True),
        Column("day", DATE, "Day.", nullable=True),
        Column("moment", TIMESTAMP, "Moment.", nullable=True),
        Column("text", TEXT, "Text.", nullable=True),
        Column("uuid", UUID, "Uuid.", nullable=True),
        Column("json", JSON, "Json.", nullable=True),
        Column("updated_at", TIMESTAMP, "Cursor."),
    ),
)
BAD = ("NaN", "Infinity", "-Infinity", "1e20", "-1e20")


def drawn(random: random.Random, column: Column) -> tuple[str | None, bool]:
    """A value in Postgres text, and whether it may travel."""
    if random.random() < 0.1:
        return None, True
    kind, bad = column.type, random.random() < 0.02
    match kind.name:
        case "bigint" | "integer":
            bits = 63 if kind == BIGINT else 31
            return str(
                random.choice((random.randrange(-(2**bits), 2**bits), random.randrange(-9, 10), -(2**bits)))
            ), True
        case "numeric":
            if bad:
                return random.choice(BAD), False
            digits = random.randrange(10 ** random.randint(0, kind.precision or 0)) * random.choice((1, -1))
            return f"{Decimal(digits).scaleb(-(kind.scale or 0)):f}", True
        case "boolean":
            return random.choice(("true", "false")), True
        case "date":
            return (random.choice(("infinity", "-infinity", "0001-01-01 BC")), False) if bad else (
                dt.date.fromordinal(random.randint(1, dt.date.max.toordinal())).isoformat(), True)  # fmt: skip
        case "timestamptz":
            if bad:
                return random.choice(("infinity", "-infinity", "10000-01-01 00:00:00+00")), False
            seconds = dt.timedelta(
                microseconds=random.randrange(0, int((dt.datetime.max - dt.datetime.min).total_seconds()) * 10**6)
            )
            return f"{(dt.datetime.min + seconds).isoformat(' ')}+00", True
        case "uuid":
            return f"{random.getrandbits(128):032x}", True
        case "jsonb":
            return f'{{"k": [{random.random()}, null, "{random.randrange(10**9)}"], "e": "🙂\\n\\"é"}}', True
        case _:
            ranges = ((1, 128), (1, 0xD800), (0xE000, 0x110000))
            points = (random.randrange(*random.choice(ranges)) for _ in range(random.randrange(40)))
            return "".join(map(chr, points)), True


def as_postgres_prints(value: Any) -> str | None:
    """A value of staging in the words of `printed`."""
    match value:
        case None | str():
            return value
        case bool():
            return str(value).lower()
        case dt.datetime():
            return value.isoformat(" ", "microseconds")
        case Decimal():
            return f"{value:f}"
        case _:
            return str(value)


def printed(column: Column) -> str:
    """SQL that prints a value in Postgres."""
    pattern = {"date": "YYYY-MM-DD", "timestamptz": "YYYY-MM-DD HH24:MI:SS.US"}.get(column.type.name)
    name = f'"{column.name}"'
    return f"to_char({name}, '{pattern}')" if pattern else f"{name}::text"


@pytest.mark.parametrize("seed", [1, 2])
def test_every_drawn_value_is_staged_as_postgres_prints_it_or_quarantined(services: Services, seed: int) -> None:
    drawing = random.Random(seed)
    spoiled = Spoiled(services, ALL_TYPES)
    # Plain numerics take any number; the declared scale is kept in print.
    spoiled.create().run(*(f"alter table {{t}} alter {name} type numeric" for name in ("money", "digits", "fraction")))
    good: set[int] = set()
    bad: set[int] = set()
    rows = []
    for number in range(1500):
        values = [drawn(drawing, column) for column in ALL_TYPES.columns[1:-1]]
        (good if all(fits for _, fits in values) else bad).add(number)
        moment = dt.datetime.combine(FIRST, dt.time()) + dt.timedelta(microseconds=drawing.randrange(3 * 86400 * 10**6))
        rows.append((str(number), *(value for value, _ in values), f"{moment.isoformat(' ')}+00"))
    assert good
    assert bad
    with psycopg.connect(services.source.dsn) as connection, connection.cursor() as cursor:
        with cursor.copy(f"copy {spoiled.relation} from stdin") as copy:  # type: ignore[arg-type]
            for row in rows:
                copy.write_row(row)
        connection.commit()
        cursor.execute("set timezone to 'UTC'")
        columns = ", ".join(printed(column) for column in ALL_TYPES.columns)
        cursor.execute(f"select id, {columns} from {spoiled.relation}")  # type: ignore[arg-type]
        source = {row[0]: row[1:] for row in cursor.fetchall()}
    manifests = spoiled.extract(DAYS)
    spoiled.load(DAYS)
    names = [column.name for column in ALL_TYPES.columns]
    staged = {row[0]: tuple(map(as_postgres_prints, row)) for row in spoiled.staged(*names)}
    quarantined = {line["row"]["id"] for manifest in manifests.values() for line in spoiled.quarantined(manifest)}
    assert quarantined == bad
    assert staged.keys() == good
    differing = [
        (names[n], source[id][n], got)
        for id, row in staged.items()
        for n, got in enumerate(row)
        if got != source[id][n]
    ]
    assert differing == []


def test_the_window_of_a_partition_is_half_open_to_the_microsecond(lines: Spoiled) -> None:
    moments = (
        "2026-02-28 23:59:59.999999+00",
        "2026-03-01 00:00+00",
        "2026-03-01 23:59:59.999999+00",
        "2026-03-02 00:00+00",
    )
    for number, moment in enumerate(moments):
        lines.insert(id=number, updated_at=moment)
    lines.stage(DAY)
    assert lines.staged("id") == [(1,), (2,)]
