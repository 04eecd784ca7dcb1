"""Table locks between writers, held to the end of a transaction as on Snowflake.

DuckDB has none: two transactions that change the same rows fail with "Conflict on update!" at once.
Here the second writer waits, and only then takes its snapshot.
"""

import threading
import time
from collections.abc import Callable, Hashable

from shopstream_assets.embedded.snowflake.errors import SnowflakeError

# The longest uninterrupted wait, in seconds: how soon a cancelled statement stops waiting.
_SLICE = 0.5


class TableLocks:
    """Shared locks for appends (INSERT, COPY), exclusive ones for everything else that writes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: dict[str, dict[Hashable, bool]] = {}  # table -> owner -> exclusive
        self._waiting: dict[Hashable, tuple[str, bool]] = {}
        # Commits are numbered: each table's newest, and the last one that each open snapshot is sure to see.
        self._commits = 0
        self._committed: dict[str, int] = {}
        self._snapshots: dict[Hashable, int] = {}

    def acquire(
        self, owner: Hashable, table: str, exclusive: bool, timeout: float, cancelled: Callable[[], bool]
    ) -> None:
        """Wait until `owner` may write to `table`.

        Raises:
            SnowflakeError: 625 after `timeout` seconds or at once on a deadlock, 604 when cancelled.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            try:
                while blockers := self._blockers(owner, table, exclusive):
                    self._waiting[owner] = (table, exclusive)
                    if self._closes_a_circle(owner):
                        raise _locked(table, "and waits for a table that this transaction holds (deadlock)")
                    if cancelled():
                        raise SnowflakeError(604, "57014", "SQL execution canceled")
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise _locked(table, f"and has not released it within {timeout:g} s ({len(blockers)} holding)")
                    self._changed.wait(min(left, _SLICE))
            finally:
                self._waiting.pop(owner, None)
            holders = self._held.setdefault(table, {})
            holders[owner] = exclusive or holders.get(owner, False)

    def takes_snapshot(self, owner: Hashable) -> None:
        """Say that what `owner` sees from now on, until it releases its locks, is what was committed before."""
        with self._changed:
            self._snapshots[owner] = self._commits

    def refuse_if_changed(self, owner: Hashable, table: str) -> None:
        """Raise SnowflakeError 625 where another has changed the table since `owner` took its snapshot.

        An update would pass over the rows that it does not see.
        """
        with self._changed:
            if self._committed.get(table, 0) > self._snapshots.get(owner, self._commits):
                raise SnowflakeError(
                    625,
                    "57014",
                    f"Another transaction has changed table '{table}' since the first write of this one. (Snowflake "
                    "would go on from there; the local Snowflake cannot.) Run the whole again.",
                )

    def release(self, owner: Hashable, committed: bool = False) -> None:
        """Give back every lock of `owner`; `committed`: what it wrote can be seen."""
        with self._changed:
            self._snapshots.pop(owner, None)
            self._commits += committed
            for table in [table for table, holders in self._held.items() if owner in holders]:
                if committed:
                    self._committed[table] = self._commits
                del self._held[table][owner]
                if not self._held[table]:
                    del self._held[table]
            oldest = min(self._snapshots.values(), default=self._commits)
            self._committed = {table: number for table, number in self._committed.items() if number > oldest}
            self._changed.notify_all()

    def _blockers(self, owner: Hashable, table: str, exclusive: bool) -> list[Hashable]:
        holders = self._held.get(table, {})
        return [other for other, theirs in holders.items() if other != owner and (exclusive or theirs)]

    def _closes_a_circle(self, owner: Hashable) -> bool:
        seen: set[Hashable] = set()
        reach = self._blockers(owner, *self._waiting[owner])
        while reach:
            other = reach.pop()
            if other == owner:
                return True
            if other not in seen and other in self._waiting:
                seen.add(other)
                reach.extend(self._blockers(other, *self._waiting[other]))
        return False


def _locked(table: str, detail: str) -> SnowflakeError:
    return SnowflakeError(625, "57014", f"Another transaction has locked table '{table}' {detail}.")
