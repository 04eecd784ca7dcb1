"""An act of an operator that can be cut or held at any call to Postgres, S3 or the warehouse.

The platform gets resources of its own classes whose calls are counted; nothing of it is replaced. Every call is a point
before it and a point after it, numbered in the order in which the act reaches them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PrivateAttr
from snowflake.connector.cursor import SnowflakeCursor
from snowflake.connector.errors import OperationalError

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.sources.postgres.reader import PostgresReader
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.staging.warehouse import WarehouseResource

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from snowflake.connector import SnowflakeConnection

    from shopstream_assets.platform.declare.tables import SourceTable

How = Literal["cancel", "kill", "hold"]
# A paused act that has not come to its point, nor to its end, after so long hangs.
PATIENCE = 120


class Cancelled(BaseException):
    """What Dagster raises in a step that is terminated: no Exception, so that nothing takes it for a failure."""


@dataclass
class Interruption:
    """Cut (`cancel`: an exception; `kill`: SIGKILL of this process) or hold the act at its point number `at`."""

    how: How
    at: int


@dataclass
class Act:
    """A running act: counts the points that it passes, and stops at the one of its interruption.

    `in_transaction` is whether a transaction of its own is open in the warehouse, `reading` the turn that it has at
    reading a table of the source, during which no other extraction of that table begins.
    """

    interruption: Interruption | None = None
    points: int = 0
    passed: list[str] = field(default_factory=list)
    in_transaction: bool = False
    reading: str = ""
    held: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reach(self, where: str) -> None:
        with self._lock:
            here = self.points
            self.points += 1
            self.passed.append(where)
        if self.interruption is None or here != self.interruption.at:
            return
        if self.interruption.how == "cancel":
            raise Cancelled(f"at {where}")
        if self.interruption.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        self.held.set()
        if not self.released.wait(PATIENCE):
            raise TimeoutError(f"nobody let the act go on that was held at {where}")

    def call(self, where: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.reach(where)
        result = function(*args, **kwargs)
        self.reach(f"{where}, done")
        return result


def watched(services: Services, act: Act) -> Services:
    """The same services for one act."""
    source = WatchedPostgres(**services.source.model_dump())
    store = WatchedStore(**services.store.model_dump())
    warehouse = WatchedWarehouse(**services.warehouse.model_dump())
    # A client of S3 takes 50 ms to make.
    store._plain = services.store.client
    source._act = store._act = warehouse._act = act
    return Services(source=source, store=store, warehouse=warehouse)


class WatchedStore(ObjectStoreResource):
    _act: Act = PrivateAttr(default_factory=Act)
    _plain: Any = PrivateAttr(default=None)

    @property
    def client(self) -> S3Client:
        return _WatchedClient(self._plain, self._act)  # type: ignore[return-value]


class _WatchedClient:
    def __init__(self, client: S3Client, act: Act) -> None:
        self._client, self._act = client, act

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not name.startswith(("get_object", "head_", "put_", "copy", "delete_", "list_")):
            return found
        return lambda **request: self._act.call(f"{name} {request.get('Key', '')}", found, **request)


class WatchedPostgres(PostgresResource):
    _act: Act = PrivateAttr(default_factory=Act)

    @contextmanager
    def snapshot(self, tables: Iterable[SourceTable] = (), alone: str = "") -> Iterator[PostgresReader]:
        with super().snapshot(tables, alone) as reader:
            plain = reader.connection.cursor

            def cursor(*args: Any, **kwargs: Any) -> Any:
                found: Any = plain(*args, **kwargs)
                execute = found.execute
                found.execute = lambda *a, **k: self._act.call("postgres: " + _head(a[0]), execute, *a, **k)
                return found

            reader.connection.cursor = cursor  # type: ignore[method-assign]
            self._act.reading = alone
            try:
                yield reader
            finally:
                self._act.reading = ""


class WatchedWarehouse(WarehouseResource):
    _act: Act = PrivateAttr(default_factory=Act)

    @contextmanager
    def connection(self, *args: Any, **kwargs: Any) -> Iterator[SnowflakeConnection]:
        act = self._act

        class Cursor(SnowflakeCursor):
            def execute(self, command: str, *args: Any, **kwargs: Any) -> Any:
                word = command.split(None, 1)[0].lower() if command.strip() else ""
                if word == "begin":
                    act.in_transaction = True
                try:
                    return act.call(f"warehouse: {_head(command)}", super().execute, command, *args, **kwargs)
                finally:
                    if word in ("commit", "rollback"):
                        act.in_transaction = False

        with super().connection(*args, **kwargs) as session:
            plain = session.cursor
            session.cursor = lambda *args, **kwargs: plain(Cursor)  # type: ignore[method-assign,assignment]
            try:
                yield session
            finally:
                act.in_transaction = False


def _head(statement: str) -> str:
    return " ".join(statement.split())[:60]


@contextmanager
def dbt_watched(act: Act) -> Iterator[None]:
    """Count the statements of dbt, which makes its own connections; one at a time.

    dbt waits for ever for a thread that ends by anything but an Exception, so that is what a cancelled act raises.
    """
    plain = SnowflakeCursor.execute
    cut = threading.Event()

    def execute(self: SnowflakeCursor, command: str, *args: Any, **kwargs: Any) -> Any:
        if type(self) is not SnowflakeCursor:
            return plain(self, command, *args, **kwargs)
        try:
            if cut.is_set():
                raise Cancelled
            return act.call(f"dbt: {_head(command)}", plain, self, command, *args, **kwargs)
        except Cancelled:
            cut.set()
            raise OperationalError("the act was cancelled") from None

    SnowflakeCursor.execute = execute  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        SnowflakeCursor.execute = plain  # type: ignore[method-assign]
        if cut.is_set():
            raise Cancelled("in dbt")
