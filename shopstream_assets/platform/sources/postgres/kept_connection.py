"""A connection to the source that stays open from tick to tick: connecting costs more than a look.

Each query is a transaction of its own, read-only, so an idle connection holds nothing in the source. One process keeps
one connection per database; a connection that has died is replaced by the next look. It pins what every session pins,
and waits for less: a look comes again by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from shopstream_assets.platform.sources.postgres.errors import service_error
from shopstream_assets.platform.sources.postgres.session import LOOKING, connect

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

_idle: dict[str, Connection] = {}
_lock = Lock()


@contextmanager
def kept_connection(dsn: str) -> Iterator[Connection]:
    """The process's connection to the database; kept for the next look unless the block fails.

    Each statement sees its own moment, and a table that is being rewritten may look empty in it.

    Raises ServiceError when the database refuses, does not answer or cuts the connection.
    """
    import adbc_driver_postgresql.dbapi as adbc
    from pyarrow import ArrowException

    with _lock:
        connection = _idle.pop(dsn, None)
    try:
        if connection is None or not _answers(connection):
            connection = connect(dsn, LOOKING, autocommit=True, default_transaction_read_only="on")
        yield connection
    except BaseException as error:
        if connection is not None:
            connection.close()
        # Reading a result batch by batch fails with Arrow's errors, of which some are OSErrors.
        if isinstance(error, (adbc.Error, ArrowException, OSError)):
            raise service_error(error) from None
        raise
    with _lock:
        spare = _idle.pop(dsn, None)
        _idle[dsn] = connection
    if spare is not None:
        spare.close()


def _answers(connection: Connection) -> bool:
    """Whether a kept connection still works; closes one that does not."""
    import adbc_driver_postgresql.dbapi as adbc

    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
            cursor.fetchone()
    except adbc.Error:
        connection.close()
        return False
    return True
