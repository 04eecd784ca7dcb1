"""How old the newest change of a source table is, and what is to be said of it."""

import datetime as dt
from dataclasses import dataclass

from shopstream_assets.platform.declare.tables import SourceTable

# Rows of a kind that are counted; beyond them, that there are more is all that is told.
COUNTED = 10_000


@dataclass(frozen=True)
class NewestChange:
    """How old the newest change is that is not from the future (None: there is none); and rows that are from there.

    `from_future` counts up to COUNTED and one more; `furthest` is the greatest of their cursors, as the source writes
    it.
    """

    age: dt.timedelta | None
    from_future: int
    furthest: str | None

    @property
    def future_told(self) -> str | None:
        """What is to be said about rows from the future, if there are any."""
        if not self.from_future:
            return None
        return (
            f"{counted(self.from_future)} rows are dated later than now, up to {self.furthest}; they travel with "
            "today's partition and do not count as news. Next: correct their cursor, or the clock that wrote it."
        )

    def stale_told(self, table: SourceTable) -> str | None:
        """What is to be said where the newest change of the table is older than its freshness allows."""
        if self.age is None:
            return "the table is empty" if not self.from_future else "every row is dated in the future"
        if self.age <= table.freshness:
            return None
        # To the second: nobody reads the rest.
        age = self.age - dt.timedelta(microseconds=self.age.microseconds)
        return f"the newest change is {age} old, {table.freshness} are allowed"


def counted(rows: int) -> str:
    """A number of rows that was counted up to COUNTED."""
    return f"more than {COUNTED}" if rows > COUNTED else str(rows)
