"""Snowflake's SQL, values and failures between the client and DuckDB, without a server."""

import datetime as dt
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

from shopstream_assets.embedded.snowflake import accounts, comments
from shopstream_assets.embedded.snowflake.dialect import Namespace, parse, to_duckdb
from shopstream_assets.embedded.snowflake.errors import SnowflakeError, translate
from shopstream_assets.embedded.snowflake.types import Result, column, from_binding

HERE = Namespace("DB", "S")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select a from t", 'SELECT "A" FROM "DB"."S"."T"'),
        ("select a from s2.t", 'SELECT "A" FROM "DB"."S2"."T"'),
        ("with c as (select 1 as a) select a from c", 'WITH "C" AS (SELECT 1 AS "A") SELECT "A" FROM "C"'),
        ('select "a b" from d."x y"."t"', 'SELECT "a b" FROM "D"."x y"."t"'),
    ],
)
def test_tables_get_their_full_names(sql: str, expected: str) -> None:
    assert to_duckdb(parse(sql), HERE) == expected


def test_a_temporary_table_leads_to_the_sessions_own_catalog() -> None:
    namespace = Namespace("DB", "S", {("DB", "S", "T"): "DB.S.T"})
    assert to_duckdb(parse("select t.a from db.s.t"), namespace) == (
        'SELECT "T"."A" FROM "temp"."main"."DB.S.T" AS "T"'
    )
    assert to_duckdb(parse("insert into t values (1)"), namespace).startswith(
        'INSERT INTO "temp"."main"."DB.S.T" VALUES'
    )


def test_sums_are_not_turned_into_floats() -> None:
    assert "DOUBLE" not in to_duckdb(parse("select sum(amount), avg(amount) from t"), HERE)


@pytest.mark.parametrize("sql", ["", " ; ", "-- nothing here"])
def test_an_empty_statement_is_an_error(sql: str) -> None:
    with pytest.raises(SnowflakeError, match="Empty SQL"):
        parse(sql)


def test_several_statements_are_an_error_and_not_cut_off() -> None:
    with pytest.raises(SnowflakeError) as failure:
        parse("begin; delete from t; commit")
    assert failure.value.errno == 8


def test_without_a_current_schema_a_bare_name_is_an_error() -> None:
    with pytest.raises(SnowflakeError) as failure:
        to_duckdb(parse("select * from t"), Namespace("DB"))
    assert failure.value.errno == 90106


@pytest.mark.parametrize(
    ("sql", "without_effect"),
    [
        ("create or replace warehouse w", True),
        ("CREATE STORAGE INTEGRATION IF NOT EXISTS i type = external_stage", True),
        ("grant select on t to role r", True),
        ("use role r", True),
        ("alter table t cluster by (a)", True),
        ("alter table t add row access policy p on (a)", True),
        ("create table role_of_users (a number)", False),
        ("create table warehouse (a number)", False),
        ("alter table t add column tag varchar", False),
        ("alter table t rename to u", False),
        ("drop table if exists tags", False),
        ("use schema s", False),
        ("select 1 -- grant", False),
    ],
)
def test_only_account_statements_are_without_effect(sql: str, without_effect: bool) -> None:
    assert accounts.has_no_effect(sql) is without_effect


def test_dbts_list_of_column_comments_is_read() -> None:
    found = comments.of_alter("""alter table db.s.t alter "A" COMMENT $$it's$$, "b c" COMMENT $$$$ ;""")
    assert found is not None
    table, said = found
    assert ".".join(part.name for part in table.parts) == "DB.S.T"
    assert said.columns == {"A": "it's", "b c": ""}
    assert comments.of_alter("alter table t add column comment varchar") is None


@pytest.mark.parametrize(
    ("sql", "errno"),
    [
        ("select 'x'::decimal(3,1)", 100038),
        ("select 100::decimal(3,1)", 100039),
        ("select 'x'::date", 100040),
        ("select 'x'::timestamp", 100035),
        ("select 300::tinyint", 100039),
        ("select nothing", 904),
        ("select * from nothing", 2003),
        ("select nothing()", 2140),
    ],
)
def test_duckdbs_failures_get_snowflakes_numbers(sql: str, errno: int) -> None:
    with duckdb.connect() as connection, pytest.raises(duckdb.Error) as failure:
        connection.execute(sql)
    found = translate(failure.value)
    assert found.errno == errno
    assert "LINE 1" not in found.message


def test_an_unexpected_failure_is_an_error_for_the_client_too() -> None:
    found = translate(KeyError("x"))
    assert (found.errno, found.sqlstate) == (300002, "XX000")
    assert "KeyError" in found.message


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("FIXED", "12", 12),
        ("FIXED", "12.50", Decimal("12.50")),
        ("FIXED", None, None),
        ("REAL", "1.5", 1.5),
        ("BOOLEAN", "true", True),
        ("TEXT", "x", "x"),
        ("DATE", "86400000", dt.date(1970, 1, 2)),
        ("DATE", "-86400000", dt.date(1969, 12, 31)),
        ("TIMESTAMP_NTZ", "1500000000123456000", dt.datetime(2017, 7, 14, 2, 40, 0, 123456)),
        ("TIMESTAMP_TZ", "0 1500", dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
        ("TIME", "3661000001000", dt.time(1, 1, 1, 1)),
        ("BINARY", "ff00", b"\xff\x00"),
    ],
)
def test_bound_values_become_python_values(kind: str, value: str | None, expected: object) -> None:
    assert from_binding(kind, value) == expected


def test_types_that_snowflake_lacks_travel_as_variants_and_text() -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "select [1, 2] as l, {'a': 1} as s, 1::utinyint as u, uuid() as i, 1.5::float as f, null as n"
        )
        result = Result.read(connection)
    assert [found.type for found in result.columns] == ["VARIANT", "VARIANT", "FIXED", "TEXT", "REAL", "TEXT"]
    with pa.ipc.open_stream(result.to_arrow_stream()) as stream:
        [row] = stream.read_all().to_pylist()
    assert (row["l"], row["s"], row["u"], row["f"], row["n"]) == ("[1, 2]", '{"a": 1}', 1, 1.5, None)


@pytest.mark.parametrize(
    ("duck", "expected"),
    [("DECIMAL(12,2)", ("FIXED", 12, 2)), ("HUGEINT", ("FIXED", 38, 0)), ("BIGINT", ("FIXED", 38, 0))],
)
def test_numbers_tell_their_precision(duck: str, expected: tuple[str, int, int]) -> None:
    found = column("A", duck)
    assert (found.type, found.precision, found.scale) == expected
