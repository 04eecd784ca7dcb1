import pytest
from contract_account import Account, Run
from snowflake.connector.errors import ProgrammingError


@pytest.fixture
def objects(run: Run) -> None:
    run(
        "create table orders (order_id number(38,0) not null comment 'the key', total number(12,2), "
        "code varchar(20), placed_at timestamp_ntz, seen_at timestamp_tz, paid boolean, payload variant, ratio float, "
        "day date) comment = 'one row per order'"
    )
    run("create view big_orders as select order_id, total from orders where total > 100")


def test_describe_tells_declared_types(objects: None, run: Run) -> None:
    assert [(row[0], row[1], row[3]) for row in run("describe table orders")] == [
        ("ORDER_ID", "NUMBER(38,0)", "N"),
        ("TOTAL", "NUMBER(12,2)", "Y"),
        ("CODE", "VARCHAR(20)", "Y"),
        ("PLACED_AT", "TIMESTAMP_NTZ(9)", "Y"),
        ("SEEN_AT", "TIMESTAMP_TZ(9)", "Y"),
        ("PAID", "BOOLEAN", "Y"),
        ("PAYLOAD", "VARIANT", "Y"),
        ("RATIO", "FLOAT", "Y"),
        ("DAY", "DATE", "Y"),
    ]
    assert [row[0] for row in run("describe view big_orders")] == ["ORDER_ID", "TOTAL"]


def test_describe_of_nothing_is_an_error(run: Run) -> None:
    with pytest.raises(ProgrammingError, match="does not exist") as failure:
        run("describe table nowhere")
    assert failure.value.errno == 2003


def test_show_objects_lists_tables_and_views(account: Account, schema: str, objects: None, run: Run) -> None:
    rows = run(f"show objects in {account.database}.{schema} limit 10000")
    assert [row[1:5] for row in rows] == [
        ("BIG_ORDERS", account.database, schema, "VIEW"),
        ("ORDERS", account.database, schema, "TABLE"),
    ]
    assert len(run(f"show objects in {account.database}.{schema} limit 1")) == 1
    assert [row[1] for row in run(f"show objects in {account.database}.{schema} starts with 'ORD' limit 1")] == [
        "ORDERS"
    ]
    assert [row[1] for row in run("show tables like 'ord%'")] == ["ORDERS"]
    assert [row[1] for row in run("show views")] == ["BIG_ORDERS"]


def test_show_objects_in_an_unknown_schema_is_an_error(account: Account, run: Run) -> None:
    with pytest.raises(ProgrammingError, match=r"(?i)does not exist"):
        run(f"show objects in {account.database}.nowhere limit 10")


def test_information_schema_has_tables_and_columns(account: Account, schema: str, objects: None, run: Run) -> None:
    assert run(
        f"select table_name, table_type, comment from {account.database}.information_schema.tables "
        f"where table_schema = '{schema}' order by 1"
    ) == [("BIG_ORDERS", "VIEW", None), ("ORDERS", "BASE TABLE", "one row per order")]
    assert run(
        "select column_name, data_type, numeric_precision, numeric_scale, character_maximum_length, "
        "is_nullable, comment "
        f"from information_schema.columns where table_schema = '{schema}' and table_name = 'ORDERS' "
        "and ordinal_position <= 3 order by ordinal_position"
    ) == [
        ("ORDER_ID", "NUMBER", 38, 0, None, "NO", "the key"),
        ("TOTAL", "NUMBER", 12, 2, None, "YES", None),
        ("CODE", "TEXT", None, None, 20, "YES", None),
    ]
    assert run(f"select schema_name from information_schema.schemata where schema_name = '{schema}'") == [(schema,)]


def test_comments_are_set_in_all_the_ways_dbt_does(account: Account, schema: str, objects: None, run: Run) -> None:
    name = f"{account.database}.{schema}"
    run(f"comment on table {name}.orders is $$it's about orders$$")
    run(f"""alter table {name}.orders alter "TOTAL" COMMENT $$in 'EUR'$$, "CODE" COMMENT $$$$""")
    run(f"comment on view {name}.big_orders is 'large'")
    run(f"""alter view {name}.big_orders alter "TOTAL" COMMENT $$gross$$""")
    assert run(
        f"select table_name, comment from information_schema.tables where table_schema = '{schema}' order by 1"
    ) == [("BIG_ORDERS", "large"), ("ORDERS", "it's about orders")]
    assert run(
        f"select table_name, comment from information_schema.columns where table_schema = '{schema}' "
        "and column_name = 'TOTAL' order by 1"
    ) == [("BIG_ORDERS", "gross"), ("ORDERS", "in 'EUR'")]


def test_columns_are_added_dropped_renamed_and_widened(objects: None, run: Run) -> None:
    run('alter table orders add column "NOTE" varchar(16777216), "COUNT" number(38,0)')
    run("alter table orders add column if not exists note varchar")
    run("alter table orders drop column paid, payload")
    run("alter table orders rename column ratio to share")
    run('alter table orders alter "CODE" set data type varchar(40)')
    described = {row[0]: row[1] for row in run("describe table orders")}
    assert described["NOTE"] == "VARCHAR(16777216)"
    assert described["CODE"] == "VARCHAR(40)"
    assert set(described) >= {"COUNT", "SHARE"}
    assert not {"PAID", "PAYLOAD", "RATIO"} & set(described)


def test_create_table_as_with_columns_keeps_types_and_not_null(run: Run) -> None:
    run("create or replace table made (id number(10,0) not null, name varchar(5)) as (select 1 as a, 'x' as b)")
    assert [(row[0], row[1], row[3]) for row in run("describe table made")] == [
        ("ID", "NUMBER(10,0)", "N"),
        ("NAME", "VARCHAR(5)", "Y"),
    ]
    run("create or replace table made (id number(10,0) not null, name varchar(5)) as (select id + 1, name from made)")
    assert run("select * from made") == [(2, "x")]


def test_create_or_replace_keeps_the_old_table_when_the_query_fails(run: Run) -> None:
    run("create table kept as select 1 as a")
    with pytest.raises(ProgrammingError):
        run("create or replace table kept as select 'abc'::number as a")
    assert run("select * from kept") == [(1,)]


def test_a_clone_and_a_like_have_the_columns(run: Run) -> None:
    run("create table original as select 1::number(10,2) as a")
    run("create table copied clone original")
    run("create table empty_copy like original")
    assert run("select (select count(*) from copied), (select count(*) from empty_copy)") == [(1, 0)]
