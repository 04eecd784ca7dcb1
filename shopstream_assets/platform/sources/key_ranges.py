"""The keys of a table in ranges of their hash, which a source and the warehouse must count alike.

A key is a text: that of its columns, with | between them. Its range is named by the first letters of its MD5 in
hexadecimal; what a range holds is how many keys, and two sums over the last letters of their hashes. The SQL that says
so is of both dialects; another source must come to the same numbers.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Protocol

Ranges = Mapping[str, tuple[int, int, int]]
"""Range of the hash -> keys, and two sums over their hashes."""


class KeysOfSource(Protocol):
    """The keys of the rows of a table that may travel, in one moment of the source."""

    def ranges(self, letters: int, within: Sequence[str]) -> Ranges:
        """The ranges named by so many letters; of those that begin with one of `within`, all where it is empty."""

    def keys(self, within: Sequence[str]) -> Mapping[str, dt.date]:
        """Key -> its partition, of the ranges that begin with one of `within`, which are of one length."""


HASHED = "md5(key_text)"


def ranges_sql(rows: str, letters: int, within: Sequence[str]) -> str:
    """SQL for (range, keys, two sums) of `rows`, a query with a column key_text."""
    first, second = _sums()
    return (
        f"select left({HASHED}, {letters}), count(*), sum({first}), sum({second}) from ({rows}) as found"
        f"{_where(within)} group by 1"
    )


def keys_sql(rows: str, columns: str, within: Sequence[str]) -> str:
    """SQL for columns of those of `rows` whose keys lie in the ranges."""
    return f"select {columns} from ({rows}) as found{_where(within)}"


def _where(within: Sequence[str]) -> str:
    # Hexadecimal digits, of our own making.
    names = ", ".join(f"'{name}'" for name in within)
    return f" where left({HASHED}, {len(within[0])}) in ({names})" if within else ""


def _sums() -> tuple[str, str]:
    """SQL for two numbers out of letters of the key's hash."""
    letters = [f"cast(ascii(substr(right({HASHED}, 10), {at}, 1)) as bigint)" for at in range(1, 11)]
    first, second = (
        " + ".join(f"{letter} * {131**power}" for power, letter in enumerate(letters[begin : begin + 5]))
        for begin in (0, 5)
    )
    return first, second
