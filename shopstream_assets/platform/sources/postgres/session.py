"""How a session in the source Postgres is opened: what it pins, and how long it waits.

A session inherits what somebody set for the role, the database or the server. Some of those settings change the text
that a value arrives as, some how long a statement may wait, and two of them break the driver's own questions at
connect. So they travel in the startup packet, which comes before the first statement and wins over all of those.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from shopstream_assets.platform.errors import ServiceError

if TYPE_CHECKING:
    from adbc_driver_manager import AdbcDatabase
    from adbc_driver_manager.dbapi import Connection

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

# Known to every Postgres from 14 on: a name that the server does not know would refuse the connection.
PINNED = {
    # Text of values: what an undeclared column, a key in a message or a row in quarantine looks like.
    "TimeZone": "UTC",
    "DateStyle": "ISO,MDY",
    "IntervalStyle": "postgres",
    # As many digits as tell one float from the next.
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    # Money as text; amounts with the same sign and point on every server.
    "lc_monetary": "C",
    # What a statement means: ours are written for the default, and so are the driver's own at connect.
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",
    # No function or operator that somebody put into a schema takes the place of the built-in one.
    "search_path": "pg_catalog",
    # Raise where a policy would hide rows.
    "row_security": "off",
    # Not a limit in time but in rows: an index scan would leave some out.
    "gin_fuzzy_search_limit": "0",
    # A serializable session may fail for what others write, and a replica refuses it.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # A kept connection is idle between two looks.
    "idle_session_timeout": "0",
}

# Known to some: (setting, value, condition on the server). Set by the first statement.
PINNED_WHERE_KNOWN = (
    # Postgres 17. The limits below are per statement; one on the whole would end an extraction that is doing well.
    ("transaction_timeout", "0", "current_setting('server_version_num')::int >= 170000"),
    # A reader that was killed leaves no statement running. Elsewhere the server may be unable to look.
    ("client_connection_check_interval", "2s", "version() ~ 'linux'"),
)

_HOST = r"(?:\[[0-9a-fA-F:.]+\]|[^@/?\s:,\[\]]*)(?::\d*)?"
# A URI that libpq reads as its writer meant it: where a password holds / ? @ or a space as such, libpq takes a part of
# it for a host or port, and shows that in its message.
_URI = re.compile(
    rf"postgres(?:ql)?://(?:[^@/?\s]*@)?{_HOST}(?:,{_HOST})*(?:/[^@?\s]*)?(?:\?[^@\s]*)?", flags=re.IGNORECASE
)
_STRAY_PERCENT = re.compile(r"%(?![0-9a-fA-F]{2})")


@dataclass(frozen=True)
class Limits:
    """How long a session waits before it gives up: for one statement, for a lock, and idle within a transaction.

    The DSN's own `options` win over these, so that a limit can be changed without code.
    """

    statement: dt.timedelta
    lock: dt.timedelta
    idle: dt.timedelta = dt.timedelta(hours=1)

    @property
    def settings(self) -> Mapping[str, str]:
        """As Postgres settings, in milliseconds."""
        return {
            name: str(limit // dt.timedelta(milliseconds=1))
            for name, limit in (
                ("statement_timeout", self.statement),
                ("lock_timeout", self.lock),
                # While the last objects are uploaded nothing is read. Not without end: an open snapshot keeps vacuum
                # from its work.
                ("idle_in_transaction_session_timeout", self.idle),
            )
        }


# One scan of a window of any length.
READING = Limits(statement=dt.timedelta(hours=2), lock=dt.timedelta(minutes=2))
# A sensor's tick ends after 60 s, without a result: there is time for tables that are too slow, and for the others.
LOOKING = Limits(statement=dt.timedelta(seconds=20), lock=dt.timedelta(seconds=5))


def connect(dsn: str, limits: Limits, *, autocommit: bool = False, **settings: str) -> Connection:
    """A session with every setting pinned; `settings` are pinned on top. The transaction is still to begin.

    Raises ServiceError for a DSN that is none, and the driver's error when Postgres does not let us in.
    """
    from adbc_driver_manager import AdbcConnection
    from adbc_driver_postgresql.dbapi import Connection

    database = _database(with_options(dsn, limits, settings))
    connection = Connection(_Kept(), AdbcConnection(database), autocommit=autocommit)
    try:
        rows = ", ".join(f"('{name}', '{value}', {known})" for name, value, known in PINNED_WHERE_KNOWN)
        with connection.cursor() as cursor:
            cursor.execute(
                f"select set_config(s.name, s.value, false) from (values {rows}) as s (name, value, known) "
                "where s.known"
            )
            cursor.fetchall()
        if not autocommit:
            # A setting lasts only if its transaction does; and the next one may choose how it reads.
            connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


@cache
def _database(uri: str) -> AdbcDatabase:
    """The driver's object for a database, one a process and URI: to make it, it reads the whole catalog of types.

    That takes as long as the database has tables, most of what connecting takes. It holds no connection. A type that is
    made later is unknown to it, and none is ever asked for: what is not built in is read as its text.
    """
    import adbc_driver_postgresql

    return adbc_driver_postgresql.connect(uri)


class _Kept:
    """Stands for the database in a connection, which closes it with itself: others will connect through it."""

    def close(self) -> None:
        pass


def with_options(dsn: str, limits: Limits = READING, settings: Mapping[str, str] | None = None) -> str:
    """The URI with OPTIONS filled in where it does not set them itself, and with what the session pins.

    Its own `options` (or PGOPTIONS) stay, after the limits and before the rest: they may change how long we wait, not
    what we read. Raises ServiceError where it is no URI.
    """
    if not _URI.fullmatch(dsn) or _STRAY_PERCENT.search(dsn):
        raise ServiceError(
            "the DSN is not a URI that Postgres understands (it is not shown, for it may hold a password).",
            "write it as postgresql://user:password@host:port/database; / ? @ % and spaces in the password must be "
            "percent-encoded.",
            retry=False,
        )
    # Unlike in a web form, + is a plus.
    given = {
        unquote(name): unquote(value)
        for name, _, value in (pair.partition("=") for pair in dsn.partition("?")[2].split("&") if pair)
    }
    added = {name: value for name, value in OPTIONS.items() if name not in given}
    own = given.get("options", os.environ.get("PGOPTIONS", ""))
    # libpq takes the last of several `options`, Postgres the last of several values.
    added["options"] = " ".join(
        part
        for part in (_switches(limits.settings.items()), own, _switches((PINNED | dict(settings or {})).items()))
        if part
    )
    query = "&".join(f"{name}={quote(value)}" for name, value in added.items())
    return f"{dsn}{'&' if '?' in dsn else '?'}{query}"


def _switches(settings: Iterable[tuple[str, str]]) -> str:
    return " ".join(
        f"-c {name}={value.replace(chr(92), chr(92) * 2).replace(' ', chr(92) + ' ')}" for name, value in settings
    )
