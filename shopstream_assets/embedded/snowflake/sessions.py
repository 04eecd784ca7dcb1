"""Sessions of clients: what each has set, and how they end when the client does not say goodbye."""

import datetime as dt
import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import duckdb

from shopstream_assets.embedded.snowflake.dialect import Namespace
from shopstream_assets.embedded.snowflake.errors import SnowflakeError, translate, unsupported
from shopstream_assets.embedded.snowflake.locks import TableLocks
from shopstream_assets.embedded.snowflake.stages import ObjectStore
from shopstream_assets.embedded.snowflake.statements import Answer
from shopstream_assets.embedded.snowflake.storage import Storage
from shopstream_assets.embedded.snowflake.transactions import Transactions

logger = logging.getLogger(__name__)

_numbers = itertools.count(1)

_DEFAULT_PARAMETERS = {
    "AUTOCOMMIT": "true",
    "QUERY_TAG": "",
    "STATEMENT_TIMEOUT_IN_SECONDS": "172800",
    "TIMEZONE": "Etc/UTC",
}
_UTC = {"UTC", "ETC/UTC", "GMT", "ETC/GMT"}
_TRUE = {"true", "1", "on"}
# Seconds between attempts to interrupt a statement that is to stop.
_INTERRUPT_EVERY = 0.05


@dataclass(frozen=True)
class Limits:
    """How long to wait for what, in seconds."""

    lock_timeout: float = 60
    # an open transaction of a client that sends nothing
    idle_transaction: float = 600
    # the same when the client's connections are closed: it was killed
    vanished_client: float = 5
    # a statement of such a client (Snowflake: five minutes, with ABORT_DETACHED_QUERY)
    detached_statement: float = 1
    # a session that is not used at all
    idle_session: float = 4 * 3600


@dataclass(frozen=True)
class Running:
    """A statement that a session is at: the client's request, Snowflake's id of the query, its text and start."""

    request: str
    query: str
    sql: str
    started: dt.datetime


@dataclass
class Account:
    """What all sessions share."""

    storage: Storage
    objects: ObjectStore
    limits: Limits = field(default_factory=Limits)
    locks: TableLocks = field(default_factory=TableLocks)
    sessions: "Sessions" = field(init=False)

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.limits)


class Session:
    """One client's session. Its statements run one at a time, from any thread."""

    def __init__(self, account: Account, user: str, parameters: dict[str, Any]) -> None:
        self.number = str(next(_numbers))
        self.token = secrets.token_urlsafe(32)
        self.user = user
        self.account = account
        self.storage = account.storage
        self.objects = account.objects
        self.duck: duckdb.DuckDBPyConnection = account.storage.connect()
        self.namespace = Namespace()
        self.parameters = dict(_DEFAULT_PARAMETERS, LOCK_TIMEOUT=f"{account.limits.lock_timeout:g}")
        self.transactions = Transactions(self.duck, account.locks, lambda: float(self.parameters["LOCK_TIMEOUT"]))
        self.clients: set[tuple[str, int]] = set()  # the TCP connections it was last seen on
        self.last_used = time.monotonic()
        self._turn = threading.Lock()
        self.running: Running | None = None
        self._ended = threading.Condition()
        for name, value in parameters.items():
            self.set_parameter(name.upper(), str(value))

    def enter(self, database: str | None, schema: str | None) -> None:
        """Make these current as far as they exist; Snowflake also lets a client log in without."""
        if database and self.storage.has_database(database):
            self.namespace.database = database
            wanted = schema or "PUBLIC"
            if self.storage.has_schema(database, wanted) or wanted == "INFORMATION_SCHEMA":
                self.namespace.schema = wanted

    def in_turn(self, request: str, query: str, sql: str, work: Callable[[], Answer]) -> Answer:
        """Run one statement, which `work` does, after those that came before it; others may ask and cancel it.

        Raises:
            SnowflakeError: whatever goes wrong.
        """
        running = Running(request, query, sql, dt.datetime.now(dt.UTC))
        with self._turn:
            self.transactions.cancelled, self.running = False, running
            timeout = float(self.parameters["STATEMENT_TIMEOUT_IN_SECONDS"])
            timer = threading.Timer(timeout, self.cancel, (running.__eq__,)) if 0 < timeout < 86_400 else None
            if timer:
                timer.daemon = True
                timer.start()
            try:
                return work()
            except Exception as error:
                failure = translate(error)
                if failure.errno == 300002:
                    logger.exception("Unexpected failure of a statement")
                raise failure from error
            finally:
                if timer:
                    timer.cancel()
                self.last_used = time.monotonic()
                with self._ended:
                    self.running = None
                    self._ended.notify_all()

    def cancel(self, wanted: Callable[[Running], bool] = lambda running: True) -> bool:
        """Stop the statement that runs if it is `wanted`, and wait until it has ended; False where there is none."""
        running = self.running
        if running is None or not wanted(running):
            return False
        with self._ended:
            while self.running is running:
                self.transactions.cancel()
                self._ended.wait(_INTERRUPT_EVERY)
        return True

    def set_parameter(self, name: str, value: str) -> None:
        """ALTER SESSION SET. Parameters without a meaning here are kept and shown."""
        if name == "TIMEZONE" and value.upper() not in _UTC:
            raise unsupported(f"TIMEZONE = '{value}': the local Snowflake runs in UTC")
        if name == "AUTOCOMMIT":
            self.transactions.autocommit = value.lower() in _TRUE
        if name in ("LOCK_TIMEOUT", "STATEMENT_TIMEOUT_IN_SECONDS"):
            try:
                float(value)
            except ValueError as error:
                raise SnowflakeError(1008, "22023", f"Invalid value '{value}' for parameter {name}") from error
        self.parameters[name] = value

    def unset_parameter(self, name: str) -> None:
        """ALTER SESSION UNSET."""
        if name in _DEFAULT_PARAMETERS:
            self.set_parameter(name, _DEFAULT_PARAMETERS[name])
        else:
            self.parameters.pop(name, None)

    def lose_transaction(self, reason: str) -> bool:
        """Roll back for a client that is gone; False while a statement is running."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            self.transactions.lose(reason)
        finally:
            self._turn.release()
        return True

    def close(self) -> None:
        """Stop what runs, roll back what is open and give everything back."""
        self.cancel()
        with self._turn:
            self.transactions.rollback()
            self.duck.close()


class Sessions:
    """All open sessions, and the thread that ends those whose clients are gone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._changing = threading.Lock()
        self._open: dict[str, Session] = {}
        self._vanished: dict[str, float] = {}  # token -> since when no connection is left
        self._stopping = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="session-sweeper", daemon=True)
        self._sweeper.start()

    def add(self, session: Session) -> None:
        """Take in a new session."""
        with self._changing:
            self._open[session.token] = session

    def get(self, token: str, client: tuple[str, int] | None = None) -> Session | None:
        """The session of a token, noting the connection that it is used from."""
        with self._changing:
            session = self._open.get(token)
            if session and client:
                session.clients.add(client)
                self._vanished.pop(token, None)
            return session

    def all(self) -> list[Session]:
        """Every open session."""
        with self._changing:
            return list(self._open.values())

    def numbered(self, number: str) -> Session | None:
        """The session that Snowflake would know by this number."""
        return next((session for session in self.all() if session.number == number), None)

    def remove(self, token: str) -> None:
        """Close a session, rolling back what it left open."""
        with self._changing:
            session = self._open.pop(token, None)
            self._vanished.pop(token, None)
        if session:
            session.close()

    def disconnected(self, client: tuple[str, int]) -> None:
        """A TCP connection was closed. A killed client says nothing else."""
        with self._changing:
            for token, session in self._open.items():
                if client in session.clients:
                    session.clients.discard(client)
                    if not session.clients:
                        self._vanished[token] = time.monotonic()

    def close(self) -> None:
        """End every session."""
        self._stopping.set()
        self._sweeper.join()
        for token in list(self._open):
            self.remove(token)

    def _sweep(self) -> None:
        while not self._stopping.wait(1):
            now = time.monotonic()
            with self._changing:
                sessions = list(self._open.items())
                vanished = dict(self._vanished)
            for token, session in sessions:
                idle = now - session.last_used
                if token in vanished and now - vanished[token] > self._limits.detached_statement:
                    self._stop_detached(session)
                if token in vanished and now - vanished[token] > self._limits.vanished_client:
                    self._end(session, f"its client closed the connection {now - vanished[token]:.0f} s ago")
                elif idle > self._limits.idle_transaction:
                    self._end(session, f"its client sent nothing for {idle:.0f} s")
                if idle > self._limits.idle_session:
                    self.remove(token)

    def _stop_detached(self, session: Session) -> None:
        """Nobody waits for the answer: Snowflake's ABORT_DETACHED_QUERY, here always."""
        if session.running and not session.transactions.cancelled:
            # Not in this thread: the statement may take a moment to end.
            threading.Thread(target=session.cancel, daemon=True).start()
            logger.warning("Cancelled a statement of session %s: its client closed the connection", session.number)

    def _end(self, session: Session, reason: str) -> None:
        if session.transactions.is_open and session.lose_transaction(f"it was rolled back because {reason}."):
            logger.warning("Rolled back the transaction of session %s: %s", session.number, reason)
