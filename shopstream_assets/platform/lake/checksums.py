"""Checksums of numbers, the same in Arrow and in SQL: what tells that a load brought what the lake has.

The sum over a column of each value's remainder by MODULUS, of decimals that of their smallest unit. Small enough to add
up without overflow wherever it is computed, and moved by any row that is lost, doubled or changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shopstream_assets.platform.declare.tables import snowflake_name

if TYPE_CHECKING:
    import pyarrow as pa

MODULUS = 1_000_003
# Decimals of so many digits fit a word of 64 bits.
INTEGER_DIGITS = 18


def checksums(rows: pa.Table) -> dict[str, int]:
    """By column, of each column of whole numbers, or of decimals whose smallest unit Snowflake can count (`is_summed`).

    Nulls count as 0.
    """
    import pyarrow as pa

    return {
        field.name: sum(_checksum(chunk) for chunk in rows.column(at).chunks)
        for at, field in enumerate(rows.schema)
        if pa.types.is_integer(field.type)
        or (pa.types.is_decimal(field.type) and is_summed(field.type.precision, field.type.scale))
    }


def is_summed(precision: int, scale: int) -> bool:
    """Whether a decimal has a checksum: of a wide one the smallest units would not fit Snowflake's NUMBER."""
    return precision <= INTEGER_DIGITS or scale == 0


def _checksum(values: pa.Array) -> int:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_decimal(values.type):
        if values.type.precision > INTEGER_DIGITS:
            return sum(_remainder(int(number)) for number in values.drop_null().to_pylist())
        # A decimal of few digits is the lower of its two words.
        buffer = values.buffers()[1]
        words = np.frombuffer(buffer, np.int64) if buffer else np.empty(0, np.int64)
        numbers = words[2 * values.offset : 2 * (values.offset + len(values)) : 2]
        if values.null_count:
            numbers = np.where(pc.is_valid(values).to_numpy(zero_copy_only=False), numbers, 0)
    else:
        # In 64 bits: a smallint cannot hold the modulus.
        numbers = values.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    # As in SQL, the remainder has the sign of the number.
    return int(np.fmod(numbers, MODULUS).sum(dtype=np.int64))


def _remainder(number: int) -> int:
    return abs(number) % MODULUS * (1 if number >= 0 else -1)


def checksum_sql(name: str, scale: int) -> str:
    """The same of a staging column, in Snowflake's SQL."""
    column = snowflake_name(name)
    unit = f"({column} * {10**scale})::number(38,0)" if scale else column
    return f"coalesce(sum(mod({unit}, {MODULUS})), 0)::number(38,0)"
