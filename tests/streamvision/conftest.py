"""A streaming service of the tests' own, on the tests' stack."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest
from streaming_road import PROJECT, START, Road

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.streamvision.domain import STREAMVISION
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.transform.dbt_invocation import invoke_dbt
from shopstream_assets.platform.transform.dbt_manifest import read_parsed

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest


@pytest.fixture(scope="session")
def streaming_manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The project's manifest, parsed once and without any variable of an account."""
    target = tmp_path_factory.mktemp("dbt")
    call = ["--no-version-check", "parse", "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--quiet"]
    call += ["--target-path", str(target), "--log-path", str(target)]
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("SNOWFLAKE_", "STREAMVISION_"))]:
            patch.delenv(name)
        patch.setenv("STREAMVISION_START_DATE", str(START))
        result = invoke_dbt(call)
    assert result.success, result.exception
    return read_parsed(target / "partial_parse.msgpack")


@pytest.fixture(scope="session")
def streaming_services(local_stack: Mapping[str, str]) -> Services:
    """Connections to a Postgres schema and a bucket of these tests' own, and to StreamVision's database."""
    name = f"stream-{uuid.uuid4().hex[:12]}"
    store = ObjectStoreResource(bucket=name)
    region = {"LocationConstraint": store.client.meta.region_name}
    store.client.create_bucket(Bucket=name, CreateBucketConfiguration=region)  # type: ignore[arg-type]
    source = PostgresResource(dsn=local_stack["STREAMVISION_POSTGRES_DSN"], schema_name=name)
    return Services(source=source, store=store, warehouse=Services.of(STREAMVISION).warehouse)


@pytest.fixture(scope="session")
def road(
    streaming_services: Services, streaming_manifest: Manifest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Road]:
    """The service as nothing has happened in it yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMVISION_START_DATE", str(START))
        yield Road(streaming_services, streaming_manifest, tmp_path_factory.mktemp("road"))
