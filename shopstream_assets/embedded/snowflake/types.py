"""DuckDB results as the Snowflake connector expects them: column descriptions, Arrow and JSON rows."""

import datetime as dt
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

_LONGEST_TEXT = 16_777_216
_MICROSECONDS = 1_000_000
_UTC_OFFSET = 1440  # minutes, as TIMESTAMP_TZ carries its offset: 0 is -24 h
_EPOCH_DAY = dt.date(1970, 1, 1)

# fakesnow 0.12.1 knows 16 of DuckDB's types and answers HTTP 500 for the rest.
_SNOWFLAKE_TYPE = {
    '"NULL"': "TEXT",
    "BLOB": "BINARY",
    "BOOLEAN": "BOOLEAN",
    "DATE": "DATE",
    "DOUBLE": "REAL",
    "FLOAT": "REAL",
    "JSON": "VARIANT",
    "TIME": "TIME",
    "TIMESTAMP": "TIMESTAMP_NTZ",
    "TIMESTAMP_MS": "TIMESTAMP_NTZ",
    "TIMESTAMP_NS": "TIMESTAMP_NTZ",
    "TIMESTAMP_S": "TIMESTAMP_NTZ",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP_TZ",
    "UUID": "TEXT",
    "VARCHAR": "TEXT",
}
_INTEGERS = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A result column in Snowflake's terms."""

    name: str
    type: str
    precision: int | None = None
    scale: int | None = None

    def describe(self) -> dict[str, Any]:
        """The column as an entry of the protocol's `rowtype`."""
        length = {"TEXT": _LONGEST_TEXT, "BINARY": _LONGEST_TEXT // 2}.get(self.type)
        return {
            "name": self.name,
            "database": "",
            "schema": "",
            "table": "",
            "nullable": True,
            "type": self.type.lower(),
            "byteLength": length,
            "length": length,
            "scale": self.scale,
            "precision": self.precision,
            "collation": None,
        }


def column(name: str, duck_type: str) -> Column:
    """The Snowflake column for a DuckDB one. Lists, structs and the like travel as VARIANT."""
    if match := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", duck_type):
        return Column(name, "FIXED", int(match[1]), int(match[2]))
    if duck_type in _INTEGERS:
        return Column(name, "FIXED", 38, 0)
    snowflake_type = _SNOWFLAKE_TYPE.get(duck_type, "VARIANT")
    if snowflake_type.startswith("TIME"):
        return Column(name, snowflake_type, 0, 9)
    return Column(name, snowflake_type)


def fetch(duck: duckdb.DuckDBPyConnection) -> pa.Table:
    """All rows of what `duck` has just executed."""
    reader = duck.to_arrow_reader(100_000)
    assert reader is not None, "fetch() follows execute()"
    return reader.read_all()


@dataclass(frozen=True)
class Result:
    """Rows of one statement, columns already named in Snowflake's way."""

    columns: tuple[Column, ...]
    rows: pa.Table

    @classmethod
    def read(cls, duck: duckdb.DuckDBPyConnection) -> "Result":
        """The result of what `duck` has just executed."""
        columns = tuple(column(name, str(kind)) for name, kind, *_ in duck.description)
        return cls(columns, fetch(duck))

    @classmethod
    def of(cls, **values: Sequence[Any]) -> "Result":
        """A result made here: text and integer columns only, by keyword."""
        return cls.named(list(values), list(values.values()))

    @classmethod
    def named(cls, names: Sequence[str], values: Sequence[Sequence[Any]]) -> "Result":
        """A result made here, for column names that are no identifiers."""
        arrays = [pa.array(items) for items in values]
        kinds = ["BIGINT" if pa.types.is_integer(array.type) else "VARCHAR" for array in arrays]
        columns = tuple(column(name, kind) for name, kind in zip(names, kinds, strict=True))
        return cls(columns, pa.Table.from_arrays(arrays, names=list(names)))

    @classmethod
    def status(cls, message: str = "Statement executed successfully.") -> "Result":
        """A result that only says that the statement worked."""
        return cls.of(status=[message])

    @property
    def rowtype(self) -> list[dict[str, Any]]:
        """The columns as the protocol describes them."""
        return [column.describe() for column in self.columns]

    def to_arrow_stream(self) -> bytes:
        """Rows in Snowflake's Arrow dialect, where logical types sit in the field metadata."""
        arrays = [
            _to_snowflake_array(values, column) for values, column in zip(self.rows.columns, self.columns, strict=True)
        ]
        fields = [
            pa.field(column.name, array.type, metadata=_arrow_metadata(column))
            for column, array in zip(self.columns, arrays, strict=True)
        ]
        sink = pa.BufferOutputStream()
        schema = pa.schema(fields)
        with pa.ipc.new_stream(sink, schema) as stream:
            stream.write_table(pa.Table.from_arrays(arrays, schema=schema))
        return sink.getvalue().to_pybytes()

    def to_json_rows(self) -> list[list[str | None]]:
        """Rows as the JSON result format has them: every value text, NULL null."""
        encoded = [
            [None if value is None else encode(value) for value in values.to_pylist()]
            for values, encode in zip(
                (_plain_array(values) for values in self.rows.columns),
                (_json_encoder(column) for column in self.columns),
                strict=True,
            )
        ]
        return [list(row) for row in zip(*encoded, strict=True)]


def _arrow_metadata(column: Column) -> dict[str, str]:
    length = {"TEXT": _LONGEST_TEXT, "BINARY": _LONGEST_TEXT // 2}.get(column.type, 0)
    return {
        "logicalType": column.type,
        "precision": str(column.precision or 38),
        "scale": str(column.scale or 0),
        "charLength": str(length),
    }


def _plain_array(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values without Arrow types that the connector cannot read."""
    kind = values.type
    if pa.types.is_nested(kind) or pa.types.is_interval(kind):
        return pa.chunked_array([pa.array([_json_text(value) for value in values.to_pylist()], pa.string())])
    if pa.types.is_null(kind):
        return values.cast(pa.string())
    if pa.types.is_timestamp(kind) and kind.unit != "us":
        return values.cast(pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_unsigned_integer(kind):
        # the connector reads signed integers only
        return values.cast(pa.decimal128(20, 0) if kind == pa.uint64() else pa.int64())
    if pa.types.is_float32(kind):
        return values.cast(pa.float64())
    return values


def _to_snowflake_array(values: pa.ChunkedArray, column: Column) -> pa.Array | pa.ChunkedArray:
    plain = _plain_array(values)
    if pa.types.is_timestamp(plain.type):
        return _timestamp_struct(plain)
    if pa.types.is_time(plain.type):
        return pc.multiply(plain.cast(pa.int64()), 1000)  # nanoseconds
    return plain


def _timestamp_struct(values: pa.ChunkedArray) -> pa.Array:
    """Seconds, nanoseconds and offset, as Snowflake sends timestamps.

    fakesnow 0.12.1 builds this struct without a validity mask: a NULL timestamp arrives as 1970-01-01.
    """
    array = values.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    micros = array.cast(pa.int64()).fill_null(0)
    seconds = pc.divide(micros, _MICROSECONDS)  # towards zero, so before 1970 one too many
    remainder = pc.subtract(micros, pc.multiply(seconds, _MICROSECONDS))
    seconds = pc.subtract(seconds, pc.less(remainder, 0).cast(pa.int64()))
    remainder = pc.if_else(pc.less(remainder, 0), pc.add(remainder, _MICROSECONDS), remainder)
    fraction = pc.multiply(remainder, 1000).cast(pa.int32())
    children, names = [seconds, fraction], ["epoch", "fraction"]
    if array.type.tz:
        children.append(pa.array([_UTC_OFFSET] * len(array), pa.int32()))
        names.append("timezone")
    fields = [pa.field(name, child.type, nullable=False) for name, child in zip(names, children, strict=True)]
    return pa.StructArray.from_arrays(children, fields=fields, mask=array.is_null())


def _json_encoder(column: Column) -> Callable[[Any], str]:
    encoders: dict[str, Callable[[Any], str]] = {
        "BOOLEAN": lambda value: "1" if value else "0",
        "DATE": lambda value: str((value - _EPOCH_DAY).days),
        "TIME": lambda value: f"{(value.hour * 60 + value.minute) * 60 + value.second}.{value.microsecond:06d}000",
        "TIMESTAMP_NTZ": lambda value: _epoch_text(value.replace(tzinfo=dt.UTC)),
        "TIMESTAMP_TZ": lambda value: f"{_epoch_text(value)} {_UTC_OFFSET}",
        "BINARY": lambda value: bytes(value).hex().upper(),
        "REAL": repr,
    }
    return encoders.get(column.type, str)


def _epoch_text(moment: dt.datetime) -> str:
    micros = (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    seconds, fraction = divmod(abs(micros), _MICROSECONDS)
    return f"{'-' if micros < 0 else ''}{seconds}.{fraction:06d}000"


def _json_text(value: Any) -> str | None:
    if value is None:
        return None
    return json.dumps(dict(value) if _is_map(value) else value, default=str)


def _is_map(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, tuple) and len(item) == 2 for item in value)


def from_binding(kind: str, value: str | None) -> Any:
    """A bound parameter of the protocol as Python has it; timestamps in UTC, microseconds.

    fakesnow 0.12.1 fails on NULL and on non-integer FIXED bindings, and reads TIMESTAMP_NTZ as zoned.
    """
    if value is None:
        return None
    match kind:
        case "FIXED":
            return Decimal(value) if "." in value or "E" in value.upper() else int(value)
        case "REAL":
            return float(value)
        case "BOOLEAN":
            return value.lower() in ("true", "1")
        case "BINARY":
            return bytes.fromhex(value)
        case "DATE":
            return _EPOCH_DAY + dt.timedelta(milliseconds=int(value))
        case "TIME":
            return (dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=int(value) // 1000)).time()
        case "TIMESTAMP_NTZ":
            return dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=int(value) // 1000)
        case "TIMESTAMP_LTZ" | "TIMESTAMP_TZ":
            nanoseconds = int(value.partition(" ")[0])
            return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=nanoseconds // 1000)
        case _:
            return value
