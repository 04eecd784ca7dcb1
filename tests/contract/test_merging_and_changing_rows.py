from collections.abc import Callable

import pytest
from contract_account import Account, Run
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import DatabaseError, Error, ProgrammingError

# as dbt-snowflake writes it: INSERT's values carry no qualifier
DBT_MERGE = """
    merge into target as DBT_INTERNAL_DEST
    using source as DBT_INTERNAL_SOURCE
    on ((DBT_INTERNAL_SOURCE.id = DBT_INTERNAL_DEST.id))
    when matched then update set "ID" = DBT_INTERNAL_SOURCE."ID", "V" = DBT_INTERNAL_SOURCE."V"
    when not matched then insert ("ID", "V") values ("ID", "V")
"""


@pytest.fixture
def tables(run: Run) -> None:
    run("create table target (id number(38,0), v varchar)")
    run("insert into target values (1, 'old'), (2, 'old'), (3, 'old')")
    run("create table source (id number(38,0), v varchar, op varchar)")
    run("insert into source values (2, 'new', 'U'), (3, null, 'D'), (4, 'new', 'I')")


def rows(run: Run) -> list[tuple[object, ...]]:
    return run("select id, v from target order by id")


def test_merge_in_the_form_of_dbt_updates_and_inserts(tables: None, run: Run) -> None:
    assert run(DBT_MERGE) == [(2 - 1, 2)]
    assert rows(run) == [(1, "old"), (2, "new"), (3, None), (4, "new")]


def test_merge_with_several_clauses_takes_the_first_that_applies(tables: None, run: Run) -> None:
    counts = run(
        "merge into target as t using (select * from source) as s on t.id = s.id "
        "when matched and s.op = 'D' then delete "
        "when matched then update set t.v = s.v "
        "when not matched and s.op = 'I' then insert (id, v) values (s.id, s.v)"
    )
    assert counts == [(1, 1, 1)]
    assert rows(run) == [(1, "old"), (2, "new"), (4, "new")]


def test_merge_reports_its_rows_to_the_connector(tables: None, connect: Callable[..., SnowflakeConnection]) -> None:
    cursor = connect().cursor()
    cursor.execute(DBT_MERGE)
    assert cursor.rowcount == 3


def test_merge_refuses_a_target_row_matched_twice(account: Account, tables: None, run: Run) -> None:
    run("insert into source values (2, 'newer', 'U')")
    with pytest.raises(DatabaseError, match=r"(?i)duplicate row detected") as failure:
        run(DBT_MERGE)
    assert failure.value.errno == 100090
    assert rows(run) == [(1, "old"), (2, "old"), (3, "old")]


def test_merge_with_only_inserts_reports_one_count(tables: None, run: Run) -> None:
    assert run(
        "merge into target t using source s on t.id = s.id when not matched then insert (id, v) values (s.id, s.v)"
    ) == [(1,)]


def test_a_failing_merge_changes_nothing(tables: None, run: Run) -> None:
    with pytest.raises(Error, match=r"100038|not recognized"):
        run(
            "merge into target t using source s on t.id = s.id "
            "when matched then update set v = 'half' "
            "when not matched then insert (id, v) values (s.v::number, s.v)"
        )
    assert rows(run) == [(1, "old"), (2, "old"), (3, "old")]


def test_update_delete_and_insert_report_their_rows(tables: None, connect: Callable[..., SnowflakeConnection]) -> None:
    cursor = connect().cursor()
    for statement, count in [
        ("update target set v = 'x' where id > 1", 2),
        ("update target set v = s.v from source s where s.id = target.id", 2),
        ("delete from target using source s where s.id = target.id", 2),
        ("insert into target select id, v from source", 3),
        ("insert overwrite into target values (9, 'z')", 1),
        ("delete from target where false", 0),
    ]:
        cursor.execute(statement)
        assert cursor.rowcount == count, statement
    cursor.execute("select * from target")
    assert cursor.fetchall() == [(9, "z")]


def test_keys_are_recorded_but_not_enforced(run: Run) -> None:
    run("create table keyed (id number(38,0) primary key, code varchar unique, foreign key (id) references keyed (id))")
    run("insert into keyed values (1, 'a'), (1, 'a')")
    assert run("select count(*) from keyed") == [(2,)]


def test_not_null_is_enforced(run: Run) -> None:
    run("create table strict (id number(38,0) not null, v varchar)")
    with pytest.raises(Error, match=r"(?i)null result in a non-nullable column") as failure:
        run("insert into strict (v) values ('x')")
    assert failure.value.errno == 100072


def test_defaults_apply_to_columns_left_out(run: Run) -> None:
    run("create table defaults (id number(38,0), state varchar default 'new', n number(10,2) default 1.5)")
    run("insert into defaults (id) values (1)")
    assert run("select state, n::varchar from defaults") == [("new", "1.50")]


def test_temporary_tables_are_seen_by_their_session_alone(
    account: Account, schema: str, connect: Callable[..., SnowflakeConnection], run: Run
) -> None:
    name = f"{account.database}.{schema}.work"
    other = connect().cursor()
    run(f"create or replace temporary table {name} as (select 1 as id, 'mine'::varchar as v)")
    assert run(f"select work.v from {name}") == [("mine",)]
    assert [row[0] for row in run(f"describe table {name}")] == ["ID", "V"]
    with pytest.raises(ProgrammingError, match="does not exist"):
        other.execute(f"select * from {name}")
    run(f"insert into {name} values (2, 'too')")
    run(f"drop table if exists {name}")
    with pytest.raises(ProgrammingError, match="does not exist"):
        run(f"select * from {name}")
