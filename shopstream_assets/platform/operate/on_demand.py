"""dagster-snowflake's and dagster-aws's resources: for the job `check_connections`, and for a user's own assets.

Their packages take seconds to import (Snowpark and the like), which every run would pay; so they are imported when a
resource is first asked for. An asset takes them as `snowflake: dg.ResourceParam[SnowflakeResource]`.
"""

from typing import TYPE_CHECKING

import dagster as dg

from shopstream_assets.platform.declare.settings import REPORTING

if TYPE_CHECKING:
    from dagster_snowflake import SnowflakeResource
    from mypy_boto3_s3 import S3Client


@dg.resource(
    description="dagster_snowflake.SnowflakeResource with the platform's connection, on the reporting warehouse.",
    required_resource_keys={"warehouse"},
)
def snowflake(context: dg.InitResourceContext) -> "SnowflakeResource":
    """The SnowflakeResource; its `get_connection()` yields a connection of the connector."""
    from dagster_snowflake import SnowflakeResource

    connection = context.resources.warehouse
    parameters = connection.parameters(REPORTING)
    return SnowflakeResource(
        account=connection.account,
        user=connection.user,
        database=connection.database,
        warehouse=REPORTING,
        role=connection.role or None,
        password=connection.password or None,
        private_key_path=connection.private_key_path or None,
        private_key_password=connection.private_key_passphrase or None,
        login_timeout=parameters["login_timeout"],
        network_timeout=parameters["network_timeout"],
        additional_snowflake_connection_args={
            name: parameters[name] for name in ("host", "port", "protocol", "session_parameters") if name in parameters
        },
    )


@dg.resource(description="The boto3 client of dagster_aws.s3.S3Resource, with the environment's credentials.")
def s3(_context: dg.InitResourceContext) -> "S3Client":
    """The client that S3Resource gives."""
    from dagster_aws.s3 import S3Resource

    return S3Resource().get_client()
