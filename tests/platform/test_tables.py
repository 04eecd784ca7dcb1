import pytest

from shopstream_assets.platform.declare.tables import (
    BIGINT,
    DATE,
    MONEY,
    TEXT,
    TEXTS,
    TIMESTAMP,
    Column,
    ColumnType,
    SourceTable,
    array_of,
    numeric,
    postgres_ddl,
)

ID = Column("id", BIGINT, "Key.")
CHANGED = Column("updated_at", TIMESTAMP, "Cursor.")


def table(*columns: Column, **changes: object) -> SourceTable:
    return SourceTable(name="t", grain="One row.", description="", columns=columns, owner="team:a", **changes)  # type: ignore[arg-type]


def test_a_table_without_its_cursor_is_refused() -> None:
    with pytest.raises(ValueError, match="table t: 'updated_at' is a key or cursor but not a declared column"):
        table(ID)


def test_a_column_declared_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="table t: a column is declared twice"):
        table(ID, ID, CHANGED)


def test_a_cursor_that_is_no_timestamp_is_refused() -> None:
    with pytest.raises(ValueError, match="its cursor 'updated_at' must be a timestamptz"):
        table(ID, Column("updated_at", TEXT, "Cursor."))


def test_a_decimal_too_wide_to_travel_exactly_is_refused() -> None:
    for precision, scale in ((39, 2), (0, 0), (5, 6), (5, -2)):
        with pytest.raises(ValueError, match=f"numeric\\({precision},{scale}\\): .* can be declared as TEXT"):
            numeric(precision, scale)


@pytest.mark.parametrize("element", [MONEY, TIMESTAMP, DATE, TEXTS])
def test_an_array_of_what_has_no_list_is_refused_with_what_to_declare(element: ColumnType) -> None:
    with pytest.raises(ValueError, match="declare it as TEXTS, each element as Postgres writes it"):
        array_of(element)


def test_identifiers_are_quoted_in_the_ddl() -> None:
    create, index = postgres_ddl(table(ID, CHANGED, Column('a"b', MONEY, "", nullable=True)), 'my"schema')
    assert '"my""schema"."t"' in create
    assert '"a""b" numeric(12,2)' in create
    assert '"t_updated_at_idx"' in index
