"""A Snowflake account for the contract tests: the local one, or a real one.

With SHOPSTREAM_CONTRACT_ACCOUNT=1 the tests run on the account that SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER,
SNOWFLAKE_PASSWORD (or SNOWFLAKE_PRIVATE_KEY_FILE), SNOWFLAKE_WAREHOUSE, SNOWFLAKE_DATABASE and SNOWFLAKE_ROLE name.
Its stage needs SHOPSTREAM_LAKE_BUCKET and SNOWFLAKE_STORAGE_INTEGRATION, and AWS credentials that can write there.
"""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import snowflake.connector
from local_account import AWS, PASSWORD, LocalSnowflake, ObjectStorage
from snowflake.connector import SnowflakeConnection

Run = Callable[..., list[tuple[Any, ...]]]


def query(connection: SnowflakeConnection, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows."""
    cursor = connection.cursor()
    cursor.execute(sql, parameters or None)
    return [tuple(row) for row in cursor.fetchall()]


@dataclass
class Account:
    """Where the tests run."""

    settings: dict[str, Any]
    database: str
    bucket: str
    integration: str
    s3: Any
    is_local: bool
    open: list[SnowflakeConnection] = field(default_factory=list)

    def connect(self, **settings: Any) -> SnowflakeConnection:
        parameters = {"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False} | settings.pop("session_parameters", {})
        # without the last the connector asks cloud metadata services who it is: 5 s where DNS is slow
        defaults = {
            "network_timeout": 30,
            "login_timeout": 20,
            "database": self.database,
            "platform_detection_timeout_seconds": 0.0,
        }
        connection = snowflake.connector.connect(**(defaults | self.settings | settings), session_parameters=parameters)
        self.open.append(connection)
        return connection

    def close_all(self) -> None:
        while self.open:
            self.open.pop().close()

    def put(self, key: str, content: pa.Table | bytes) -> None:
        if isinstance(content, pa.Table):
            buffer = io.BytesIO()
            pq.write_table(content, buffer)
            content = buffer.getvalue()
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=content)


def local_settings(server: LocalSnowflake) -> dict[str, Any]:
    return {
        "account": "local",
        "user": "tester",
        "password": PASSWORD,
        "host": "127.0.0.1",
        "port": server.port,
        "protocol": "http",
        "network_timeout": 30,
        "login_timeout": 20,
        "platform_detection_timeout_seconds": 0.0,
    }


def local_account(server: LocalSnowflake, storage: ObjectStorage) -> Account:
    s3 = boto3.client(
        "s3",
        endpoint_url=storage.endpoint,
        aws_access_key_id=AWS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=AWS["AWS_SECRET_ACCESS_KEY"],
        region_name=AWS["AWS_DEFAULT_REGION"],
    )
    s3.create_bucket(Bucket="contract")
    account = Account(local_settings(server), "SHOPSTREAM_CONTRACT", "contract", "CONTRACT", s3, is_local=True)
    with account.connect(database=None) as connection:
        cursor = connection.cursor()
        cursor.execute(f"create database if not exists {account.database}")
        cursor.execute(
            "create storage integration if not exists contract type = external_stage storage_provider = 'S3' "
            "enabled = true storage_aws_role_arn = 'arn:aws:iam::000000000000:role/contract' "
            "storage_allowed_locations = ('s3://contract/')"
        )
    return account


def real_account() -> Account:
    names = {
        "account": "SNOWFLAKE_ACCOUNT",
        "user": "SNOWFLAKE_USER",
        "password": "SNOWFLAKE_PASSWORD",
        "private_key_file": "SNOWFLAKE_PRIVATE_KEY_FILE",
        "warehouse": "SNOWFLAKE_WAREHOUSE",
        "role": "SNOWFLAKE_ROLE",
    }
    settings = {key: os.environ[name] for key, name in names.items() if os.environ.get(name)}
    return Account(
        settings,
        os.environ["SNOWFLAKE_DATABASE"],
        os.environ["SHOPSTREAM_LAKE_BUCKET"],
        os.environ["SNOWFLAKE_STORAGE_INTEGRATION"],
        boto3.client("s3"),
        is_local=False,
    )
