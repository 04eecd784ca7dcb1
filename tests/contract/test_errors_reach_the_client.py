import time
from collections.abc import Callable

import pytest
from contract_account import Account, Run
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import DatabaseError, Error, ProgrammingError

Connect = Callable[..., SnowflakeConnection]


@pytest.mark.parametrize(
    ("sql", "errno", "sqlstate", "text"),
    [
        ("selec 1", 1003, "42000", "syntax error"),
        ("select * from nowhere", 2003, None, "does not exist or not authorized"),
        ("select * from nodb.noschema.notable", 2003, None, "does not exist or not authorized"),
        ("select nocolumn from (select 1 as a)", 904, "42000", "invalid identifier"),
        ("select 'abc'::number", 100038, "22018", "Numeric value 'abc' is not recognized"),
        ("select '2026-02-30'::date", 100040, "22007", "Date '2026-02-30' is not recognized"),
        ("select 'x'::boolean", 100037, "22018", "Boolean value 'x' is not recognized"),
        ("select 1 / 0", 100051, "22012", "Division by zero"),
        ("select column1 / column2 from values (1.5, 0.0)", 100051, "22012", "Division by zero"),
        ("select no_such_function(1)", 2140, "42601", "Unknown function"),
        ("insert into nowhere values (1)", 2003, None, "does not exist"),
        ("drop table nowhere", 2003, None, "does not exist"),
        ("use schema nowhere", None, None, "does not exist"),
        ("use database nowhere", None, None, "does not exist"),
        ("create table nodb.s.t (a number)", 2003, "02000", "does not exist"),
        ("select 1; select 2", 8, "0A000", "statement count 2"),
    ],
)
def test_a_wrong_statement_fails_with_its_number(
    run: Run, sql: str, errno: int | None, sqlstate: str | None, text: str
) -> None:
    started = time.monotonic()
    with pytest.raises(Error) as failure:
        run(sql)
    assert time.monotonic() - started < 5
    assert text.lower() in str(failure.value).lower()
    assert errno in (None, failure.value.errno)
    assert sqlstate in (None, failure.value.sqlstate)
    assert isinstance(failure.value, DatabaseError)


def test_an_object_that_exists_cannot_be_created_again(run: Run) -> None:
    run("create table t (a number)")
    with pytest.raises(ProgrammingError, match="already exists") as failure:
        run("create table t (a number)")
    assert failure.value.errno == 2002


def test_a_zero_dividend_and_null_divide_as_on_snowflake(run: Run) -> None:
    assert run("select 0 / 1, null / 0, div0(1, 0), div0null(1, null), 5 % 3") == [(0, None, 0, 0, 2)]


def test_the_session_goes_on_after_an_error(run: Run) -> None:
    for _ in range(3):
        with pytest.raises(Error):
            run("select * from nowhere")
        assert run("select 1") == [(1,)]


def test_what_the_local_snowflake_cannot_do_says_so(local_only: None, run: Run) -> None:
    for sql in (
        "call procedure()",
        "create or replace dynamic table d target_lag = '1 minute' warehouse = w as select 1 as a",
        "create stage internal",
        "alter session set timezone = 'America/New_York'",
        "create table t (id number autoincrement)",
        "select $1 from @lake/file",
        "select * from table(result_scan(last_query_id()))",
        "select * from t at (offset => -60)",
        "copy into t from @lake file_format = (type = csv)",
    ):
        with pytest.raises(ProgrammingError, match="local Snowflake") as failure:
            run(sql)
        assert failure.value.errno == 2, sql


def test_a_login_with_an_unknown_database_succeeds_and_statements_say_what_is_missing(
    account: Account,
) -> None:
    with account.connect(database="NOT_THERE", schema="NEITHER") as connection:
        cursor = connection.cursor()
        cursor.execute("select 1, current_database()")
        assert cursor.fetchone() == (1, None)
        with pytest.raises(ProgrammingError, match="does not have a current database") as failure:
            cursor.execute("create table t (a number)")
        assert failure.value.errno == 90105
        cursor.execute("show databases like 'NOT_THERE'")
        assert cursor.fetchall() == []


def test_account_objects_are_accepted_without_effect(local_only: None, run: Run) -> None:
    for sql in (
        "create warehouse if not exists transforming with warehouse_size = xsmall auto_suspend = 60",
        "alter warehouse transforming suspend",
        "use warehouse transforming",
        "create role if not exists loader",
        "grant usage on database d to role loader",
        "grant select on all tables in schema a.b to role loader",
        "revoke select on table t from role loader",
        "use role loader",
        "use secondary roles all",
        "create or replace masking policy hide as (v varchar) returns varchar -> '***'",
        "create network policy office allowed_ip_list = ('10.0.0.0/8')",
        "create resource monitor budget with credit_quota = 1",
        "alter table t modify column c set masking policy hide",
        "alter table t cluster by (c)",
        "/* a comment first */ grant role loader to user u",
    ):
        assert run(sql) == [("Statement executed successfully.",)], sql


def test_session_parameters_are_kept_and_shown(run: Run) -> None:
    run("alter session set query_tag = 'it''s dbt'")
    [row] = run("show parameters like 'query_tag' in session")
    assert row[:2] == ("QUERY_TAG", "it's dbt")
    run("alter session unset query_tag")
    assert run("show parameters like 'query_tag' in session")[0][1] == ""


def test_current_database_schema_and_use(account: Account, schema: str, run: Run) -> None:
    assert run("select current_database(), current_schema()") == [(account.database, schema)]
    run("create schema if not exists other_schema_of_test")
    assert run("select current_schema()") == [("OTHER_SCHEMA_OF_TEST",)]
    run(f"use schema {account.database}.{schema}")
    run("drop schema other_schema_of_test")
    assert run("select current_schema()") == [(schema,)]
