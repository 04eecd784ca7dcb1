"""The one declaration of a source table, from which everything else about it follows.

A `SourceTable` yields the Postgres DDL of the demo, the Arrow schema of its lake objects, the staging DDL, the rules
that send a row to quarantine, the assets and their checks. Adding a table to the platform is adding one declaration.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from shopstream_assets.platform.declare.settings import is_time_zone

if TYPE_CHECKING:
    import pyarrow as pa

# Snowflake's NUMBER has no more.
MOST_DIGITS = 38
Undeclared = Literal["carry", "ignore", "refuse"]
TypeName = Literal[
    "bigint",
    "integer",
    "smallint",
    "numeric",
    "real",
    "double precision",
    "text",
    "boolean",
    "timestamptz",
    "timestamp",
    "date",
    "time",
    "uuid",
    "jsonb",
    "bytea",
    "bigint[]",
    "integer[]",
    "smallint[]",
    "text[]",
    "boolean[]",
    "uuid[]",
]


# Types whose values have no one text, or no order, on both sides: a key of them could not be compared. Two local times
# may be one moment.
NO_KEY = ("real", "double precision", "timestamp", "time", "bytea")


@dataclass(frozen=True)
class ColumnType:
    """A type in the three systems a column passes through. Times are UTC with microseconds everywhere below Postgres.

    `time_zone` is that of a `timestamp`, which Postgres keeps without one.
    """

    name: TypeName
    precision: int | None = None
    scale: int | None = None
    time_zone: str | None = None

    @property
    def element(self) -> ColumnType | None:
        """The type of an array's elements; None of any other type."""
        return ColumnType(self.name.removesuffix("[]")) if self.name.endswith("[]") else None  # type: ignore[arg-type]

    @property
    def is_key(self) -> bool:
        """Whether a column of it may be of a key."""
        return self.name not in NO_KEY and not self.element

    @property
    def is_moment(self) -> bool:
        """Whether its values are moments, so that each lies on one UTC day."""
        return self.name in ("timestamptz", "timestamp")

    @property
    def postgres(self) -> str:
        """As written in Postgres DDL."""
        return f"numeric({self.precision},{self.scale})" if self.name == "numeric" else self.name

    @property
    def snowflake(self) -> str:
        """As written in Snowflake DDL. Timestamps carry no zone there: every session and every value is UTC."""
        if self.name == "numeric":
            return f"number({self.precision},{self.scale})"
        if self.element:
            return "array"
        return {
            "bigint": "number(38,0)",
            "integer": "number(38,0)",
            "smallint": "number(38,0)",
            "real": "float",
            "double precision": "float",
            "text": "varchar",
            "boolean": "boolean",
            "timestamptz": "timestamp_ntz(6)",
            "timestamp": "timestamp_ntz(6)",
            "date": "date",
            "time": "time(6)",
            "uuid": "varchar",
            "jsonb": "varchar",
            "bytea": "binary",
        }[self.name]

    @property
    def arrow(self) -> pa.DataType:
        """As stored in Parquet."""
        import pyarrow as pa

        if self.name == "numeric":
            return pa.decimal128(self.precision, self.scale)
        if self.element:
            # The name that Parquet's specification has for an element of a list.
            return pa.list_(pa.field("element", self.element.arrow))
        return {
            "bigint": pa.int64(),
            "integer": pa.int32(),
            "smallint": pa.int16(),
            "real": pa.float32(),
            "double precision": pa.float64(),
            "text": pa.string(),
            "boolean": pa.bool_(),
            "timestamptz": pa.timestamp("us", tz="UTC"),
            "timestamp": pa.timestamp("us", tz="UTC"),
            "date": pa.date32(),
            "time": pa.time64("us"),
            "uuid": pa.string(),
            "jsonb": pa.string(),
            "bytea": pa.binary(),
        }[self.name]


BIGINT = ColumnType("bigint")
INTEGER = ColumnType("integer")
SMALLINT = ColumnType("smallint")
REAL = ColumnType("real")
DOUBLE = ColumnType("double precision")
TEXT = ColumnType("text")
BOOLEAN = ColumnType("boolean")
TIMESTAMP = ColumnType("timestamptz")
DATE = ColumnType("date")
TIME = ColumnType("time")
UUID = ColumnType("uuid")
JSON = ColumnType("jsonb")
BYTES = ColumnType("bytea")


def numeric(precision: int, scale: int) -> ColumnType:
    """An exact decimal of at most 38 digits, `scale` of them after the point.

    Raises ValueError where Snowflake has no such type.
    """
    if not (0 <= scale <= precision <= MOST_DIGITS and precision):
        raise ValueError(
            f"numeric({precision},{scale}): decimals travel exactly with 1 to {MOST_DIGITS} digits, up to all of them "
            "after the point; what is wider, or has no precision, can be declared as TEXT"
        )
    return ColumnType("numeric", precision, scale)


def array_of(element: ColumnType) -> ColumnType:
    """A list: an array of one dimension.

    Its elements are whole numbers, booleans, UUIDs, or TEXT, as which elements of any other type travel. Raises
    ValueError for others.
    """
    name = f"{element.name}[]"
    if name not in get_args(TypeName):
        raise ValueError(f"array_of({element.postgres}): declare it as TEXTS, each element as Postgres writes it")
    return ColumnType(name)  # type: ignore[arg-type]


TEXTS = array_of(TEXT)


def local_timestamp(time_zone: str) -> ColumnType:
    """A `timestamp` without time zone that holds the local time of a zone ("UTC", "Europe/Berlin").

    It travels as the moment that it stands for, by the rule of Postgres (`at time zone`): where clocks are put forward,
    a time that no clock showed counts by the offset before, and where they are put back, one that clocks showed twice
    is the later of the two. Raises ValueError for a zone that the IANA database does not name.
    """
    if not is_time_zone(time_zone):
        raise ValueError(f"no time zone is called {time_zone!r}: name one as 'UTC' or 'Europe/Berlin'")
    return ColumnType("timestamp", time_zone=time_zone)


MONEY = numeric(12, 2)


@dataclass(frozen=True)
class Column:
    """A column of a source table.

    `values` and `minimum` are rules: a row that breaks one is quarantined. `references` names the parent as
    "table.column"; orphans are reported, never dropped.
    """

    name: str
    type: ColumnType
    description: str
    nullable: bool = False
    pii: bool = False
    values: tuple[str, ...] = ()
    minimum: int | None = None
    references: str | None = None


@dataclass(frozen=True)
class RowRule:
    """A condition over `columns` of one row, in Postgres SQL, that must not be false.

    `name` says what is wrong with a row that breaks it, as quarantine shows it.
    """

    name: str
    sql: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class SourceTable:
    """A table of an operational Postgres database, and how it is to travel.

    `cursor` is the column of moments (TIMESTAMP or `local_timestamp`) whose UTC day is the row's partition:
    `updated_at`, or `occurred_at` where rows are only ever appended. None: the table has no such column; all of it is
    one snapshot in the first partition, taken anew whenever the hash of the table differs. `freshness` is how old the
    newest change may be before a table with a cursor counts as stale. `max_loss` is the share of the table's rows that
    may be gone at once: an extraction that finds more deleted stops.

    `undeclared` is what becomes of columns that the source has and nobody declared: `carry` takes them along, typed by
    Postgres, and reports them; `ignore` leaves them out of lake and quarantine; `refuse` stops the table. To carry is
    the default, for what was not extracted is lost for good where the source keeps no history, and a column too many
    can be dropped. Where a column may turn up that must not leave the source, choose another, or do not grant it.
    """

    name: str
    grain: str
    description: str
    columns: tuple[Column, ...]
    owner: str
    cursor: str | None = "updated_at"
    append_only: bool = False
    primary_key: tuple[str, ...] = ("id",)
    zone: str = "postgres"
    freshness: dt.timedelta = dt.timedelta(hours=36)
    max_loss: float = 0.2
    rules: tuple[RowRule, ...] = field(default=())
    undeclared: Undeclared = "carry"

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        for name in self.version:
            if name not in names:
                raise ValueError(f"table {self.name}: {name!r} is a key or cursor but not a declared column")
        for name in self.primary_key:
            if not self.column(name).type.is_key:
                raise ValueError(f"table {self.name}: its key {name!r} cannot be a {self.column(name).type.postgres}")
        if len(set(names)) != len(names):
            raise ValueError(f"table {self.name}: a column is declared twice")
        if self.undeclared not in get_args(Undeclared):
            raise ValueError(f"table {self.name}: undeclared={self.undeclared!r} is none of {get_args(Undeclared)}")
        if self.cursor and not self.column(self.cursor).type.is_moment:
            raise ValueError(
                f"table {self.name}: its cursor {self.cursor!r} must be a timestamptz, or a local_timestamp of a zone"
            )

    def column(self, name: str) -> Column:
        """The column of that name; KeyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"table {self.name} declares no column {name!r}")

    @property
    def version(self) -> tuple[str, ...]:
        """Columns that tell versions of rows apart, as far as columns can: the key, and the cursor if there is one."""
        return (*self.primary_key, self.cursor) if self.cursor else self.primary_key

    @property
    def staging_table(self) -> str:
        """Name of the Snowflake table that holds the log of its changes."""
        return f"STG_{self.name.upper()}"

    @property
    def lake_prefix(self) -> str:
        """Folder of its objects in the lake, without a slash at the end."""
        return f"raw/{self.zone}/{self.name}"

    @property
    def quarantine_prefix(self) -> str:
        """Folder of the rows that could not travel, without a slash at the end."""
        return f"quarantine/{self.name}"


def quoted(identifier: str) -> str:
    """A Postgres or Snowflake identifier, quoted so that any character in it is itself."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A string as a literal of Postgres or Snowflake SQL: of what holds no backslash, or is for Postgres alone."""
    return "'" + value.replace("'", "''") + "'"


def snowflake_name(name: str) -> str:
    """The quoted Snowflake identifier for a name of the source: what the name unquoted would mean there."""
    return quoted(upper(name))


def upper(name: str) -> str:
    """A name in capitals, letter by letter: one that becomes two, as ß, would no longer match the column of a file."""
    return "".join(letter.upper() if len(letter.upper()) == 1 else letter for letter in name)


def arrow_schema(table: SourceTable) -> pa.Schema:
    """The Arrow schema of the table's columns, in declared order."""
    import pyarrow as pa

    return pa.schema([pa.field(c.name, c.type.arrow, nullable=c.nullable) for c in table.columns])


def postgres_ddl(table: SourceTable, schema: str) -> Sequence[str]:
    """Statements that create the table in an empty Postgres schema, indexed on its cursor if it has one."""
    target = f"{quoted(schema)}.{quoted(table.name)}"
    lines = [f"{quoted(c.name)} {c.type.postgres}{'' if c.nullable else ' not null'}" for c in table.columns]
    lines.append(f"primary key ({', '.join(quoted(name) for name in table.primary_key)})")
    statements = [f"create table if not exists {target} ({', '.join(lines)})"]
    if table.cursor:
        index = quoted(f"{table.name}_{table.cursor}_idx")
        statements.append(f"create index if not exists {index} on {target} ({quoted(table.cursor)})")
    return statements
