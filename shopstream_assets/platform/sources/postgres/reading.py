"""The rows of a table of Postgres as Arrow, and what else is asked of a table that has been planned for."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.tables import Column, ColumnType, literal, quoted
from shopstream_assets.platform.sources.postgres.cursor import day_of, in_order, within
from shopstream_assets.platform.sources.postgres.errors import service_error, sqlstate
from shopstream_assets.platform.sources.postgres.keys import PostgresKeys, key_text
from shopstream_assets.platform.sources.reading import Reading, SchemaMismatch, carried_schema

if TYPE_CHECKING:
    import pyarrow as pa
    from adbc_driver_manager.dbapi import Connection, Cursor

BATCH_BYTES = 2 * 1024 * 1024
# Keys that one query looks up.
KEYS_PER_QUERY = 20_000
# Decimals of so many digits travel as the integer of their smallest unit, wider ones as text.
INTEGER_DIGITS = 18
UNDEFINED_COLUMN, NO_SUCH_TABLE = "42703", "42P01"


@dataclass(frozen=True)
class PostgresReading(Reading):
    """A reading as SQL: `source` is the relation, which it calls t, `select` the list that yields the columns.

    `reasons` are the rules, each with the condition that a row must fulfil. `kept` is the select list of a row that
    goes to quarantine: the carried columns that the table has, as they are but for personal data, of which only the
    length is shown.
    """

    connection: Connection
    source: str
    select: tuple[str, ...]
    reasons: tuple[tuple[str, str], ...]
    key_types: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def valid(self) -> str:
        """SQL condition that holds for the rows that may travel."""
        return " and ".join(f"({sql})" for _, sql in self.reasons) or "true"

    def within(self, window: Window) -> str:
        """SQL condition on the cursor for the window."""
        return within(self.table, window)

    def scan(self, window: Window) -> Iterator[pa.RecordBatch]:
        """The valid rows of the window in the carried types, ordered by cursor. One scan, bounded batches."""
        # Named by the table: a name of the select list would hide the column. Rows of one moment come in any order
        # here; sorting them by key in Postgres costs a fifth of the scan.
        return self._scan(window, self.columns, f"order by {in_order(self.table, 't')}")

    def versions(self, window: Window) -> pa.Table:
        """Key and cursor of the valid rows of the window, in any order."""
        import pyarrow as pa

        columns = self.version_columns
        return pa.Table.from_batches(self._scan(window, columns), schema=carried_schema(columns))

    def rejected(self, window: Window) -> Iterator[tuple[dt.date, str, str]]:
        """The rows of the window that must not travel: (day, reasons, its carried columns as one line of JSON)."""
        cases = ", ".join(f"case when not ({sql}) then {literal(reason)} end" for reason, sql in self.reasons)
        with self.connection.cursor() as cursor:
            with _as_planned(self.source):
                cursor.execute(
                    f"select {day_of(self.table, window)}, "
                    # Not jsonb, which refuses what json and text may hold; a column may be called t. A json value keeps
                    # the newlines it was written with, all of them outside its strings.
                    f"array_to_string(array[{cases}], '; '), "
                    f"translate((select to_json(kept.*)::text from (select {', '.join(self.kept)}) as kept), "
                    f"e'\\n\\r', '  ') "
                    f"from {self.source} as t where {self.within(window)} and not ({self.valid}) "
                    f"order by {in_order(self.table, 't')}"
                )
            for batch in batches(cursor):
                for row in batch.to_pylist():
                    day, reasons, content = row.values()
                    yield day, reasons, content

    def looked_up(self, keys: pa.Table, start: dt.date) -> tuple[pa.Table, pa.Table]:
        """What there is of some keys, wherever their cursor lies: the rows that may travel, and the keys of others."""
        import pyarrow as pa

        schema, key_schema = carried_schema(self.columns), carried_schema(self.key_columns)
        valid, rejected = [schema.empty_table()], [key_schema.empty_table()]
        names = ", ".join(quoted(name) for name in self.table.primary_key)
        types = ", ".join(
            f"{quoted(name)} {kind}" for name, kind in zip(self.table.primary_key, self.key_types, strict=True)
        )
        ever = Window(start, start + ONE_DAY, open_ended=True, from_start=True)
        travels = f"({self.valid} and {self.within(ever)})"
        for first in range(0, len(keys), KEYS_PER_QUERY):
            wanted = json.dumps(keys.slice(first, KEYS_PER_QUERY).to_pylist(), default=str)
            found = (
                f"from {self.source} as t where ({names}) in (select {names} from jsonb_to_recordset($1::jsonb) as "
                f"k({types})) and {travels}"
            )
            valid.append(self._fetched(f"select {', '.join(self.select)} {found}", wanted, self.columns))
            keys_alone = f"select {self._selected(self.key_columns)} {found} is not true"
            rejected.append(self._fetched(keys_alone, wanted, self.key_columns))
        return pa.concat_tables(valid), pa.concat_tables(rejected)

    def keys(self, everything: Window) -> PostgresKeys:
        """The keys of all rows that may travel."""
        key = " || '|' || ".join(key_text(self.table.column(name)) for name in self.table.primary_key)
        return PostgresKeys(
            self.connection,
            f"select {key} as key_text, {day_of(self.table, everything)} as day from {self.source} as t "
            f"where {self.within(everything)} and {self.valid}",
        )

    def rows_of(self, query: str, window: Window) -> list[tuple[Any, ...]]:
        """The rows of a query, in which {rows} stands for the valid rows of the window."""
        rows = f"(select * from {self.source} as t where {self.within(window)} and {self.valid}) as rows"
        with self.connection.cursor() as cursor:
            cursor.execute(query.replace("{rows}", rows))
            return cursor.fetchall()

    def _scan(self, window: Window, columns: tuple[Column, ...], order: str = "") -> Iterator[pa.RecordBatch]:
        schema = carried_schema(columns)
        with self.connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            with _as_planned(self.source):
                cursor.execute(
                    f"select {self._selected(columns)} from {self.source} as t "
                    f"where {self.within(window)} and {self.valid} {order}"
                )
            for batch in batches(cursor):
                if batch.num_rows:
                    yield _carried(batch, columns, schema)

    def _fetched(self, query: str, keys: str, columns: tuple[Column, ...]) -> pa.Table:
        import pyarrow as pa

        schema = carried_schema(columns)
        with self.connection.cursor() as cursor:
            cursor.execute(query, (keys,))
            return pa.Table.from_batches(
                [_carried(batch, columns, schema) for batch in batches(cursor) if batch.num_rows], schema=schema
            )

    def _selected(self, columns: tuple[Column, ...]) -> str:
        by_name = dict(zip((column.name for column in self.columns), self.select, strict=True))
        return ", ".join(by_name[column.name] for column in columns)


def _carried(batch: pa.RecordBatch, columns: tuple[Column, ...], schema: pa.Schema) -> pa.RecordBatch:
    """A batch as Postgres handed it over, in the types that its columns travel in."""
    import pyarrow as pa

    return pa.RecordBatch.from_arrays(
        [_exact(batch.column(n), column.type) for n, column in enumerate(columns)], schema=schema
    )


def _exact(values: pa.Array, kind: ColumnType) -> pa.Array:
    """The column in its declared type; a decimal arrives as an integer of its smallest unit, a wide one as text."""
    import pyarrow as pa

    if kind.name == "numeric" and not is_wide(kind):
        return values.cast(pa.decimal128(19, 0)).view(kind.arrow)
    return values if values.type == kind.arrow else values.cast(kind.arrow)


@contextmanager
def _as_planned(source: str) -> Iterator[None]:
    """Say so where the table is no longer the one that was planned for."""
    import adbc_driver_postgresql.dbapi as adbc

    try:
        yield
    except adbc.Error as error:
        if sqlstate(error) not in (UNDEFINED_COLUMN, NO_SUCH_TABLE):
            raise
        raise SchemaMismatch(
            f"{source} changed after it was looked at: {service_error(error).found}",
            "nothing, if it passes by itself: the next attempt looks at the table again; else correct the rule of the "
            "table that names what is not there.",
            retry=True,
        ) from None


def is_wide(kind: ColumnType) -> bool:
    """Whether a decimal of the type may have more digits than an integer of 64 bits."""
    return (kind.precision or 0) > INTEGER_DIGITS


def batches(cursor: Cursor) -> Iterator[pa.RecordBatch]:
    """The result of the cursor's statement, a batch at a time; raises ServiceError when it breaks off."""
    from pyarrow import ArrowException

    reader = cursor.fetch_record_batch()
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        # Not the driver's errors but Arrow's, of which one is an OSError.
        except (ArrowException, OSError) as error:
            raise service_error(error) from None
        yield batch
