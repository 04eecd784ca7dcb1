"""A domain, as Dagster sees it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.environment import SettingsError, domain_settings, variable_of
from shopstream_assets.platform.declare.partitions import daily
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.lake.asset import lake_asset
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.operate.connections import check_connections
from shopstream_assets.platform.operate.jobs import backfill_job, check_job, daily_checks, daily_refresh, refresh_job
from shopstream_assets.platform.operate.lake_pruning import prune_lake, prune_lake_daily
from shopstream_assets.platform.operate.notifications import notify_failed_runs
from shopstream_assets.platform.operate.on_demand import s3, snowflake
from shopstream_assets.platform.operate.pruning import PRUNE_WEEKLY, prune_event_log
from shopstream_assets.platform.operate.repair_page import days_to_repair, repair_sensor
from shopstream_assets.platform.refresh.catch_up import catch_up_sensor
from shopstream_assets.platform.refresh.change_sensor import change_sensor
from shopstream_assets.platform.refresh.freshness import allowed_ages, freshness_checks, with_policies
from shopstream_assets.platform.refresh.freshness_sensor import freshness_sensor
from shopstream_assets.platform.refresh.reconciliation import reconciliation_checks
from shopstream_assets.platform.sources.checks import source_checks, whole_source_checks
from shopstream_assets.platform.sources.port import SourceResource
from shopstream_assets.platform.sources.postgres.asset import postgres_asset, postgres_spec
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.staging.asset import staging_asset
from shopstream_assets.platform.staging.integrity import integrity_checks
from shopstream_assets.platform.staging.warehouse import WarehouseResource
from shopstream_assets.platform.transform.assets import dbt_definitions
from shopstream_assets.platform.transform.exposures import exposure_specs

FittedAsset = Callable[[Domain, dg.PartitionsDefinition], dg.AssetsDefinition]
"""A model that is fitted to core, and read by marts: an asset of the layer `models`, with the partitions given."""


def domain_definitions(
    domain: Domain,
    checks: Sequence[dg.AssetChecksDefinition] = (),
    on_a_clock: Sequence[dg.AssetChecksDefinition] = (),
    fitted: Sequence[FittedAsset] = (),
    source: SourceResource | None = None,
) -> dg.Definitions:
    """Every asset, check, job, schedule, sensor and resource of a domain.

    `checks` are the domain's own; those `on_a_clock` run daily and on demand, in no refresh. What is `fitted` between
    core and marts is a dbt source of the marts that read it. `source` is where the tables are, where that is not the
    Postgres that the environment names.

    Raises SettingsError when the environment does not say where the domain starts and what its source is, or has a
    source that is not Postgres simulated.
    """
    settings = domain_settings(domain)
    if source is not None and settings.source_mode == "simulated":
        raise SettingsError(
            f"{domain.variable('SOURCE_MODE')}: found 'simulated', and the source of {domain.name} is not Postgres, "
            "the only one that is played. Set it to live."
        )
    partitions = daily(settings.start_date)
    sources: list[dg.AssetsDefinition | dg.AssetSpec] = [
        postgres_asset(domain, table, settings, partitions)
        if settings.source_mode == "simulated"
        else postgres_spec(domain, table, partitions)
        for table in domain.tables
    ]
    lake = [lake_asset(domain, table, partitions, settings.start_date) for table in domain.tables]
    downstream = [
        *(staging_asset(domain, table, partitions) for table in domain.tables),
        *dbt_definitions(domain, partitions),
        *(asset(domain, partitions) for asset in fitted),
    ]
    ages = allowed_ages(domain, [spec for assets in (*lake, *downstream) for spec in assets.specs])
    sources_checked = source_checks(domain, settings)
    on_a_clock = [*whole_table_checks(domain, settings), *on_a_clock]
    refresh, connections = refresh_job(domain.name, on_a_clock), resources(domain, source)
    checking = check_job(domain.name, [sources_checked, *on_a_clock])
    pruning = prune_lake(domain)
    return dg.Definitions(
        assets=[
            *sources,
            *with_policies(lake, ages),
            *with_policies(downstream, ages),
            *exposure_specs(domain),
            days_to_repair(domain),
        ],
        asset_checks=[
            sources_checked,
            *on_a_clock,
            *checks,
            freshness_checks(domain.name, ages, settings.start_date),
        ],
        jobs=[refresh, backfill_job(domain.name, on_a_clock), checking, check_connections, prune_event_log, pruning],
        schedules=[
            daily_refresh(domain.name, refresh),
            daily_checks(domain.name, checking),
            prune_lake_daily(domain.name, pruning),
            PRUNE_WEEKLY,
        ],
        sensors=[
            change_sensor(domain, settings.start_date, connections["source"], connections["store"]),
            catch_up_sensor(domain, settings.start_date, connections["store"], connections["warehouse"]),
            freshness_sensor(domain, ages, settings.start_date, connections["source"]),
            repair_sensor(domain, settings.repair_attempts),
            notify_failed_runs,
        ],
        resources=connections,
        executor=dg.in_process_executor,
    )


def whole_table_checks(domain: Domain, settings: DomainSettings) -> list[dg.AssetChecksDefinition]:
    """The checks that read whole tables: on a clock and on demand, in no refresh."""
    return [
        whole_source_checks(domain, settings),
        integrity_checks(domain),
        reconciliation_checks(domain, settings.start_date),
    ]


SNOWFLAKE = {
    "account": "SNOWFLAKE_ACCOUNT",
    "user": "SNOWFLAKE_USER",
    "role": "SNOWFLAKE_ROLE",
    "password": "SNOWFLAKE_PASSWORD",
    "private_key_path": "SNOWFLAKE_PRIVATE_KEY_PATH",
    "private_key_passphrase": "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE",
    "host": "SNOWFLAKE_HOST",
    "port": "SNOWFLAKE_PORT",
    "protocol": "SNOWFLAKE_PROTOCOL",
}
REQUIRED = ("account", "user")


def resources(domain: Domain, source: SourceResource | None = None) -> Mapping[str, Any]:
    """Connections, each by the names of its variables: a run reads their values, the UI shows only the names.

    What several domains share (an account, a role) may be said for one alone, by its prefix before the variable's name.
    """
    variables = {field: variable_of(domain, variable) for field, variable in SNOWFLAKE.items()}
    warehouse = WarehouseResource(
        database=_said(domain.database_variable, domain.database),
        storage_integration=_said(domain.integration_variable, domain.integration),
        query_tag=domain.query_tag,
        **{
            field: dg.EnvVar(variable)
            for field, variable in variables.items()
            if field in REQUIRED or os.environ.get(variable)
        },
    )
    return {
        "source": source
        or PostgresResource(
            dsn=dg.EnvVar(domain.variable("POSTGRES_DSN")), schema_name=dg.EnvVar(domain.variable("POSTGRES_SCHEMA"))
        ),
        "store": ObjectStoreResource(bucket=_said(domain.variable("LAKE_BUCKET"), domain.bucket)),
        "warehouse": warehouse,
        "snowflake": snowflake,
        "s3": s3,
    }


def _said(variable: str, otherwise: str) -> str:
    """What a variable says, read when it is used; `otherwise` where it is not set."""
    return dg.EnvVar(variable) if os.environ.get(variable) else otherwise
