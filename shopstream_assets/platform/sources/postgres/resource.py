"""Connections to the source Postgres over ADBC, which hands rows over as Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import Field

from shopstream_assets.platform.hosting.interruption import interruptible
from shopstream_assets.platform.sources.port import SourceResource
from shopstream_assets.platform.sources.postgres.errors import service_error
from shopstream_assets.platform.sources.postgres.kept_connection import kept_connection
from shopstream_assets.platform.sources.postgres.reader import PostgresReader
from shopstream_assets.platform.sources.postgres.session import READING, connect
from shopstream_assets.platform.sources.postgres.snapshot import await_turn, begin_snapshot

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

    from shopstream_assets.platform.declare.tables import SourceTable

READ_WRITE = "set transaction isolation level read committed"


class PostgresResource(SourceResource):
    """The source database.

    `dsn` is a libpq URI; the password may be left out of it for PGPASSFILE. `schema_name` holds the tables.
    """

    dsn: str = Field(description="libpq URI of the source database; keep it in an environment variable.")
    schema_name: str = Field(default="public", description="Schema that holds the source tables.")

    @contextmanager
    def snapshot(self, tables: Iterable[SourceTable] = (), alone: str = "") -> Iterator[PostgresReader]:
        """A REPEATABLE READ READ ONLY transaction: all statements see one moment of the database.

        Name the `tables` to be read: they are locked before the moment is chosen, as TRUNCATE and the rewriting forms
        of ALTER TABLE would else leave them empty in it (see `begin_snapshot`). One that does not exist is passed over.

        Of the snapshots with the same name in `alone`, one is under way at a time: the others wait before they choose
        their moment, so their order is that of their moments.

        Raises ServiceError when the database refuses, does not answer or cuts the connection, when a table stays
        locked by others, or is rewritten again and again.
        """
        with _session(self.dsn, autocommit=True) as connection:
            if alone:
                await_turn(connection, alone)
            begin_snapshot(connection, self.schema_name, [table.name for table in tables])
            # It ends with the session: there is nothing to commit, and what was read was read.
            yield PostgresReader(connection, self.schema_name)

    @contextmanager
    def looking(self) -> Iterator[PostgresReader]:
        """The process's connection, kept for the next look."""
        with kept_connection(self.dsn) as connection:
            yield PostgresReader(connection, self.schema_name)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A read-write transaction, committed at the end of the block and rolled back by any exception in it."""
        with _session(self.dsn, autocommit=False) as connection:
            with connection.cursor() as cursor:
                cursor.execute(READ_WRITE)
            yield connection
            connection.commit()


@contextmanager
def _session(dsn: str, *, autocommit: bool) -> Iterator[Connection]:
    """A connection for the block, with the driver's errors as ServiceErrors."""
    import adbc_driver_postgresql.dbapi as adbc

    try:
        connection = connect(dsn, READING, autocommit=autocommit)
    except adbc.Error as error:
        raise service_error(error) from None
    try:
        with interruptible(connection.adbc_cancel):
            yield connection
    except adbc.Error as error:
        raise service_error(error) from None
    finally:
        connection.close()
