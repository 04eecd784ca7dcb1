"""Connections to Snowflake, made on demand. Backends differ in these parameters alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from shopstream_assets.platform.declare.settings import LOADING
from shopstream_assets.platform.errors import ServiceError
from shopstream_assets.platform.hosting.interruption import interruptible

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

# Snowflake's code for an object that is not there, or not for this role.
DOES_NOT_EXIST = 2003
# SQLSTATE of what there is none of, as a session.
NO_DATA = "02000"

# Seconds. By default the connector tries for ever, and its `network_timeout` bounds two things at once: how long a
# statement may run before it is cancelled (one that takes an hour is stuck), and how long a request to a server that is
# gone is repeated. The second is bounded by `_pauses`: the server answers every request within READ_TIMEOUT, if only
# that the statement still runs.
LOGIN_TIMEOUT = 30
STATEMENT_TIMEOUT = 3600
READ_TIMEOUT = 60
RETRY_TIMEOUT = 120
# To cancel what an interrupted step had begun.
CANCEL_TIMEOUT = 5
LEFT_OVER_TIMEOUT = 60

_WRITING = """
select distinct session_id
from table(information_schema.query_history_by_user(result_limit => 10000))
where
    session_id <> %s and query_tag = %s and upper(database_name) = %s
    and execution_status in ('RUNNING', 'QUEUED', 'BLOCKED', 'RESUMING_WAREHOUSE')
    and query_type not in ('SELECT', 'SHOW', 'DESCRIBE', 'USE')
"""


class WarehouseResource(dg.ConfigurableResource):
    """A Snowflake account and one database in it.

    Log in with a private key file (preferred) or a password; both come from the environment. `host`, `port` and
    `protocol` are for a server other than Snowflake's own.
    """

    account: str
    user: str
    database: str = Field(description="Database with the schemas RAW, STAGING, CORE and MARTS.")
    role: str = ""
    password: str = ""
    private_key_path: str = ""
    private_key_passphrase: str = ""
    host: str = ""
    port: str = ""
    protocol: str = ""
    storage_integration: str = Field(default="", description="Integration that lets Snowflake read the lake.")
    query_tag: str = Field(default="shopstream", description="Tag of the queries; dbt's have _dbt behind it.")

    def parameters(self, warehouse: str) -> dict[str, Any]:
        """Keyword arguments for `snowflake.connector.connect`."""
        given: dict[str, Any] = {
            "account": self.account,
            "user": self.user,
            "role": self.role,
            "password": self.password,
            "private_key_file": self.private_key_path,
            "private_key_file_pwd": self.private_key_passphrase,
            "host": self.host,
            "port": int(self.port) if self.port else "",
            "protocol": self.protocol,
        }
        if self.private_key_path:
            given.update(password="", authenticator="SNOWFLAKE_JWT")
        return {
            **{name: value for name, value in given.items() if value != ""},
            "database": self.database,
            "warehouse": warehouse,
            **waits(),
            "network_timeout": STATEMENT_TIMEOUT,
            # The connector would ask the metadata hosts of every cloud where it runs; off a cloud that takes seconds.
            "platform_detection_timeout_seconds": 0.0,
            # It would list every module of this process with each login.
            "log_imported_packages_in_telemetry": False,
            "session_parameters": {
                "TIMEZONE": "UTC",
                "QUERY_TAG": self.query_tag,
                # What a session runs whose process was killed; Snowflake waits for five minutes.
                "ABORT_DETACHED_QUERY": True,
                "CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False,
            },
        }

    @contextmanager
    def connection(self, warehouse: str) -> Iterator[SnowflakeConnection]:
        """A session on `warehouse`; what it left uncommitted is rolled back at the end.

        Raises ServiceError when the login is refused, the database is missing or the account does not answer.
        """
        import snowflake.connector as connector

        try:
            session = connector.connect(**self.parameters(warehouse))
        except connector.Error as error:
            raise service_error(error) from None
        except (OSError, TypeError, ValueError) as error:
            raise ServiceError(
                f"the settings of the Snowflake connection cannot be used ({error}).",
                "correct SNOWFLAKE_PRIVATE_KEY_PATH and its passphrase, and SNOWFLAKE_PORT if it is set.",
                retry=False,
            ) from None
        try:
            with interruptible(_once(lambda: self.cancel([session.session_id]))):
                yield session
        except connector.Error as error:
            raise service_error(error) from None
        finally:
            # Ends what still runs in it.
            session.close()

    def cancel_left_over(self, tag: str) -> int:
        """Cancel what writes to the database under a query tag and wait for its end; returns how many sessions did.

        For the one who may write alone: it is what a process that was killed has left, and Snowflake lets go on for up
        to five minutes. Raises ServiceError when it has not ended within LEFT_OVER_TIMEOUT seconds.
        """
        left_over: set[int] = set()
        deadline = time.monotonic() + LEFT_OVER_TIMEOUT
        with self.connection(LOADING) as session, session.cursor() as cursor:
            while True:
                cursor.execute(_WRITING, (session.session_id, tag, self.database.upper()))
                if not (found := {int(number) for (number,) in cursor.fetchall()}):
                    return len(left_over)
                if time.monotonic() > deadline:
                    raise ServiceError(
                        f"what a killed run has left goes on writing (sessions {', '.join(map(str, sorted(found)))}).",
                        "try again later, or end these sessions: select system$abort_session(<number>).",
                        retry=True,
                    )
                left_over |= found
                self.cancel(found)

    def cancel(self, sessions: Iterable[int]) -> None:
        """Cancel what these sessions run, and nothing else; raises the connector's Error where that is not possible.

        The sessions go on: each has its statement fail. One that has ended meanwhile runs nothing.
        """
        import snowflake.connector as connector

        with (
            connector.connect(
                **{**self.parameters(LOADING), "login_timeout": CANCEL_TIMEOUT, "network_timeout": CANCEL_TIMEOUT}
            ) as other,
            other.cursor() as cursor,
        ):
            for number in sessions:
                try:
                    cursor.execute(f"select system$cancel_all_queries({int(number)})")
                except connector.ProgrammingError as error:
                    if error.sqlstate != NO_DATA:
                        raise


def waits() -> dict[str, Any]:
    """Keyword arguments for `snowflake.connector.connect`: how long a session waits for an account that is silent."""
    return {
        "login_timeout": LOGIN_TIMEOUT,
        "socket_timeout": READ_TIMEOUT,
        "backoff_policy": _pauses,
    }


def _once(act: Callable[[], None]) -> Callable[[], None]:
    """`act`, until it has succeeded: what is sent after it, as a ROLLBACK, is not to be cancelled."""
    done = False

    def act_once() -> None:
        nonlocal done
        if not done:
            act()
            done = True

    return act_once


def _pauses() -> Iterator[int]:
    """Seconds between the attempts of one request, until RETRY_TIMEOUT has passed."""
    from snowflake.connector.errors import OperationalError

    started, pause = time.monotonic(), 1
    while time.monotonic() - started < RETRY_TIMEOUT:
        yield pause
        pause = min(2 * pause, 16)
    raise OperationalError(f"no answer within {RETRY_TIMEOUT} s", errno=UNREACHABLE)


# Errors of the connector and of Snowflake, by number.
UNREACHABLE = 250003
_LOGIN = {390100, 390101, 390144, 394304, 251005, 251006, 251008}
_MISSING = {DOES_NOT_EXIST, 2043}
_NO_ANSWER = {-1, 250001, UNREACHABLE, 251011, 251012, 252010, 252012, 390114}
# Another transaction held the table for too long or changed it.
_CONFLICT = {625, 629}


def service_error(error: Any) -> ServiceError:
    """What to tell the user about an error of the connector, by its number."""
    number, found = getattr(error, "errno", None) or -1, " ".join(str(getattr(error, "msg", None) or error).split())
    if number in _LOGIN or "password was specified" in found or "JWT" in found:
        return ServiceError(
            f"Snowflake refused the login ({found}).",
            "correct SNOWFLAKE_USER and its password or private key.",
            retry=False,
        )
    if number in _MISSING or "does not exist or not authorized" in found:
        return ServiceError(
            f"an object in Snowflake is missing or not granted ({found}).",
            "create it (deploy/snowflake; the local stack does it by itself), correct SNOWFLAKE_DATABASE, or grant it "
            "to SNOWFLAKE_ROLE.",
            retry=False,
        )
    # 290000 + status: an HTTP error that the connector gave up on.
    if number in _NO_ANSWER or number // 1000 == 290:
        return ServiceError(
            f"Snowflake did not answer ({found}).",
            "check SNOWFLAKE_ACCOUNT (and SNOWFLAKE_HOST, if set) and the network (`shopstream doctor`).",
            retry=True,
        )
    if number in _CONFLICT:
        return ServiceError(
            f"another transaction was in the way ({found}).", "try again when it has ended.", retry=True
        )
    return ServiceError(f"Snowflake answered {number}: {found}.", "correct what the message names.", retry=False)


__all__ = ["WarehouseResource", "service_error"]
