import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pyarrow as pa
import pytest
from contract_account import Account, Run
from snowflake.connector.errors import Error

OPTIONS = """
    file_format = (type = parquet use_logical_type = true)
    match_by_column_name = case_insensitive
    include_metadata = (_source_file = metadata$filename, _source_row = metadata$file_row_number,
                        _loaded_at = metadata$start_scan_time)
    on_error = abort_statement
"""
TABLE = """
    create table orders (
        order_id number(38,0) not null, total number(12,2), note varchar, placed_at timestamp_ntz,
        placed_on date, is_paid boolean, coupon varchar default 'none',
        _source_file varchar, _source_row number(38,0), _loaded_at timestamp_ntz
    )
"""
PLACED = dt.datetime(2026, 1, 1, 10, 30, 0, 123456)


def orders(first: int, count: int) -> pa.Table:
    return pa.table(
        {
            "order_id": pa.array(range(first, first + count), pa.int64()),
            "total": pa.array([Decimal("10.25")] * count, pa.decimal128(12, 2)),
            "note": ["grün 订单"] * count,
            "placed_at": pa.array([PLACED] * count, pa.timestamp("us", "UTC")),
            "placed_on": pa.array([PLACED.date()] * count, pa.date32()),
            "is_paid": [True] * count,
            "not_in_the_table": ["x"] * count,
        }
    )


@pytest.fixture
def lake(account: Account, prefix: str, run: Run) -> str:
    """Two files of one day behind the stage, and an empty table for them."""
    account.put(f"{prefix}/orders/dt=2026-01-01/a.parquet", orders(1, 3))
    account.put(f"{prefix}/orders/dt=2026-01-01/b.parquet", orders(4, 2))
    run(TABLE)
    return prefix


FILES = "files = ('dt=2026-01-01/a.parquet', 'dt=2026-01-01/b.parquet')"
COPY = f"copy into orders from @lake/orders/ {FILES} {OPTIONS}"


def test_copy_loads_named_files_by_column_name_with_their_metadata(lake: str, run: Run) -> None:
    run(COPY)
    rows = run("select * exclude (_loaded_at) from orders order by order_id")
    name = f"{lake}/orders/dt=2026-01-01/"
    day = PLACED.date()
    assert rows[0] == (
        1,
        Decimal("10.25"),
        "grün 订单",
        PLACED,
        day,
        True,
        None,
        f"{name}a.parquet",
        rows[0][8],
    )
    assert [row[7:] for row in rows] == [
        *((f"{name}a.parquet", number) for number in (1, 2, 3)),
        *((f"{name}b.parquet", number) for number in (1, 2)),
    ]


def test_copy_reports_each_file_with_its_rows(lake: str, run: Run) -> None:
    reported = run(COPY)
    assert sorted((row[0].rpartition("/")[2], *row[1:4]) for row in reported) == [
        ("a.parquet", "LOADED", 3, 3),
        ("b.parquet", "LOADED", 2, 2),
    ]
    assert {row[5] for row in reported} == {0}


def test_columns_missing_in_the_file_become_null_even_with_a_default(lake: str, run: Run) -> None:
    run(COPY)
    assert run("select distinct coupon from orders") == [(None,)]


def test_the_scan_time_is_one_utc_moment_for_the_statement(lake: str, run: Run) -> None:
    run(COPY)
    [(loaded_at, now)] = run("select distinct _loaded_at, sysdate() from orders")
    assert abs((now - loaded_at).total_seconds()) < 60


def test_files_loaded_before_are_skipped(lake: str, run: Run) -> None:
    run(COPY)
    run(COPY)
    assert run("select count(*) from orders") == [(5,)]


def test_force_loads_again(lake: str, run: Run) -> None:
    run(COPY)
    run(f"{COPY} force = true")
    assert run("select count(*) from orders") == [(10,)]


def test_force_false_does_not_force(lake: str, run: Run) -> None:
    run(COPY)
    run(f"{COPY} force = false")
    assert run("select count(*) from orders") == [(5,)]


def test_a_pattern_selects_files_and_load_history_applies_to_it(lake: str, run: Run) -> None:
    copy = f"copy into orders from @lake/orders/ pattern = '.*b[.]parquet' {OPTIONS}"
    assert len(run(copy)) == 1
    assert run("select count(*) from orders") == [(2,)]
    assert run(copy) == [("Copy executed with 0 files processed.",)]


def test_create_table_if_not_exists_keeps_the_load_history(lake: str, run: Run) -> None:
    run(COPY)
    run(TABLE.replace("create table", "create table if not exists"))
    run(COPY)
    assert run("select count(*) from orders") == [(5,)]


def test_a_replaced_table_has_no_load_history(lake: str, run: Run) -> None:
    run(COPY)
    run(TABLE.replace("create table", "create or replace table"))
    run(COPY)
    assert run("select count(*) from orders") == [(5,)]


def test_a_truncated_table_has_no_load_history(lake: str, run: Run) -> None:
    run(COPY)
    run("truncate table orders")
    run(COPY)
    assert run("select count(*) from orders") == [(5,)]


def test_a_rolled_back_copy_leaves_neither_rows_nor_history(lake: str, run: Run) -> None:
    run("begin")
    run(COPY)
    run("rollback")
    assert run("select count(*) from orders") == [(0,)]
    assert {row[1] for row in run(COPY)} == {"LOADED"}


def test_delete_and_copy_are_one_transaction(lake: str, run: Run) -> None:
    run(COPY)
    run("begin")
    run("delete from orders")
    run(f"{COPY} force = true")
    assert run("select count(*) from orders") == [(5,)]
    run("rollback")
    assert run("select count(*), count(distinct _loaded_at) from orders") == [(5, 1)]
    run("begin")
    run("delete from orders where order_id <= 3")
    run(f"copy into orders from @lake/orders/ files = ('dt=2026-01-01/a.parquet') {OPTIONS} force = true")
    run("commit")
    assert run("select count(*), count(distinct _loaded_at) from orders") == [(5, 2)]


def test_a_transformation_picks_columns_of_the_file(lake: str, run: Run) -> None:
    run("create table picked (id number(38,0), shouted varchar, file varchar, line number(38,0), absent varchar)")
    run(
        "copy into picked (id, shouted, file, line, absent) from ("
        "  select $1:order_id::number(38,0), upper($1:note::varchar), metadata$filename, metadata$file_row_number,"
        "         $1:nowhere::varchar"
        "  from @lake/orders/) "
        "file_format = (type = parquet)"
    )
    rows = run("select id, shouted, split_part(file, '/', -1), line, absent from picked order by id")
    assert rows[0] == (1, "GRÜN 订单", "a.parquet", rows[0][3], None)
    assert len(rows) == 5


def test_a_transformation_can_take_the_day_from_the_file_name(lake: str, run: Run) -> None:
    run("create table dated (id number(38,0), _partition_date date, fixed date)")
    run(
        "copy into dated (id, _partition_date, fixed) from ("
        "  select $1:order_id, to_date(regexp_substr(metadata$filename, 'dt=([0-9-]+)', 1, 1, 'e')), '2026-02-03'::date"
        "  from @lake/orders/) "
        "files = ('dt=2026-01-01/a.parquet') file_format = (type = parquet) force = true"
    )
    assert run("select distinct _partition_date, fixed from dated") == [(dt.date(2026, 1, 1), dt.date(2026, 2, 3))]


def test_files_of_different_schemas_load_in_one_copy(account: Account, lake: str, run: Run) -> None:
    as_text = orders(100, 1).drop_columns(["total"]).append_column("total", pa.array(["7.50"]))
    large = 9_007_199_254_740_993  # no float can hold it
    as_float = orders(large, 1).drop_columns(["total"]).append_column("total", pa.array([8.5]))
    account.put(f"{lake}/mixed/text.parquet", as_text)
    account.put(f"{lake}/mixed/float.parquet", as_float)
    run(f"copy into orders from @lake/mixed/ {OPTIONS}")
    assert run("select order_id, total from orders order by 1") == [
        (100, Decimal("7.50")),
        (large, Decimal("8.50")),
    ]


def test_a_list_of_a_file_becomes_an_array_of_its_elements(account: Account, lake: str, run: Run) -> None:
    lists = [["a", None, 'q"{,\\🙂'], [], None]
    kind = pa.list_(pa.field("element", pa.string()))
    account.put(f"{lake}/lists/a.parquet", pa.table({"id": [1, 2, 3], "tags": pa.array(lists, kind)}))
    run("create table titles (id number(38,0), tags array)")
    run(
        "copy into titles from @lake/lists/ file_format = (type = parquet use_logical_type = true) "
        "match_by_column_name = case_insensitive"
    )
    assert [
        (id, json.loads(tags) if tags else None) for id, tags in run("select id, tags from titles order by id")
    ] == [
        (1, lists[0]),
        (2, []),
        (3, None),
    ]
    assert run("select id, array_size(tags), tags[2]::varchar from titles order by id") == [
        (1, 3, 'q"{,\\🙂'),
        (2, 0, None),
        (3, None, None),
    ]


def test_bytes_times_of_day_wide_decimals_and_lists_of_numbers_arrive_as_they_were(
    account: Account, lake: str, run: Run
) -> None:
    wide = Decimal("-1234567890123456789012345678.0123456789")
    rows = {
        "id": pa.array([1, 2, 3], pa.int64()),
        # No UTF-8.
        "content": pa.array([b"\x00\xff\x80\xc3(", b"", None], pa.binary()),
        "clock": pa.array([dt.time(23, 59, 59, 999999), dt.time(), None], pa.time64("us")),
        "wide": pa.array([wide, Decimal("0.0000000001"), None], pa.decimal128(38, 10)),
        "numbers": pa.array([[1, None, -(2**63)], [], None], pa.list_(pa.field("element", pa.int64()))),
    }
    account.put(f"{lake}/kinds/a.parquet", pa.table(rows))
    run("create table kinds (id number(38,0), content binary, clock time(6), wide number(38,10), numbers array)")
    run(
        "copy into kinds from @lake/kinds/ file_format = (type = parquet use_logical_type = true "
        "binary_as_text = false) match_by_column_name = case_insensitive"
    )
    found = run("select content, clock, wide, numbers from kinds order by id")
    assert [
        (content if content is None else bytes(content), clock, number, numbers and json.loads(numbers))
        for content, clock, number, numbers in found
    ] == list(zip(*(rows[name].to_pylist() for name in ("content", "clock", "wide", "numbers")), strict=True))


def test_file_names_with_odd_characters_load(account: Account, lake: str, run: Run) -> None:
    name = "dt=2026-01-01/it's [1] {a} 100%.parquet"
    account.put(f"{lake}/odd/{name}", orders(1, 1))
    quoted = name.replace("'", "''")
    run(f"copy into orders from @lake/odd/ files = ('{quoted}') {OPTIONS}")
    assert run("select _source_file from orders") == [(f"{lake}/odd/{name}",)]


def test_an_empty_file_is_loaded_with_no_rows(account: Account, lake: str, run: Run) -> None:
    account.put(f"{lake}/none/empty.parquet", orders(1, 0))
    [(_, status, *counts)] = [row[:4] for row in run(f"copy into orders from @lake/none/ {OPTIONS}")]
    assert (status, counts) == ("LOADED", [0, 0])


def test_a_year_of_daily_files_loads_in_one_statement(account: Account, lake: str, run: Run) -> None:
    days = [f"dt={dt.date(2025, 1, 1) + dt.timedelta(days=day)}" for day in range(365)]
    keys = [f"{lake}/year/{day}/p.parquet" for day in days]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(account.put, keys, [orders(number * 10, 2) for number in range(365)]))
    files = ", ".join(f"'{day}/p.parquet'" for day in days)
    assert len(run(f"copy into orders from @lake/year/ files = ({files}) {OPTIONS}")) == 365
    assert run("select count(*), count(distinct _source_file) from orders") == [(730, 365)]


@pytest.mark.parametrize(
    ("content", "errno"),
    [
        pytest.param(None, 91016, id="missing"),
        pytest.param(b"", None, id="no bytes"),
        pytest.param(b"PAR1 is not enough", None, id="no Parquet"),
        pytest.param(pa.table({"order_id": ["abc"]}), 100038, id="text for a number"),
        pytest.param(
            pa.table({"order_id": [1], "total": pa.array([Decimal("12345678901.00")], pa.decimal128(14, 2))}),
            None,
            id="decimal overflow",
        ),
        pytest.param(pa.table({"order_id": [1], "placed_on": ["not a day"]}), 100040, id="text for a date"),
        pytest.param(pa.table({"order_id": pa.array([None], pa.int64())}), None, id="NULL in NOT NULL"),
    ],
)
def test_a_bad_file_stops_the_copy_and_is_named(
    account: Account, lake: str, run: Run, content: pa.Table | bytes | None, errno: int | None
) -> None:
    account.put(f"{lake}/bad/good.parquet", orders(1, 10))
    if content is not None:
        account.put(f"{lake}/bad/bad.parquet", content)
    with pytest.raises(Error) as failure:
        run(f"copy into orders from @lake/bad/ files = ('good.parquet', 'bad.parquet') {OPTIONS}")
    if account.is_local:  # Snowflake's own numbers differ by release
        assert errno in (None, failure.value.errno)
        if "NULL result" not in str(failure.value):
            assert "bad.parquet" in str(failure.value)
    assert run("select count(*) from orders") == [(0,)]


def test_copy_into_an_unknown_table_or_from_an_unknown_stage_is_an_error(lake: str, run: Run) -> None:
    with pytest.raises(Error, match="does not exist"):
        run(f"copy into nowhere from @lake/orders/ {OPTIONS}")
    with pytest.raises(Error, match="does not exist"):
        run(f"copy into orders from @nowhere/orders/ {OPTIONS}")


def test_the_load_history_is_visible(lake: str, run: Run) -> None:
    run(COPY)
    rows = run("select file_name, table_name, status, row_count from information_schema.load_history order by 1")
    mine = [row for row in rows if row[0].startswith("s3://") and f"/{lake}/" in row[0]]
    assert [(row[1], row[2].upper(), row[3]) for row in mine] == [
        ("ORDERS", "LOADED", 3),
        ("ORDERS", "LOADED", 2),
    ]


def test_creating_a_stage_again_changes_nothing(account: Account, lake: str, run: Run) -> None:
    run("create stage if not exists lake url = 's3://elsewhere/'")
    listed = [row[0] for row in run("list @lake/orders/")]
    assert listed == [f"s3://{account.bucket}/{lake}/orders/dt=2026-01-01/{name}.parquet" for name in ("a", "b")]
