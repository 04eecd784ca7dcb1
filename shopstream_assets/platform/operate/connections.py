"""The job `check_connections`: whether runs reach the lake and the warehouse, from where runs run.

`shopstream doctor` asks the same from the operator's shell; a run may be on another machine, with another role, network
and credentials. The job goes through dagster-aws's and dagster-snowflake's own resources, as a user's assets do, so it
also shows that those work. It writes nothing.
"""

import time
from typing import TYPE_CHECKING

import dagster as dg

from shopstream_assets.platform.errors import Problem, told_from
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.staging.warehouse import service_error

if TYPE_CHECKING:
    from dagster_snowflake import SnowflakeResource
    from mypy_boto3_s3 import S3Client

IDENTITY_SQL = "select current_version(), current_account(), current_user(), current_role(), current_warehouse()"
IDENTITY = ("version", "account", "user", "role", "warehouse")


@dg.op(
    required_resource_keys={"s3", "store"},
    description="Lists one object of the lake's bucket through dagster-aws's S3Resource.",
)
def reach_the_lake(context: dg.OpExecutionContext) -> None:
    """Show where the bucket is and its first key; raises LayerError where it does not let us in."""
    from botocore.exceptions import BotoCoreError, ClientError

    client: S3Client = context.resources.s3
    store: ObjectStoreResource = context.resources.store
    began = time.monotonic()
    with told_from("lake", store.bucket, "none", "listing the bucket"):
        try:
            found = client.list_objects_v2(Bucket=store.bucket, MaxKeys=1)
        except (BotoCoreError, ClientError) as error:
            raise Problem(
                f"S3 did not list it ({' '.join(str(error).split())}).",
                "correct the domain's LAKE_BUCKET (as SHOPSTREAM_LAKE_BUCKET), and the region, endpoint and role or "
                "keys that runs have.",
            ) from None
    context.add_output_metadata(
        {
            "bucket": store.bucket,
            "endpoint": client.meta.endpoint_url,
            "region": client.meta.region_name,
            "first_key": next((item["Key"] for item in found.get("Contents", [])), "none: the bucket is empty"),
            "seconds": time.monotonic() - began,
        }
    )


@dg.op(
    required_resource_keys={"snowflake"},
    description="Asks the warehouse who we are through dagster-snowflake's SnowflakeResource.",
)
def reach_the_warehouse(context: dg.OpExecutionContext) -> None:
    """Show Snowflake's version and the account, user, role and warehouse of runs; raises LayerError where it cannot."""
    import snowflake.connector as connector

    resource: SnowflakeResource = context.resources.snowflake
    began = time.monotonic()
    with told_from("staging", "none", "none", "asking the warehouse who we are"):
        try:
            with resource.get_connection() as session, session.cursor() as cursor:
                cursor.execute(IDENTITY_SQL)
                found = cursor.fetchone() or ()
        except connector.Error as error:
            raise service_error(error) from None
    shown = {name: str(value) for name, value in zip(IDENTITY, found, strict=False)}
    context.add_output_metadata({**shown, "seconds": time.monotonic() - began})


@dg.job(description="See whether runs reach the lake and the warehouse, and as whom. Writes nothing.")
def check_connections() -> None:
    """Ask each service from where runs run; the answers are the metadata of the outputs."""
    reach_the_lake()
    reach_the_warehouse()
