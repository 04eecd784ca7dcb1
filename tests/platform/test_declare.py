"""`shopstream declare` on a database with tables of all kinds: what it writes is imported, loaded and compared."""

import datetime as dt
import importlib.util
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, LiteralString, cast
from urllib.parse import quote, urlsplit, urlunsplit
from zoneinfo import ZoneInfo

import psycopg
import pytest
from bad_input import Spoiled
from click.testing import CliRunner, Result
from thirty_tables import NOT_DECLARED, TABLES, statements

from shopstream_assets.cli import main
from shopstream_assets.cli.declare.guesses import listed, lowest
from shopstream_assets.cli.declare.source_code import _literal
from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.tables import BIGINT, MONEY, TEXT, Column, SourceTable, quoted
from shopstream_assets.platform.staging.integrity import orphans

# One of the tables has a numeric of negative scale.
pytestmark = pytest.mark.postgres(15)

ROOT = Path(__file__).parents[2]
BERLIN = "Europe/Berlin"
DAYS = Window(dt.date(2026, 2, 28), dt.date(2026, 3, 4), from_start=True)


def execute(services: Services, *made: str) -> None:
    schema = quoted(services.source.schema_name)
    with psycopg.connect(services.source.dsn, autocommit=True) as connection:
        for statement in made:
            connection.execute(cast(LiteralString, statement.replace("{s}", schema)))


def declare(services: Services, *arguments: str, url: str = "") -> Result:
    return CliRunner().invoke(
        main, ["declare", url or services.source.dsn, "--schema", services.source.schema_name, *arguments]
    )


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("declared", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(services: Services, tmp_path: Path, *arguments: str) -> tuple[str, ModuleType]:
    path = tmp_path / "tables.py"
    result = declare(services, "--time-zone", BERLIN, "--output", str(path), *arguments)
    assert result.exit_code == 0, result.output
    return path.read_text(), imported(path)


def one(services: Services, tmp_path: Path, table: str) -> tuple[str, SourceTable]:
    """The declaration of one table: its text, with comments in one line, and itself."""
    text, module = written(services, tmp_path, "--table", table)
    [declared] = module.TABLES
    return " ".join(line.strip().removeprefix("# ") for line in text.splitlines()), declared


def in_source(services: Services, table: SourceTable) -> list[tuple[Any, ...]]:
    """What staging must have of each row, read by another driver; ordered."""

    def read(column: Column) -> str:
        if column.type.name in ("text", "jsonb", "uuid"):
            return f"{quoted(column.name)}::text"
        return f"{quoted(column.name)}::text[]" if column.type.name == "text[]" else quoted(column.name)

    def value(column: Column, found: Any) -> Any:
        if found is None:
            return None
        match column.type.name:
            case "timestamptz":
                return found.astimezone(dt.UTC).replace(tzinfo=None)
            case "timestamp":
                return found.replace(tzinfo=ZoneInfo(BERLIN)).astimezone(dt.UTC).replace(tzinfo=None)
            case "real":
                return struct.unpack("f", struct.pack("f", found))[0]
            case "numeric" if column.type.scale == 0:
                return int(found)
            case "uuid[]":
                return [None if each is None else str(each) for each in found]
        return found

    with psycopg.connect(services.source.dsn) as connection:
        connection.execute("set time zone 'UTC'")
        relation = f"{quoted(services.source.schema_name)}.{quoted(table.name)}"
        query = f"select {', '.join(map(read, table.columns))} from {relation}"
        rows = connection.execute(cast(LiteralString, query)).fetchall()
    return sorted((tuple(map(value, table.columns, row)) for row in rows), key=repr)


def in_staging(services: Services, table: SourceTable) -> list[tuple[Any, ...]]:
    rows = Spoiled(services, table).staged(*(column.name for column in table.columns))

    def value(column: Column, found: Any) -> Any:
        if isinstance(found, bytearray):
            return bytes(found)
        return json.loads(found) if column.type.element and found is not None else found

    return sorted((tuple(map(value, table.columns, row)) for row in rows), key=repr)


def test_thirty_tables_of_all_kinds_are_declared_imported_and_loaded_and_every_value_equals_the_sources(
    services: Services, tmp_path: Path
) -> None:
    execute(services, *statements(services.source.schema_name))
    text, module = written(services, tmp_path)
    tables = {table.name: table for table in module.TABLES}
    assert tables.keys() == TABLES.keys()
    assert len(tables) >= 30
    Domain("declared", module.TABLES, simulator=lambda _: pytest.fail("nothing is simulated"))
    for name, table in tables.items():
        spoiled = Spoiled(services, table)
        manifests = spoiled.extract(DAYS)
        assert {manifest.drift for manifest in manifests.values()} == {"none"}, name
        assert [spoiled.quarantined(manifest) for manifest in manifests.values()] == [[]] * len(manifests), name
        spoiled.load(DAYS)
        expected = in_source(services, table)
        assert expected, name
        # By their text, as NaN is not itself.
        assert repr(in_staging(services, table)) == repr(expected), name
    with services.warehouse.connection("REPORTING_WH") as session, session.cursor() as cursor:
        for table in tables.values():
            for column in table.columns:
                if column.references:
                    parent, _, target = column.references.partition(".")
                    found = orphans(cursor, services.warehouse.database, table, column, tables[parent], target)
                    assert found.rows == 0
    options = ["--config", str(ROOT / "pyproject.toml")]
    path = tmp_path / "tables.py"
    for command in (["format", "--check", "--diff"], ["check"]):
        run = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *options, str(path)], capture_output=True, text=True
        )
        assert run.returncode == 0, run.stdout + run.stderr
    assert text.isprintable() or all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize("name", NOT_DECLARED)
def test_what_cannot_be_declared_is_a_comment_that_says_why_and_what_to_do(
    services: Services, tmp_path: Path, name: str
) -> None:
    execute(
        services,
        "create table {s}.imports (id int primary key, note text, updated_at timestamptz)",
        "create table {s}.orders (id int primary key, updated_at timestamptz)",
        NOT_DECLARED[name][0],
    )
    text, module = written(services, tmp_path)
    comments = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
    assert NOT_DECLARED[name][1].removeprefix("# ") in comments
    assert len(module.TABLES) == 2
    # What is to be done is there to be copied, or named.
    assert any(word in comments for word in ("alter table", "create view", "Let it select", "Declare a view"))


def test_the_sql_that_gives_a_table_a_cursor_makes_it_one_that_has_one(services: Services, tmp_path: Path) -> None:
    execute(services, "create table {s}.countries (code char(2) primary key, name text)")
    comment, table = one(services, tmp_path, "countries")
    assert table.cursor is None
    (tmp_path / "tables.py").unlink()
    sql = comment.partition("`alter")[2].partition("`")[0].replace("concurrently ", "")
    execute(services, f"alter{sql}")
    execute(services, "insert into {s}.countries values ('DE', 'Germany', '1900-01-01')")
    comments, table = one(services, tmp_path, "countries")
    assert (table.cursor, table.primary_key) == ("updated_at", ("code",))
    assert "index" not in comments
    today = dt.datetime.now(dt.UTC).date()
    spoiled = Spoiled(services, table)
    assert spoiled.stage(Window(today, today + dt.timedelta(days=2))).rows == 1


def test_types_keys_rules_and_references_are_as_the_catalogue_says(services: Services, tmp_path: Path) -> None:
    execute(services, *statements(services.source.schema_name))
    _, module = written(services, tmp_path)
    tables = {table.name: table for table in module.TABLES}
    shown = {name: {c.name: c.type.postgres for c in table.columns} for name, table in tables.items()}
    assert shown["accounts"] == {
        "id": "numeric(20,0)", "bare": "text", "wide": "numeric(38,10)", "wider": "text", "rounded": "text",
        "tiny": "text", "balance": "numeric(18,2)", "updated_at": "timestamptz",
    }  # fmt: skip
    assert shown["categories"] == {
        "id": "integer", "parent_id": "integer", "price": "numeric(10,2)", "net": "numeric(10,2)", "moods": "text[]",
        "updated_at": "timestamptz",
    }  # fmt: skip
    assert tables["customers"].column("updated_at").type.time_zone == BERLIN
    assert tables["order_items"].primary_key == ("order_id", "line")
    assert (tables["logs"].primary_key, tables["coupons"].primary_key) == (("id",), ("code",))
    assert tables["totals"].primary_key == ("customer_id",)
    cursors = {name: table.cursor for name, table in tables.items() if table.cursor != "updated_at"}
    assert cursors == {
        "products": "last_modified", "UserEvents": "OccurredAt", "logs": "logged_at", "sessions": "lastModified",
        "bookings": "starts_at", "countries": None, "memberships": None, "ledger": None, "trips": None,
    }  # fmt: skip
    references = {f"{t.name}.{c.name}": c.references for t in tables.values() for c in t.columns if c.references}
    assert references == {
        "orders.customer_id": "customers.id", "order_items.order_id": "orders.id", "UserEvents.UserId": "customers.id",
        "categories.parent_id": "categories.id", "memberships.customer_id": "customers.id",
        "memberships.code": "countries.code",
    }  # fmt: skip
    checked = tables["checked"]
    assert checked.column("status").values == ("new", "it's paid")
    assert [checked.column(name).minimum for name in ("stars", "rate", "strict")] == [1, 0, None]
    assert tables["order_items"].column("quantity").minimum == 1
    assert tables["orders"].column("state").values == ("happy", 'it\'s "ok"', "läuft")
    assert {rule.name for rule in checked.rules} == {
        f"breaks the check checked_{name}_check" for name in ("kind", "country", "strict", "below")
    }
    assert {rule.name: rule.columns for rule in tables["computed"].rules} == {
        "breaks the check in_order": ("since", "until"), "breaks the check it's cheap": ("net", "tax"),
    }  # fmt: skip
    personal = {f"{t.name}.{c.name}" for t in tables.values() for c in t.columns if c.pii}
    assert personal == {
        "customers.email", "customers.first_name", "devices.ip_address", "people.full_name", "people.phone",
        "people.street", "people.iban",
    }  # fmt: skip
    customers = tables["customers"]
    assert customers.description == "People who bought something."
    assert customers.column("locale").description == "Language and country."
    assert customers.column("first_name").description == "First name."
    assert [column.nullable for column in customers.columns] == [False, False, True, True, False, False]
    assert customers.grain == "One row per customer."
    assert tables["namesakes"].undeclared == "ignore"


@pytest.mark.parametrize(
    ("table", "remark"),
    [
        ("order_items", "The cursor has no index: each look reads all of the table."),
        ("order_items", '`create index concurrently on "{schema}"."order_items" ("updated_at");`'),
        ("jobs", "The cursor has no index"),
        ("computed", "The cursor has no index"),
        ("measurements", "`create index on "),
        ("open_orders", "Index it in the tables that the view is made of."),
        ("open_orders", "A view without a key: id is one by its name."),
        ("imports", "The cursor may be null: such a row belongs to no day"),
        ("ledger", "No column says when a row changed last, so the whole table is one snapshot"),
        ("trips", "If one of starts_at, ends_at is set by every write, name that as the cursor."),
        ("UserEvents", "changes of older rows are found by the versions of rows"),
        ("UserEvents", "Refers to {schema}.customers.id, which is not declared here."),
        ("logs", "logged_at (timestamp) cannot be of a key, so id alone is declared"),
        ("coupons", "Its key is that of a unique index: code."),
        ("namesakes", "Column Name is left out, and with it all that is not declared"),
        ("namesakes", "Column _loaded_at is left out"),
        ("accounts", "numeric has no precision: it travels as its digits."),
        ("accounts", "numeric(50,2) is no type that Snowflake has"),
        ("shifts", "interval: as Postgres writes it."),
        ("lists", "date[]: each element as Postgres writes it."),
        ("people", "Perhaps personal data. pii=True needs a masking policy for date first"),
        ("people", "Personal data, by its name."),
        ("checked", "The check newer is not declared: it is NOT VALID in Postgres"),
    ],
)  # fmt: skip
def test_a_comment_says_what_was_guessed_and_what_to_see_to(
    thirty: Services, tmp_path: Path, table: str, remark: str
) -> None:
    assert remark.replace("{schema}", thirty.source.schema_name) in one(thirty, tmp_path, table)[0]


def test_a_table_of_which_everything_is_known_has_no_comment(thirty: Services, tmp_path: Path) -> None:
    text, _ = written(thirty, tmp_path, "--table", "customers", "--table", "orders")
    assert [line for line in text.splitlines() if "#" in line] == [
        "        # Personal data, by its name.",
        "        # Personal data, by its name.",
    ]


@pytest.fixture(scope="module")
def thirty(local_stack: Any) -> Services:
    """A schema of thirty tables that is only looked at."""
    from shopstream_assets.platform.lake.object_store import ObjectStoreResource
    from shopstream_assets.platform.sources.postgres.resource import PostgresResource
    from shopstream_assets.platform.staging.warehouse import WarehouseResource

    source = PostgresResource(dsn=local_stack["SHOPSTREAM_POSTGRES_DSN"], schema_name=f"thirty_{os.getpid()}")
    nothing = WarehouseResource(account="none", user="none", database="none")
    services = Services(source=source, store=ObjectStoreResource(bucket="none"), warehouse=nothing)
    execute(services, "create schema {s}", *statements(source.schema_name))
    return services


def test_local_times_need_their_zone_to_be_said(thirty: Services) -> None:
    result = declare(thirty)
    assert result.exit_code == 1
    assert "customers.created_at, customers.updated_at" in result.output
    assert "Next: say it: `--time-zone UTC`" in result.output
    result = declare(thirty, "--time-zone", "Berlin")
    assert "no time zone is called 'Berlin'" in result.output
    assert declare(thirty, "--table", "orders").exit_code == 0


def test_a_table_or_schema_that_is_not_there_is_told_with_those_that_are(thirty: Services) -> None:
    result = declare(thirty, "--table", "ordres")
    assert (
        result.exit_code,
        "has no table ordres that this role can see. Next: name some of these: " in result.output,
    ) == (1, True)
    assert "orders" in result.output
    result = CliRunner().invoke(main, ["declare", thirty.source.dsn, "--schema", "nowhere"])
    assert "schema nowhere has no table that this role can see. Next: correct the schema" in result.output


def test_a_file_that_exists_is_not_written_over(thirty: Services, tmp_path: Path) -> None:
    path = tmp_path / "tables.py"
    path.write_text("mine")
    result = declare(thirty, "--table", "orders", "--output", str(path))
    assert (result.exit_code, path.read_text()) == (1, "mine")
    assert "exists, and may hold what somebody has corrected" in result.output


def test_the_password_appears_nowhere(thirty: Services) -> None:
    parts = urlsplit(thirty.source.dsn)
    role, password = f"reader_{os.getpid()}", "s3cr/t?@w0rd"
    schema = quoted(thirty.source.schema_name)
    execute(
        thirty,
        f"create role {role} login password '{password}'",
        f"grant usage on schema {schema} to {role}",
        f"grant select on {schema}.orders to {role}",
    )
    host = parts.netloc.rpartition("@")[2]
    for given in (password, "wr0ng-" + password):
        url = urlunsplit(parts._replace(netloc=f"{role}:{quote(given, safe='')}@{host}"))
        for table in ("orders", "customers", "nothing"):
            result = declare(thirty, "--table", table, "--time-zone", BERLIN, url=url)
            for secret in (given, quote(given, safe="")):
                assert secret not in result.output + repr(result.exception)
    result = declare(thirty, url=f"postgresql://u:{password}@{host}/x")
    assert result.exit_code == 1
    assert password not in result.output
    assert "percent-encoded" in result.output


def test_columns_that_the_role_may_not_read_stay_behind(thirty: Services, tmp_path: Path) -> None:
    role, schema = f"narrow_{os.getpid()}", quoted(thirty.source.schema_name)
    execute(
        thirty,
        f"create role {role} login password 'x'",
        f"grant usage on schema {schema} to {role}",
        f"grant select (id, updated_at) on {schema}.people to {role}",
    )
    parts = urlsplit(thirty.source.dsn)
    url = urlunsplit(parts._replace(netloc=f"{role}:x@{parts.netloc.rpartition('@')[2]}"))
    result = declare(thirty, "--table", "people", url=url)
    assert result.exit_code == 0, result.output
    comments = " ".join(line.removeprefix("# ") for line in result.stdout.splitlines())
    assert f'`grant select ("iban") on {schema}."people" to "{role}";`' in comments
    (tmp_path / "narrow.py").write_text(result.stdout)
    [table] = imported(tmp_path / "narrow.py").TABLES
    assert [column.name for column in table.columns] == ["id", "updated_at"]
    execute(thirty, f"grant select (note) on {schema}.imports to {role}")
    result = declare(thirty, "--table", "jobs", "--table", "imports", url=url)
    comments = " ".join(line.removeprefix("# ") for line in result.stdout.splitlines())
    assert f'jobs cannot be declared: the role {role} may not read it. `grant select on {schema}."jobs"' in comments
    assert f'imports cannot be declared: the role {role} may not read its key. `grant select ("id") on' in comments


@pytest.mark.parametrize(
    "text", ["", "it's", 'say "hi"', "both ' and \"", "''\"", "\\", "ends\\", "\\'", '"', "'", "a\nb\t\x00", "🙂\u200b"]
)
def test_a_text_is_written_so_that_python_reads_it_back(text: str) -> None:
    assert eval(_literal(text)) == text


@pytest.mark.parametrize(
    ("sql", "values", "least"),
    [
        ("(x = ANY (ARRAY['a'::text, 'it''s'::text]))", ("a", "it's"), None),
        ("((x)::text = ANY ((ARRAY['a'::character varying])::text[]))", ("a",), None),
        ("((x)::text = ANY (ARRAY[('a'::character varying)::text, 'b'::text]))", (), None),
        ("(NOT (x = ANY (ARRAY['a'::text])))", (), None),
        ("((x = ANY (ARRAY['a'::text])) OR (x = ANY (ARRAY['b'::text])))", (), None),
        ("(y = ANY (ARRAY['a'::text]))", (), None),
        ("(x >= 1)", (), 1),
        ("(x > 1)", (), 2),
        ("(x >= '-1'::integer)", (), None),
        ("((x >= 1) AND (x <= 5))", (), None),
        ("(x <= 5)", (), None),
        ("(abs(x) >= 1)", (), None),
    ],
)  # fmt: skip
def test_only_a_check_that_says_no_more_becomes_values_or_a_minimum(
    sql: str, values: tuple[str, ...], least: int | None
) -> None:
    assert listed(sql, Column("x", TEXT, "X.")) == values
    assert lowest(sql, Column("x", BIGINT, "X.")) == least
    assert lowest("(x > (0)::numeric)", Column("x", MONEY, "X.")) is None
