"""What a DBA set for role, database or tables changes no value, hides no row, and is named where it stops."""

import datetime as dt
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import adbc_driver_postgresql.dbapi as adbc
import pytest
from bad_input import DAY, FIRST, LINES, Spoiled

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.errors import LayerError, ServiceError
from shopstream_assets.platform.lake.writer import LakeWriter
from shopstream_assets.platform.sources.postgres import kept_connection
from shopstream_assets.platform.sources.postgres.errors import service_error
from shopstream_assets.platform.sources.postgres.reading import PostgresReading
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.sources.postgres.session import LOOKING, PINNED, READING, with_options
from shopstream_assets.platform.sources.reading import SchemaMismatch

LAKE = "lake/lines, partition 2026-03-01: extracting changed rows to the lake: "
PASSWORD = "hunter2-is-secret"

Reader = Callable[..., Spoiled]


@pytest.fixture
def lines(services: Services) -> Spoiled:
    return Spoiled(services, LINES).create()


@pytest.fixture
def reader(lines: Spoiled) -> Iterator[Reader]:
    """The table as another role sees it, after statements about {role}; the DSN with these `options`."""
    schema = lines.services.source.schema_name
    role = f"reader_{schema[5:]}"
    lines.run(f"create role {role} login password '{PASSWORD}'", f'grant usage on schema "{schema}" to {role}')

    def make(*statements: str, options: str = "") -> Spoiled:
        lines.run(*(statement.replace("{role}", role) for statement in statements))
        dsn = f"postgresql://{role}:{PASSWORD}@{lines.services.source.dsn.rpartition('@')[2]}"
        dsn += f"?options={quote(options)}" if options else ""
        return lines.by(source=PostgresResource(dsn=dsn, schema_name=schema))

    yield make
    lines.run(f"drop owned by {role}", f"drop role {role}")


def refusal(work: Callable[[], object]) -> LayerError:
    with pytest.raises(LayerError) as caught:
        work()
    assert PASSWORD not in str(caught.value)
    assert " Next: " in str(caught.value)
    return caught.value


# Settings

GRANT = "grant select on {t} to {role}"
HOSTILE = {
    "extra_float_digits": "0",
    "DateStyle": "'German'",
    "IntervalStyle": "iso_8601",
    "bytea_output": "escape",
    "TimeZone": "'Asia/Tokyo'",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "search_path": "nowhere",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "statement_timeout": "'1ms'",
    "lock_timeout": "'1ms'",
    "idle_in_transaction_session_timeout": "'100ms'",
    "idle_session_timeout": "'100ms'",
    "transaction_timeout": "'100ms'",
}


@pytest.mark.postgres(17)
def test_settings_of_the_role_change_neither_values_nor_waiting(
    lines: Spoiled, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines.run(
        "alter table {t} add f float8, add at timestamp, add took interval, add raw bytea, add price money, "
        "add moments timestamptz[], add kind regclass"
    )
    values: dict[str, Any] = {
        "f": "0.1234567890123456789", "at": "2026-03-04 05:06:07", "took": "1 year 2 days 03:04:05", "raw": "\\x00ff",
        "price": "1234.50", "moments": '{"2026-03-01 00:00+00"}', "kind": "pg_catalog.pg_class",
    }  # fmt: skip
    lines.insert(id=1, note="it's \\n", **values).insert(id=2, quantity=0, **values)
    spoiled = reader(GRANT, *(f"alter role {{role}} set {name} = {value}" for name, value in HOSTILE.items()))
    publish = LakeWriter.publish

    def slow_uploads(*arguments: Any) -> object:
        # Longer than the role may be idle, or in a transaction.
        time.sleep(0.3)
        return publish(*arguments)

    monkeypatch.setattr(LakeWriter, "publish", slow_uploads)
    manifest = spoiled.stage()
    assert spoiled.staged("id", "note", *values) == [
        (
            1, "it's \\n", "0.12345678901234568", "2026-03-04 05:06:07", "1 year 2 days 03:04:05", "\\x00ff",
            "$1,234.50", '{"2026-03-01 00:00:00+00"}', "pg_class",
        )
    ]  # fmt: skip
    [line] = spoiled.quarantined(manifest)
    assert (line["row"]["at"], line["row"]["f"]) == ("2026-03-04T05:06:07", 0.12345678901234568)


@pytest.mark.postgres(17)
def test_the_kept_connection_pins_the_same_and_waits_for_less(
    lines: Spoiled, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_connection, "_idle", {})
    lines.insert(id=1)
    spoiled = reader(GRANT, *(f"alter role {{role}} set {name} = {value}" for name, value in HOSTILE.items()))
    source = spoiled.services.source
    asked = ", ".join(f"current_setting('{name}')" for name in (*PINNED, "transaction_timeout"))
    limits = ", ".join(
        f"(extract(epoch from current_setting('{name}')::interval) * 1000)::int8" for name in READING.settings
    )

    def settings(connection: Any) -> tuple[Any, Any]:
        with connection.cursor() as cursor:
            cursor.execute(f"select {asked}")
            pinned = cursor.fetchone()
            cursor.execute(f"select {limits}")
            return pinned, cursor.fetchone()

    with source.snapshot() as read:
        pinned, waits = settings(read.connection)
    with source.looking() as read:
        assert read.fingerprints(LINES, DAY)[FIRST].rows == 1
        pinned_to_look, waits_to_look = settings(read.connection)
    # In a transaction its own mode shows.
    at = list(PINNED).index("default_transaction_isolation")
    assert pinned == pinned_to_look
    assert pinned[at] == "read committed"
    assert dict(zip(PINNED, pinned, strict=False)) | {"DateStyle": "ISO, MDY", "idle_session_timeout": "0"} == {
        **PINNED, "DateStyle": "ISO, MDY",
    }  # fmt: skip
    assert pinned[-1] == "0"
    assert [str(wait) for wait in waits] == list(READING.settings.values())
    assert [str(wait) for wait in waits_to_look] == list(LOOKING.settings.values())
    # Longer than the role may be idle: the connection is still the one that was kept.
    kept = kept_connection._idle[source.dsn]
    time.sleep(0.3)
    with source.looking() as read:
        assert read.connection is kept


def test_options_of_the_dsn_change_limits_but_no_text(reader: Reader) -> None:
    source = reader(options=r"-c lock_timeout=7min -c TimeZone=Asia/Tokyo -c application_name=our\ own").services.source
    with source.snapshot() as read, read.connection.cursor() as cursor:
        cursor.execute(
            "select current_setting('lock_timeout'), current_setting('TimeZone'), current_setting('search_path')"
        )
        assert cursor.fetchone() == ("7min", "UTC", "pg_catalog")


def test_a_plus_in_the_options_of_a_dsn_stays_a_plus() -> None:
    assert "a%2Bb" in with_options("postgresql://h/d?options=-c%20application_name=a+b").rpartition("&options=")[2]


# Limits


def test_a_statement_timeout_is_named_and_is_no_reason_to_try_again(lines: Spoiled, reader: Reader) -> None:
    lines.insert(id=1).run("alter table {t} rename to base")
    base = f"{lines.relation[:-7]}base"
    lines.run(f"create view {{t}} as select * from {base} where pg_sleep(2) is not null")
    error = refusal(reader(GRANT, options="-c statement_timeout=200ms").extract)
    assert "a statement ran into statement_timeout and was cancelled" in str(error)
    assert "check that the server runs" not in str(error)
    assert not error.allow_retries


def test_a_connection_limit_of_the_role_is_named(reader: Reader) -> None:
    # A superuser's limit does not count: it must be another role.
    error = refusal(reader("alter role {role} connection limit 0").extract)
    assert "the role has as many connections open as it may (connection limit)" in str(error)
    assert "alter role <role> connection limit" in str(error)
    assert error.allow_retries


def test_a_session_that_idled_too_long_within_its_transaction_says_so(reader: Reader) -> None:
    source = reader(options="-c idle_in_transaction_session_timeout=100ms").services.source
    with (  # noqa: PT012
        pytest.raises(ServiceError, match="ended by idle_in_transaction_session_timeout") as caught,
        source.snapshot() as read,
        read.connection.cursor() as cursor,
    ):
        time.sleep(0.4)
        cursor.execute("select 1")
    assert caught.value.retry


def test_a_setting_that_postgres_refuses_leads_to_the_options_of_the_dsn(reader: Reader) -> None:
    error = refusal(reader(options="-c no_such_setting=1").extract)
    assert "Postgres refused a setting of the session" in str(error)
    assert 'unrecognized configuration parameter "no_such_setting"' in str(error)
    assert not error.allow_retries


@pytest.mark.parametrize(
    ("state", "message", "found", "retry"),
    [
        ("40001", "canceling statement due to conflict with recovery", "(conflict with recovery)", True),
        ("40P01", "deadlock detected", "ended a deadlock", True),
        ("40001", "could not serialize access", "Postgres answered 40001: could not serialize access", True),
        ("57P01", "terminating connection due to administrator command", "ended by an administrator", True),
        ("57P03", "the database system is starting up", "does not take connections now", True),
        ("25P04", "terminating connection due to transaction timeout", "transaction_timeout", True),
        ("57P05", "terminating connection due to idle-session timeout", "idle_session_timeout", True),
        ("57014", "canceling statement due to user request", "somebody cancelled the statement", True),
        ("57014", "storniere Anfrage", "Postgres did not answer or cut the connection (storniere Anfrage", True),
        ("55P03", "storniere Anfrage wegen Zeitüberschreitung beim Sperren", "lock_timeout ended the wait", True),
        ("53300", "sorry, too many clients already", "max_connections", True),
        ("53300", 'too many connections for database "shop"', "the database has as many connections open", True),
    ],
)
def test_whatever_ends_a_statement_is_named(
    services: Services, state: str, message: str, found: str, retry: bool
) -> None:
    statement = f"do $$ begin raise exception '{message}' using errcode = '{state}'; end $$"
    with (
        adbc.connect(services.source.dsn) as connection,
        connection.cursor() as cursor,
        pytest.raises(adbc.Error) as caught,
    ):
        cursor.execute(statement)
    told = service_error(caught.value)
    assert found in str(told)
    assert told.retry is retry


# Row-level security and grants


def test_rows_that_a_policy_would_hide_stop_the_extraction_with_the_remedy(lines: Spoiled, reader: Reader) -> None:
    lines.run("insert into {t} (id, updated_at) select n, '2026-03-01 12:00+00' from generate_series(1, 100) n")
    spoiled = reader(
        GRANT,
        "alter table {t} enable row level security",
        "create policy ten on {t} for select to {role} using (id <= 10)",
    )
    error = refusal(spoiled.extract)
    schema = lines.services.source.schema_name
    role = f"reader_{schema[5:]}"
    assert f"row-level security of table {schema}.lines would hide rows" in str(error)
    assert f'`alter role "{role}" bypassrls;`' in str(error)
    assert not error.allow_retries
    source = spoiled.services.source
    with (
        pytest.raises(ServiceError, match="row-level security of table lines would hide rows"),
        source.looking() as read,
    ):
        read.fingerprints(LINES, DAY)
    lines.run(f"alter role {role} bypassrls")
    assert spoiled.extract()[FIRST].rows == 100


DECLARED = ", ".join(column.name for column in LINES.columns)


def test_a_column_that_is_not_granted_stays_out_of_lake_and_quarantine(lines: Spoiled, reader: Reader) -> None:
    lines.run("alter table {t} add password_hash text, add nickname text")
    lines.insert(id=1, password_hash="$2b$", nickname="a").insert(id=2, password_hash="$2b$", quantity=0)
    spoiled = reader(f"grant select ({DECLARED}, nickname) on {{t}} to {{role}}")
    manifest = spoiled.stage()
    assert manifest.drift == "added: nickname"
    assert [column.name for column in manifest.columns] == [*(column.name for column in LINES.columns), "nickname"]
    [line] = spoiled.quarantined(manifest)
    assert set(line["row"]) == {*(column.name for column in LINES.columns), "nickname"}
    assert spoiled.staged("id", "nickname") == [(1, "a")]


def test_a_declared_column_that_is_not_granted_asks_for_the_grant_to_type(lines: Spoiled, reader: Reader) -> None:
    schema = lines.services.source.schema_name
    columns = ", ".join(column.name for column in LINES.columns if column.name not in ("note", "amount"))
    error = refusal(reader(f"grant select ({columns}) on {{t}} to {{role}}").extract)
    assert str(error) == (
        f"{LAKE}the role reader_{schema[5:]} may not read column amount, note of {schema}.lines. Next: "
        f'`grant select ("amount", "note") on "{schema}"."lines" to "reader_{schema[5:]}";` (as its owner).'
    )
    assert not error.allow_retries


def test_a_schema_that_is_not_granted_asks_for_both_grants(lines: Spoiled, reader: Reader) -> None:
    schema = lines.services.source.schema_name
    error = refusal(reader(f'revoke usage on schema "{schema}" from {{role}}').extract)
    assert f'grant usage on schema "{schema}" to "reader_{schema[5:]}"; grant select on "{schema}"."lines"' in str(
        error
    )


def test_undeclared_columns_travel_only_where_the_declaration_lets_them(lines: Spoiled) -> None:
    lines.run("alter table {t} add secret text").insert(id=1, secret="s").insert(id=2, secret="s", quantity=0)
    ignoring = replace(lines, table=replace(LINES, undeclared="ignore"))
    manifest = ignoring.extract()[FIRST]
    assert manifest.drift == "none"
    assert "secret" not in {column.name for column in manifest.columns}
    assert "secret" not in ignoring.quarantined(manifest)[0]["row"]
    error = refusal(replace(lines, table=replace(LINES, undeclared="refuse")).extract)
    assert "lines has columns that are not declared: secret. Next: declare them" in str(error)
    assert not error.allow_retries
    assert lines.extract()[FIRST].drift == "added: secret"


def test_a_column_that_is_dropped_after_the_plan_is_tried_again(lines: Spoiled) -> None:
    lines.insert(id=1)
    with lines.services.source.snapshot() as read:
        reading = read.plan(LINES)
        lines.run("alter table {t} drop column note")
        with pytest.raises(SchemaMismatch, match="changed after it was looked at") as caught:
            list(reading.scan(DAY))
    assert 'column "note" does not exist' in str(caught.value)
    assert caught.value.retry


# Personal data


def test_personal_data_is_masked_in_quarantine_but_for_its_length(lines: Spoiled) -> None:
    columns = tuple(replace(c, pii=c.name in ("note", "amount", "due", "id")) for c in LINES.columns)
    personal = replace(lines, table=replace(LINES, columns=columns))
    lines.insert(id=7, note="ann@shop.example", amount=Decimal("12.50"), quantity=0)
    [line] = personal.quarantined(personal.extract()[FIRST])
    assert line["reasons"] == "quantity is below 1"
    assert {name: line["row"][name] for name in ("id", "note", "amount", "due", "quantity")} == {
        "id": 7, "note": "***(16)", "amount": "***(5)", "due": None, "quantity": 0,
    }  # fmt: skip


def test_a_cursor_beyond_the_years_of_the_next_layer_is_quarantined_with_the_last_day_of_an_open_window(
    lines: Spoiled,
) -> None:
    class OpenEnded(PostgresReading):
        def within(self, window: Window) -> str:
            return f"updated_at >= timestamptz '{window.first} 00:00:00+00'"

    for number, moment in enumerate(
        ("infinity", "10000-01-01 00:00+00", "294276-12-31 00:00+00", "9999-12-31 00:00+00")
    ):
        lines.insert(id=number, updated_at=moment)
    with lines.services.source.snapshot(tables=[LINES]) as read:
        planned = read.plan(LINES)
        reading = OpenEnded(**{name: getattr(planned, name) for name in planned.__dataclass_fields__})
        found = list(reading.rejected(DAY))
        assert sum(batch.num_rows for batch in reading.scan(DAY)) == 1
    assert [(day, reasons) for day, reasons, _ in found] == [
        (FIRST, "updated_at is not a time between the years 1 and 9999")
    ] * 3
    assert isinstance(found[0][0], dt.date)
