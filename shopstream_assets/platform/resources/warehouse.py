"""Connections to Snowflake, made on demand. Backends differ in these parameters alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from shopstream_assets.platform.errors import ServiceError

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

LOADING = "LOADING_WH"
REPORTING = "REPORTING_WH"

# The connector retries for ever by default; a statement that takes an hour is stuck, a login that takes one minute too.
LOGIN_TIMEOUT = 30
NETWORK_TIMEOUT = 3600


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
            "login_timeout": LOGIN_TIMEOUT,
            "network_timeout": NETWORK_TIMEOUT,
            "session_parameters": {
                "TIMEZONE": "UTC",
                "QUERY_TAG": "shopstream",
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
        try:
            yield session
        except connector.Error as error:
            raise service_error(error) from None
        finally:
            session.close()


def service_error(error: Any) -> ServiceError:
    """What to tell the user about an error of the connector, by its number."""
    number, found = getattr(error, "errno", None), " ".join(str(getattr(error, "msg", None) or error).split())
    if number in (390100, 390144, 390101, 394304) or "password was specified" in found or "JWT" in found:
        return ServiceError(
            f"Snowflake refused the login ({found}).",
            "correct SNOWFLAKE_USER and its password or private key.",
            retry=False,
        )
    if number in (2003, 2043) or "does not exist or not authorized" in found:
        return ServiceError(
            f"an object in Snowflake is missing or not granted ({found}).",
            "create it (deploy/snowflake; the local stack does it by itself) or grant it to SNOWFLAKE_ROLE.",
            retry=False,
        )
    if number in (250001, 250003, 251001, 251011, 390114) or number is None:
        return ServiceError(
            f"Snowflake did not answer ({found}).",
            "check SNOWFLAKE_ACCOUNT (and SNOWFLAKE_HOST, if set) and the network (`shopstream doctor`).",
            retry=True,
        )
    return ServiceError(f"Snowflake answered {number}: {found}.", "read the message.", retry=False)


__all__ = ["LOADING", "REPORTING", "WarehouseResource", "service_error"]
