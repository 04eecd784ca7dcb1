"""BEGIN, COMMIT and ROLLBACK with Snowflake's habits on top of DuckDB's.

What differs, and how it is bridged:

- Snowflake reads committed data statement by statement, DuckDB freezes a snapshot at its BEGIN. So DuckDB's
  BEGIN is put off until the first write has its table lock: what the transaction changes is then up to date.
  A later write to another table is refused where others have changed that table meanwhile: it would miss rows.
- Snowflake commits an open transaction before any DDL. So do we.
- After a failed statement Snowflake keeps the transaction, DuckDB loses it, and reports a later COMMIT as done.
  Here the transaction is rolled back at once and everything but ROLLBACK fails, COMMIT included.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto

import duckdb

from shopstream_assets.embedded.snowflake.errors import SnowflakeError
from shopstream_assets.embedded.snowflake.locks import TableLocks


class Kind(Enum):
    """What a statement does to transactions."""

    READ = auto()
    WRITE = auto()
    DEFINE = auto()  # DDL: commits what is open, then stands alone


class _State(Enum):
    IDLE = auto()
    BEGUN = auto()  # the client said BEGIN; DuckDB has not been told
    ACTIVE = auto()
    LOST = auto()


@dataclass(frozen=True)
class Target:
    """A table that a statement writes to, as DATABASE.SCHEMA.NAME."""

    name: str
    exclusive: bool


class Transactions:
    """The transaction state of one session. Not thread-safe: its session serialises statements."""

    def __init__(self, duck: duckdb.DuckDBPyConnection, locks: TableLocks, lock_timeout: Callable[[], float]) -> None:
        self._duck = duck
        self._locks = locks
        self._lock_timeout = lock_timeout
        self._state = _State.IDLE
        self._reason = ""
        self._writes = 0  # statements that this transaction would lose
        self.autocommit = True
        self.cancelled = False
        # Held while `_interruptible` changes: what is interrupted is a statement, never a COMMIT or a ROLLBACK.
        self._interrupting = threading.Lock()
        self._interruptible = False

    def cancel(self) -> None:
        """Stop the statement that runs, from any thread; to be repeated until it has ended.

        DuckDB forgets an interruption that comes between two of the queries that a statement may be made of.
        """
        self.cancelled = True
        with self._interrupting:
            if self._interruptible:
                self._duck.interrupt()

    @contextmanager
    def _cancellable(self) -> Iterator[None]:
        """The part of a statement that may be interrupted; nothing of a cancelled one is committed."""
        self._refuse_if_cancelled()
        self._set_interruptible(True)
        try:
            yield
        finally:
            self._set_interruptible(False)
        self._refuse_if_cancelled()

    def _set_interruptible(self, value: bool) -> None:
        with self._interrupting:
            self._interruptible = value

    def _refuse_if_cancelled(self) -> None:
        if self.cancelled:
            raise SnowflakeError(604, "57014", "SQL execution canceled")

    @property
    def is_open(self) -> bool:
        """Whether a transaction holds, or may come to hold, locks."""
        return self._state in (_State.BEGUN, _State.ACTIVE)

    def begin(self) -> None:
        """Start a transaction; inside one this does nothing, as on Snowflake."""
        self._refuse_if_lost()
        if self._state is _State.IDLE:
            self._state = _State.BEGUN

    def commit(self) -> None:
        """Make the transaction's writes permanent.

        Raises:
            SnowflakeError: when an earlier statement's failure has already rolled it back.
        """
        committed = False
        try:
            self._refuse_if_lost()
            if self._state is _State.ACTIVE:
                self._duck.commit()
                committed = True
        except duckdb.Error:
            self._undo()
            raise
        finally:
            self._end(committed)

    def commit_open(self) -> None:
        """What DDL does first, on Snowflake as here."""
        self._refuse_if_lost()
        if self.is_open:
            self.commit()

    def rollback(self) -> None:
        """Drop the transaction's writes; outside one this does nothing, as on Snowflake."""
        try:
            if self._state is _State.ACTIVE:
                self._undo()
        finally:
            self._end()

    def lose(self, reason: str) -> None:
        """Roll back from outside (an idle or vanished client); the client learns `reason` when it returns."""
        if self._state is _State.ACTIVE:
            self._undo()
        self._locks.release(self)
        self._state, self._reason = _State.LOST, reason

    @contextmanager
    def statement(self, kind: Kind, targets: tuple[Target, ...] = ()) -> Iterator[None]:
        """Run one statement under the rules above; it is atomic, whatever it needs to do inside."""
        self._refuse_if_lost()
        if kind is Kind.READ:
            with self._losing_on_error(), self._cancellable():
                yield
            return
        if kind is Kind.DEFINE:
            self.commit_open()
        alone = kind is Kind.DEFINE or (self._state is _State.IDLE and self.autocommit)
        self._lock(targets)
        if alone:
            with self._standing_alone():
                yield
            return
        if self._state is not _State.ACTIVE:
            self._locks.takes_snapshot(self)
            self._duck.begin()
            self._state = _State.ACTIVE
        with self._losing_on_error(), self._cancellable():
            for target in targets:
                if target.exclusive:
                    self._locks.refuse_if_changed(self, target.name)
            yield
        self._writes += 1

    def _lock(self, targets: tuple[Target, ...]) -> None:
        # in one order for all sessions, so that two statements never wait for each other
        try:
            for target in sorted(targets, key=lambda target: target.name):
                self._locks.acquire(self, target.name, target.exclusive, self._lock_timeout(), lambda: self.cancelled)
        except SnowflakeError:
            if self._state is not _State.ACTIVE:
                self._locks.release(self)
            raise

    @contextmanager
    def _standing_alone(self) -> Iterator[None]:
        committed = False
        try:
            self._duck.begin()
            try:
                with self._cancellable():
                    yield
                self._duck.commit()
                committed = True
            except BaseException:
                self._undo()
                raise
        finally:
            self._locks.release(self, committed)

    @contextmanager
    def _losing_on_error(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if self._state is _State.ACTIVE and self._writes:
                self.lose(f"it was rolled back when a statement in it failed: {str(error)[:300]}")
            elif self._state is _State.ACTIVE:
                self._undo()
                self._locks.release(self)
                self._state = _State.BEGUN  # nothing was written yet, so nothing is lost
            raise

    def _refuse_if_lost(self) -> None:
        if self._state is _State.LOST:
            raise SnowflakeError(
                2,
                "25P02",
                f"This transaction no longer exists: {self._reason}\n  (Snowflake would have kept the statements "
                "before the failed one; the local Snowflake cannot.) Send ROLLBACK, then run the whole again.",
            )

    def _undo(self) -> None:
        try:
            self._duck.rollback()
        except duckdb.TransactionException as error:
            # a COMMIT that failed has ended DuckDB's transaction already
            if "no transaction is active" not in str(error):
                raise

    def _end(self, committed: bool = False) -> None:
        self._state, self._reason, self._writes = _State.IDLE, "", 0
        self._locks.release(self, committed)
