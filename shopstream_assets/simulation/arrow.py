"""Arrays to Arrow: the exact types of a declared table, built from numpy buffers without a Python object per row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopstream_assets.platform.declare.tables import MONEY, SourceTable, arrow_schema


def table(declared: SourceTable, columns: Mapping[str, Any]) -> pa.Table:
    """A table of exactly the declared schema. Values are Arrow arrays, or numpy arrays of a matching type."""
    schema = arrow_schema(declared)
    arrays = [value if isinstance(value := columns[f.name], pa.Array) else pa.array(value, f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def empty(declared: SourceTable) -> pa.Table:
    """No rows, of the declared schema."""
    return arrow_schema(declared).empty_table()


def order(cursor: np.ndarray, ids: np.ndarray) -> np.ndarray | slice:
    """The permutation that sorts by (cursor, id); a no-op slice when they are sorted already."""
    ahead = cursor[1:] > cursor[:-1]
    if bool(np.all(ahead | ((cursor[1:] == cursor[:-1]) & (ids[1:] > ids[:-1])))):
        return slice(None)
    return np.lexsort((ids, cursor))


def timestamps(microseconds: np.ndarray) -> pa.Array:
    """UTC timestamps."""
    return pa.array(microseconds, pa.int64()).cast(pa.timestamp("us", tz="UTC"))


def money(cents: np.ndarray) -> pa.Array:
    """Exact decimals of `MONEY` from integer cents: the 128-bit integers are laid out directly."""
    words = np.empty((len(cents), 2), dtype="<i8")
    words[:, 0] = cents
    words[:, 1] = np.where(cents < 0, -1, 0)  # sign extension
    return pa.Array.from_buffers(MONEY.arrow, len(cents), [None, pa.py_buffer(words.tobytes())])


def picked(values: Sequence[str] | pa.Array, indices: np.ndarray) -> pa.Array:
    """`values[indices]` as strings."""
    pool = values if isinstance(values, pa.Array) else pa.array(values, pa.string())
    return pool.take(pa.array(indices))


def nullable(values: np.ndarray) -> pa.Array:
    """Identifiers, null where 0."""
    return pa.array(values, pa.int64(), mask=values == 0)


def text(integers: np.ndarray) -> pa.Array:
    """Integers in decimal notation."""
    return pa.array(integers, pa.int64()).cast(pa.string())


def joined(*parts: pa.Array | str) -> pa.Array:
    """Row by row concatenation; a plain string is repeated."""
    return pc.binary_join_element_wise(*parts, "")


def fixed_width(values: np.ndarray) -> pa.Array:
    """Strings from an `S<n>` array whose values are all n bytes long."""
    width = values.dtype.itemsize
    offsets = np.arange(len(values) + 1, dtype=np.int64) * width
    large = pa.Array.from_buffers(
        pa.large_string(), len(values), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(values.tobytes())]
    )
    return large.cast(pa.string())


def either(condition: np.ndarray, yes: pa.Array, no: pa.Array) -> pa.Array:
    """`yes` where the condition holds, else `no`."""
    return pc.if_else(pa.array(condition), yes, no)
