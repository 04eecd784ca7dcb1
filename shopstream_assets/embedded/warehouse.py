"""The Snowflake protocol, from the emulator beside this file, and what an administrator would create in it."""

from __future__ import annotations

import hashlib
import http.client
import json
import signal
import sys
import warnings
from pathlib import Path

from shopstream_assets.embedded.process import Running
from shopstream_assets.embedded.state import Home, Memory, environment
from shopstream_assets.platform.declare.settings import SCHEMAS, WAREHOUSES

NAME = "snowflake"
STOP_SIGNAL = signal.SIGTERM
FORGETS = False


def prepare(home: Home, memory: Memory) -> None:
    """Make its folder."""
    (home.folder / NAME).mkdir(mode=0o700, exist_ok=True)


def command(home: Home, memory: Memory) -> list[str]:
    """The emulator in this interpreter, reading the lake from the stack's S3."""
    ours, folder = environment(home, memory), str(home.folder / NAME)
    options = ["--port", ours["SNOWFLAKE_PORT"], "--state-dir", folder, "--s3-endpoint", ours["AWS_ENDPOINT_URL"]]
    return [sys.executable, "-P", "-m", "shopstream_assets.embedded.snowflake", *options]


def env(home: Home, memory: Memory) -> dict[str, str]:
    """Its secrets: what clients must present, what it presents to S3, and the token that proves who it is."""
    ours = environment(home, memory)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "SNOWFLAKE_PASSWORD")
    return {
        **{name: ours[name] for name in names},
        "SHOPSTREAM_STACK_TOKEN": memory.token,
        "TZ": "UTC",
        "PYTHONUNBUFFERED": "1",
        # The emulator beside this file, whichever copy of the package is installed.
        "PYTHONPATH": str(Path(__file__).parents[2]),
        # The connector complains of a newer urllib3 at every import.
        "PYTHONWARNINGS": "ignore",
    }


def user(home: Home) -> None:
    """It runs as we do."""


def preload() -> None:
    """Import the connector, which takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import snowflake.connector  # noqa: F401


def answers(home: Home, memory: Memory, process: Running) -> bool:
    """Whether the server on the port knows this stack's token, and is the process that was started."""
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=2)
    try:
        connection.request("GET", "/shopstream/identity")
        identity = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    expected = hashlib.sha256(memory.token.encode()).hexdigest()
    return (
        isinstance(identity, dict)
        and identity.get("token_sha256") == expected
        and identity.get("pid") == process.pid
        and process.listens()
    )


def administration(database: str, integration: str, bucket: str) -> list[str]:
    """The statements an administrator runs once for a domain; running them again changes nothing."""
    return [
        *(f"create warehouse if not exists {name} warehouse_size = xsmall auto_suspend = 60" for name in WAREHOUSES),
        f"create database if not exists {database}",
        *(f"create schema if not exists {database}.{name}" for name in SCHEMAS),
        f"create storage integration if not exists {integration} type = external_stage storage_provider = 'S3' "
        f"enabled = true storage_aws_role_arn = 'arn:aws:iam::000000000000:role/shopstream' "
        f"storage_allowed_locations = ('s3://{bucket}/')",
    ]


def bootstrap(home: Home, memory: Memory) -> None:
    """Run the administrator's statements for each domain."""
    preload()
    import snowflake.connector

    ours = environment(home, memory)
    with (
        snowflake.connector.connect(
            account=ours["SNOWFLAKE_ACCOUNT"],
            host=ours["SNOWFLAKE_HOST"],
            port=int(ours["SNOWFLAKE_PORT"]),
            protocol=ours["SNOWFLAKE_PROTOCOL"],
            user=ours["SNOWFLAKE_USER"],
            password=ours["SNOWFLAKE_PASSWORD"],
            login_timeout=20,
            network_timeout=30,
            session_parameters={"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
        ) as connection,
        connection.cursor() as cursor,
    ):
        for business in memory.businesses.values():
            for statement in administration(business.database, business.integration, business.bucket):
                cursor.execute(statement)
