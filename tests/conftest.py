"""A stack of the tests' own: real Postgres, S3 and Snowflake protocol, in a folder that is deleted at the end."""

import gc
import os
import uuid
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import dagster as dg

# Not left to its plugin, which imports it at the end of a session: Python 3.11.7 fails to compile it there when a
# finalizer compiles something meanwhile.
import hypothesis  # noqa: F401
import psycopg
import pytest
from psycopg import sql

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.settings import LOADING, SCHEMAS
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.staging.warehouse import WarehouseResource

# The files that take longest, in this order: who gets one late leaves the other workers with nothing to do.
LONGEST = (
    "test_kills",
    "test_sales_checks",
    "test_found",
    "test_failures",
    "test_demo",
    "test_models",
    "test_streaming_models",
    "test_truth",
    "test_simulator",
    "test_bad_services",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; skip what takes minutes, unless it is asked for."""
    turns = {name: turn for turn, name in enumerate(LONGEST)}
    items.sort(key=lambda item: turns.get(item.path.stem, len(turns)))
    if os.environ.get("SHOPSTREAM_LONG_TESTS") != "1":
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: `make test LONG=1` runs it"))
    if dsn := os.environ.get("SHOPSTREAM_TEST_POSTGRES_DSN"):
        with psycopg.connect(dsn) as connection:
            version = connection.info.server_version // 10_000
        for item in items:
            needed = item.get_closest_marker("postgres")
            if needed and needed.args[0] > version:
                item.add_marker(pytest.mark.skip(reason=f"is about what Postgres {version} does not have"))


def pytest_collection_finish() -> None:
    """Collect garbage less often: a worker has Dagster and dbt loaded, and every look at them all takes long."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


@pytest.fixture(scope="session")
def local_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The stack's environment variables, set in os.environ while the session lasts.

    With SHOPSTREAM_TEST_POSTGRES_DSN the shop is in another Postgres than the stack's.
    """
    from shopstream_assets.embedded import stack

    before = dict(os.environ)
    with stack.running(tmp_path_factory.mktemp("stack")) as ours:
        variables = {**ours}
        if other := os.environ.get("SHOPSTREAM_TEST_POSTGRES_DSN"):
            variables["SHOPSTREAM_POSTGRES_DSN"] = other
        os.environ.update(variables)
        yield variables
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def services(local_stack: Mapping[str, str]) -> Iterator[Services]:
    """Connections to the tests' stack: a Postgres schema, a bucket and a database of the test's own.

    They are dropped with it: what lists a catalog takes as long as there are tables in it.
    """
    name = f"test-{uuid.uuid4().hex[:12]}"
    store = ObjectStoreResource(bucket=name)
    region = {"LocationConstraint": store.client.meta.region_name}
    store.client.create_bucket(Bucket=name, CreateBucketConfiguration=region)  # type: ignore[arg-type]
    source = PostgresResource(dsn=local_stack["SHOPSTREAM_POSTGRES_DSN"], schema_name=name)
    with source.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(f'create schema "{name}"')
    warehouse = WarehouseResource(
        account=local_stack["SNOWFLAKE_ACCOUNT"],
        user=local_stack["SNOWFLAKE_USER"],
        password=local_stack["SNOWFLAKE_PASSWORD"],
        host=local_stack["SNOWFLAKE_HOST"],
        port=local_stack["SNOWFLAKE_PORT"],
        protocol=local_stack["SNOWFLAKE_PROTOCOL"],
        database=f"DWH_{uuid.uuid4().hex[:8]}".upper(),
    )
    administrator = warehouse.model_copy(update={"database": local_stack["SNOWFLAKE_DATABASE"]})
    with administrator.connection(LOADING) as session, session.cursor() as cursor:
        cursor.execute(f"create database {warehouse.database}")
        for schema in SCHEMAS:
            cursor.execute(f"create schema {warehouse.database}.{schema}")
    yield Services(source=source, store=store, warehouse=warehouse)
    with psycopg.connect(source.dsn, autocommit=True) as postgres:
        postgres.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(name)))
    with administrator.connection(LOADING) as session, session.cursor() as cursor:
        cursor.execute(f"drop database {warehouse.database}")


@pytest.fixture
def own_dagster(local_stack: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance of dagster.yaml, on a database of its own."""
    url = local_stack["SHOPSTREAM_DAGSTER_POSTGRES_URL"]
    server = url.replace("+psycopg2", "", 1)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("drop database if exists storage_test with (force)")
        connection.execute("create database storage_test")
    monkeypatch.setenv("SHOPSTREAM_DAGSTER_POSTGRES_URL", urlsplit(url)._replace(path="/storage_test").geturl())
    with dg.DagsterInstance.get() as instance:
        yield instance
