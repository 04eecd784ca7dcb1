"""Connections to the source Postgres over ADBC, which hands rows over as Arrow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

import dagster as dg
from pydantic import Field

from shopstream_assets.platform.errors import ServiceError
from shopstream_assets.platform.interruption import interruptible

if TYPE_CHECKING:
    import pyarrow as pa
    from adbc_driver_manager.dbapi import Connection, Cursor

OPTIONS = {
    "application_name": "shopstream",
    # ADBC takes every text for UTF-8; without this, libpq hands over the encoding of the database.
    "client_encoding": "UTF8",
    # libpq waits for ever by default: a black-holed host must end as an error, and a connection cut in the middle of a
    # scan must be noticed within a minute.
    "connect_timeout": "10",
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}

_HOST = r"(?:\[[0-9a-fA-F:.]+\]|[^@/?\s:,\[\]]*)(?::\d*)?"
# A URI that libpq reads as its writer meant it: where a password holds / ? @ or a space as such, libpq takes a part of
# it for a host or port, and shows that in its message.
_URI = re.compile(
    rf"postgres(?:ql)?://(?:[^@/?\s]*@)?{_HOST}(?:,{_HOST})*(?:/[^@?\s]*)?(?:\?[^@\s]*)?", flags=re.IGNORECASE
)
_STRAY_PERCENT = re.compile(r"%(?![0-9a-fA-F]{2})")
# A connection that fails has no SQLSTATE, only words.
_LOGIN = re.compile(r"authentication failed|no password supplied|role \".*\" (does not exist|is not permitted)|pg_hba")
_NO_DATABASE = re.compile(r"database \".*\" does not exist")

READ_ONLY = "set transaction isolation level repeatable read, read only"
READ_WRITE = "set transaction isolation level read committed"


class PostgresResource(dg.ConfigurableResource):
    """The source database.

    `dsn` is a libpq URI; the password may be left out of it for PGPASSFILE. `schema_name` holds the tables.
    """

    dsn: str = Field(description="libpq URI of the source database; keep it in an environment variable.")
    schema_name: str = Field(default="public", description="Schema that holds the source tables.")

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A REPEATABLE READ READ ONLY transaction: all statements see one moment of the database.

        Raises ServiceError when the database refuses, does not answer or cuts the connection.
        """
        with self._transaction(READ_ONLY) as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A read-write transaction, committed at the end of the block and rolled back by any exception in it."""
        with self._transaction(READ_WRITE) as connection:
            yield connection

    @contextmanager
    def _transaction(self, mode: str) -> Iterator[Connection]:
        import adbc_driver_postgresql.dbapi as adbc

        try:
            connection = adbc.connect(with_options(self.dsn))
        except adbc.Error as error:
            raise service_error(error) from None
        try:
            with interruptible(connection.adbc_cancel):
                with connection.cursor() as cursor:
                    cursor.execute(mode)
                    cursor.execute("set local timezone to 'UTC'")
                yield connection
                connection.commit()
        except adbc.Error as error:
            raise service_error(error) from None
        finally:
            connection.close()


def batches(cursor: Cursor) -> Iterator[pa.RecordBatch]:
    """The result of the cursor's statement, a batch at a time; raises ServiceError when it breaks off."""
    from pyarrow import ArrowException

    reader = cursor.fetch_record_batch()
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        # Not the driver's errors but Arrow's, of which one is an OSError.
        except (ArrowException, OSError) as error:
            raise service_error(error) from None
        yield batch


def with_options(dsn: str) -> str:
    """The URI with OPTIONS filled in where it does not set them itself; raises ServiceError where it is none."""
    if not _URI.fullmatch(dsn) or _STRAY_PERCENT.search(dsn):
        raise ServiceError(
            "the DSN is not a URI that Postgres understands (it is not shown, for it may hold a password).",
            "write it as postgresql://user:password@host:port/database; / ? @ % and spaces in the password must be "
            "percent-encoded.",
            retry=False,
        )
    given = dict(parse_qsl(dsn.partition("?")[2], keep_blank_values=True))
    missing = {name: value for name, value in OPTIONS.items() if name not in given}
    return f"{dsn}{'&' if '?' in dsn else '?'}{urlencode(missing)}"


def service_error(error: Exception) -> ServiceError:
    """What to tell the user about a driver's error, by its SQLSTATE class; messages of libpq hold no password."""
    state = getattr(error, "sqlstate", None) or ""
    text = " ".join(str(error).split())
    # The driver quotes the whole statement around what Postgres said about it.
    found = text.rpartition("ERROR: ")[2].removesuffix(f". SQLSTATE: {state}").partition(" Query was: ")[0].strip()
    if state.startswith("28") or (not state and _LOGIN.search(found)):
        return ServiceError(
            f"Postgres refused the login ({found}).", "correct the user and password in the DSN.", retry=False
        )
    if state == "3D000" or (not state and _NO_DATABASE.search(found)):
        return ServiceError(
            f"the Postgres database is missing ({found}).", "correct the database in the DSN.", retry=False
        )
    if state == "42501":
        return ServiceError(
            f"Postgres denied access ({found}).", "grant SELECT on the table to the DSN's role.", retry=False
        )
    # In the middle of a result an error has no SQLSTATE either.
    if state[:2] in ("08", "57", "53") or (not state and "ERROR: " not in text):
        return ServiceError(
            f"Postgres did not answer or cut the connection ({found}).",
            "check that the server runs and that the DSN's host and port reach it (`shopstream doctor`).",
            retry=True,
        )
    return ServiceError(
        f"Postgres answered {state or 'with an error'}: {found}.",
        "correct what the message names; `shopstream doctor` tests the connection.",
        retry=state.startswith("40") or "canceling statement" in found,
    )
