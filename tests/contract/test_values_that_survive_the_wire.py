import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from contract_account import Run, query
from snowflake.connector import SnowflakeConnection

VALUES = """
    select 1::number(38,0) as whole, 12.30::number(12,2) as money, 1.5::float as real,
        'é 🙂'::varchar as text, true as yes, false as no, '2026-01-31'::date as day,
        '1969-12-31 23:59:59.999999'::timestamp_ntz as ntz,
        '2026-01-01 12:00:00 +02:00'::timestamp_tz as tz, '10:11:12'::time as clock
"""
EXPECTED = (
    1,
    Decimal("12.30"),
    1.5,
    "é 🙂",
    True,
    False,
    dt.date(2026, 1, 31),
    dt.datetime(1969, 12, 31, 23, 59, 59, 999999),
    dt.datetime(2026, 1, 1, 10, 0, tzinfo=dt.UTC),
    dt.time(10, 11, 12),
)


@pytest.fixture(params=["ARROW", "JSON"])
def fetch(request: pytest.FixtureRequest, connect: Callable[..., SnowflakeConnection]) -> Run:
    """Runs a query on a connection that fetches in one of the protocol's two formats."""
    connection = connect(
        session_parameters={
            "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT": request.param,
            "TIMEZONE": "UTC",
        }
    )

    def execute(sql: str) -> list[tuple[Any, ...]]:
        return query(connection, sql)

    return execute


def test_every_type_arrives_as_it_was_sent(fetch: Run) -> None:
    assert fetch(VALUES) == [EXPECTED]


def test_null_of_every_type_arrives_as_none(fetch: Run) -> None:
    nulls = ", ".join(
        f"null::{kind}"
        for kind in (
            "number(38,0)", "number(12,2)", "float", "varchar", "boolean", "date",
            "timestamp_ntz", "timestamp_tz", "timestamp_ltz", "time", "variant",
        )
    )  # fmt: skip
    assert fetch(f"select {nulls}") == [(None,) * 11]


def test_a_null_timestamp_among_others_stays_null(fetch: Run) -> None:
    rows = fetch(
        "select column1::timestamp_ntz, column2::timestamp_tz from values "
        "('2026-01-01', null), (null, '2026-01-02T00:00:00+00:00'), (null, null) order by 1 nulls last, 2 nulls last"
    )
    assert rows == [
        (dt.datetime(2026, 1, 1), None),
        (None, dt.datetime(2026, 1, 2, tzinfo=dt.UTC)),
        (None, None),
    ]


def test_a_megabyte_of_unicode_survives(fetch: Run) -> None:
    [(text,)] = fetch("select repeat('é🙂', 350000)")
    assert text == "é🙂" * 350_000


def test_rows_arrive_in_pandas_and_arrow(connect: Callable[..., SnowflakeConnection]) -> None:
    cursor = connect().cursor()
    cursor.execute(VALUES)
    table = cursor.fetch_arrow_all()
    assert table is not None
    assert table.num_rows == 1
    cursor.execute("select 1 as a, null::timestamp_ntz as t")
    frame = cursor.fetch_pandas_all()
    assert (frame["A"][0], frame["T"].isna()[0]) == (1, True)


def test_an_empty_result_has_columns(connect: Callable[..., SnowflakeConnection]) -> None:
    cursor = connect().cursor()
    cursor.execute("select 1 as a, 'x' as b where false")
    assert [column.name for column in cursor.description] == ["A", "B"]
    assert cursor.fetchall() == []


def test_unnamed_columns_are_named_after_their_text(connect: Callable[..., SnowflakeConnection]) -> None:
    cursor = connect().cursor()
    cursor.execute("select count(*), max(1)")
    assert [column.name for column in cursor.description] == ["COUNT(*)", "MAX(1)"]


def test_bound_parameters_keep_their_types(connect: Callable[..., SnowflakeConnection]) -> None:
    connection = connect(paramstyle="qmark")
    values = (
        1,
        Decimal("2.50"),
        1.5,
        "it's",
        True,
        dt.date(2026, 1, 1),
        dt.datetime(2026, 1, 1, 1, 2, 3, 4),
        None,
    )
    sql = "select ?::number, ?::number(12,2), ?::float, ?, ?, ?::date, ?::timestamp_ntz, ?::varchar"
    assert query(connection, sql, *values) == [values]


def test_many_rows_can_be_bound_at_once(connect: Callable[..., SnowflakeConnection]) -> None:
    cursor = connect(paramstyle="qmark").cursor()
    cursor.execute("create table bound (a number, b varchar)")
    cursor.executemany("insert into bound values (?, ?)", [(1, "x"), (2, None), (3, "z")])
    assert cursor.rowcount == 3
    cursor.execute("select * from bound order by a")
    assert cursor.fetchall() == [(1, "x"), (2, None), (3, "z")]


def test_pyformat_parameters_are_quoted(run: Run) -> None:
    assert run("select %s, %s", "it's \\ 100%", 5) == [("it's \\ 100%", 5)]


def test_sums_of_decimals_are_exact(run: Run) -> None:
    run("create table money (amount number(12,2))")
    run("insert into money select 0.10 from table(generator(rowcount => 100001))")
    assert run("select sum(amount), sum(amount)::number(38,2) from money") == [(Decimal("10000.10"),) * 2]


def test_quotients_cast_to_a_decimal_are_rounded_alike(run: Run) -> None:
    assert run("select (2 / 3)::number(38,4), (10.00 / 4)::number(38,2)") == [(Decimal("0.6667"), Decimal("2.50"))]


def test_variants_are_taken_apart_by_path_and_cast(run: Run) -> None:
    run("create table events (payload variant)")
    run("""insert into events select parse_json('{"user": {"id": 7, "tags": ["a", "b"]}, "ok": true}')""")
    assert run(
        "select payload:user.id::number, payload:user.tags[1]::varchar, payload:ok::boolean, payload:none::varchar "
        "from events"
    ) == [(7, "b", True, None)]


def test_flatten_gives_a_row_for_each_element(run: Run) -> None:
    rows = run(
        """select f.value:sku::varchar from (select parse_json('[{"sku": "a"}, {"sku": "b"}]') as items) as o,
        lateral flatten(input => o.items) as f order by 1"""
    )
    assert rows == [("a",), ("b",)]


def test_a_calendar_comes_from_generator(run: Run) -> None:
    rows = run(
        "select dateadd(day, row_number() over (order by seq4()) - 1, '2024-02-28'::date) as day "
        "from table(generator(rowcount => 3)) order by 1"
    )
    assert rows == [(dt.date(2024, 2, 28),), (dt.date(2024, 2, 29),), (dt.date(2024, 3, 1),)]


def test_a_date_stays_a_date(run: Run) -> None:
    run("create table days as select '2026-03-31'::date as day")
    day = dt.date
    assert run(
        "select date_trunc('month', day), dateadd(day, 1, day), dateadd(month, -1, day), last_day(day), "
        "day + 1, to_date('2026-01-02') from days"
    ) == [
        (
            day(2026, 3, 1),
            day(2026, 4, 1),
            day(2026, 2, 28),
            day(2026, 3, 31),
            day(2026, 4, 1),
            day(2026, 1, 2),
        )
    ]


def test_timestamps_truncate_add_and_differ(run: Run) -> None:
    run("create table moments as select '2026-03-31 10:59:59'::timestamp_ntz as at")
    assert run(
        "select date_trunc('hour', m.at), dateadd(hour, 1, m.at), datediff('day', '2026-03-01'::date, m.at::date), "
        "datediff('hour', '2026-03-31 09:00:00'::timestamp_ntz, m.at) from moments as m"
    ) == [(dt.datetime(2026, 3, 31, 10), dt.datetime(2026, 3, 31, 11, 59, 59), 30, 1)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("count_if(v > 1)", 2),
        ("sum(iff(v > 1, 1, 0))", 2),
        ("listagg(k, ',') within group (order by v)", "a,b,c"),
        ("median(v)", 2),
        ("percentile_cont(0.5) within group (order by v)", 2),
        ("count(distinct k)", 3),
        ("max_by(k, v)", "c"),
        ("approx_count_distinct(k)", 3),
        ("boolor_agg(v > 2)", True),
        ("coalesce(sum(nullif(v, v)), 0)", 0),
        ("array_agg(v) within group (order by v)::varchar", "[1,2,3]"),
    ],
)
def test_aggregates_of_the_marts(run: Run, expression: str, expected: Any) -> None:
    run("create table vs as select column1 as k, column2::number(38,0) as v from values ('a', 1), ('b', 2), ('c', 3)")
    [(value,)] = run(f"select {expression} from vs")
    assert value == expected


def test_window_functions_and_qualify(run: Run) -> None:
    run("create table vs as select column1 as k, column2 as v from values ('a', 1), ('a', 2), ('b', 3), ('b', 5)")
    assert run("select k, v from vs qualify row_number() over (partition by k order by v desc) = 1 order by k") == [
        ("a", 2),
        ("b", 5),
    ]
    assert run(
        "select ntile(2) over (order by v), lag(v) over (order by v), sum(v) over (partition by k order by v "
        "rows between unbounded preceding and current row), ratio_to_report(v) over (partition by k)::number(10,2) "
        "from vs order by v"
    ) == [
        (1, None, 1, Decimal("0.33")),
        (1, 1, 3, Decimal("0.67")),
        (2, 2, 3, Decimal("0.38")),
        (2, 3, 8, Decimal("0.63")),
    ]


def test_names_that_are_reserved_elsewhere_can_be_columns(run: Run) -> None:
    run('create table odd (at timestamp_ntz, "offset" number, "lower case" varchar)')
    run("insert into odd values (null, 1, 'x')")
    assert run('select at, "offset", "lower case" from odd') == [(None, 1, "x")]
