"""Fixtures of the contract tests: see contract_account.py for which account they run on."""

import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from contract_account import Account, Run, local_account, query, real_account
from local_account import LocalSnowflake, ObjectStorage
from snowflake.connector import SnowflakeConnection

_REAL = os.environ.get("SHOPSTREAM_CONTRACT_ACCOUNT") == "1"


@pytest.fixture(scope="session")
def object_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorage]:
    storage = ObjectStorage(tmp_path_factory.mktemp("s3"))
    yield storage
    storage.stop()


@pytest.fixture(scope="session")
def account(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    if _REAL:
        yield real_account()
        return
    storage: ObjectStorage = request.getfixturevalue("object_storage")
    server = LocalSnowflake(tmp_path_factory.mktemp("snowflake"), storage.endpoint, "--lock-timeout", "20")
    try:
        yield local_account(server, storage)
    finally:
        server.stop()


@pytest.fixture
def local_only(account: Account) -> None:
    if not account.is_local:
        pytest.skip("about the local server's process or users; the account is a real one")


@pytest.fixture
def schema(account: Account) -> Iterator[str]:
    """A schema of this test's own, dropped afterwards."""
    name = f"T_{uuid.uuid4().hex[:12]}".upper()
    with account.connect() as connection:
        connection.cursor().execute(f"create schema {account.database}.{name}")
    yield name
    account.close_all()
    with account.connect() as connection:
        connection.cursor().execute(f"drop schema {account.database}.{name}")


@pytest.fixture
def connect(account: Account, schema: str) -> Callable[..., SnowflakeConnection]:
    """Opens connections to the test's schema."""

    def open_connection(**settings: Any) -> SnowflakeConnection:
        return account.connect(schema=schema, **settings)

    return open_connection


@pytest.fixture
def run(connect: Callable[..., SnowflakeConnection]) -> Run:
    """Runs a statement on the test's connection and returns its rows."""
    connection = connect()

    def execute(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return query(connection, sql, *parameters)

    return execute


@pytest.fixture
def prefix(account: Account, schema: str, run: Run) -> str:
    """Where in the bucket this test's stage LAKE points."""
    path = f"contract-tests/{schema.lower()}"
    run(
        f"create stage if not exists lake url = 's3://{account.bucket}/{path}/' "
        f"storage_integration = {account.integration}"
    )
    return path


@pytest.fixture(scope="module")
def crashable(
    account: Account, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalSnowflake]:
    """A local server apart, which tests may kill as long as they start it again."""
    if not account.is_local:
        pytest.skip("about the local server's process; the account is a real one")
    storage: ObjectStorage = request.getfixturevalue("object_storage")
    server = LocalSnowflake(tmp_path_factory.mktemp("crashable"), storage.endpoint)
    yield server
    server.stop()
