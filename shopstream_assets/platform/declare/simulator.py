"""What plays a source, where the user has none of their own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class Simulator(Protocol):
    """A deterministic source: the same days give the same rows, alone or together, in any order."""

    def batches(self, table: str, first: dt.date, last_exclusive: dt.date) -> Iterator[pa.Table]:
        """The rows of `table` whose cursor lies in [first, last_exclusive), in their state at that time."""
        ...
