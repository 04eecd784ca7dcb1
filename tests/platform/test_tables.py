import pytest

from shopstream_assets.platform.declare.tables import (
    BIGINT,
    MONEY,
    TEXT,
    TIMESTAMP,
    Column,
    SourceTable,
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
    with pytest.raises(ValueError, match="at most 18 digits exactly"):
        numeric(19, 2)


def test_identifiers_are_quoted_in_the_ddl() -> None:
    create, index = postgres_ddl(table(ID, CHANGED, Column('a"b', MONEY, "", nullable=True)), 'my"schema')
    assert '"my""schema"."t"' in create
    assert '"a""b" numeric(12,2)' in create
    assert '"t_updated_at_idx"' in index
