"""Imports what a run needs, other than the project: what the process that runs are forked from has loaded.

A library that cannot be imported is left to the run that needs it, which then says so.
"""

from contextlib import suppress
from importlib import import_module

LIBRARIES = (
    "dagster._daemon.cli",
    "dagster_dbt.core.dbt_cli_event",
    "dagster_postgres",
    "dbt.cli.main",
    "dbt.task.build",
    "dbt.adapters.snowflake",
    "adbc_driver_postgresql.dbapi",
    "boto3.s3.transfer",
    "psycopg",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "snowflake.connector",
)

for _name in LIBRARIES:
    with suppress(Exception):
        import_module(_name)
