"""A declared table's staging as an asset, with the checks of its step."""

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.environment import warehouse_database
from shopstream_assets.platform.declare.partitions import SINGLE_RUN, Window
from shopstream_assets.platform.declare.settings import LOADING
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.errors import told_from
from shopstream_assets.platform.hosting.retries import RETRY
from shopstream_assets.platform.lake.added_columns import ADDED_COLUMNS, ADDED_DESCRIPTIONS
from shopstream_assets.platform.lake.manifest import Manifest, published
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.present import previews
from shopstream_assets.platform.present.table_assets import declared_metadata, show_newest, table_spec
from shopstream_assets.platform.staging import change_log
from shopstream_assets.platform.staging.loading import load_from_lake
from shopstream_assets.platform.staging.verification import repeated_keys, staging_differences
from shopstream_assets.platform.staging.warehouse import WarehouseResource

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection


def staging_asset(domain: Domain, table: SourceTable, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The table's log of changes in Snowflake."""
    key = asset_key(domain.name, "staging", table.name)

    @dg.multi_asset(
        specs=[
            dg.AssetSpec(
                **table_spec(domain, "staging", table, deps=[asset_key(domain.name, "lake", table.name)]),
                description=f"One row per version of: {table.grain[0].lower()}{table.grain[1:]} "
                "The log of its changes and tombstones; a partition is replaced whole.",
                kinds={"snowflake"},
                partitions_def=partitions,
                metadata=declared_metadata(
                    domain,
                    "staging",
                    table,
                    f"{warehouse_database(domain)}.STAGING.{table.staging_table}",
                    staging_asset,
                    [
                        dg.TableColumn(name=name, type=kind, description=ADDED_DESCRIPTIONS[name])
                        for name, kind in ADDED_COLUMNS.items()
                    ],
                ),
            )
        ],
        check_specs=[
            dg.AssetCheckSpec(
                "equals_the_lake",
                asset=key,
                blocking=True,
                description="Each partition, counted and summed again, has the rows of its current manifest.",
            ),
            dg.AssetCheckSpec(
                "keys_unique_and_not_null",
                asset=key,
                blocking=True,
                description="No key is null, and a snapshot saw each key once.",
            ),
        ],
        name=f"{domain.name}__staging__{table.name}",
        backfill_policy=SINGLE_RUN,
        retry_policy=RETRY,
        pool=domain.pool,
    )
    def stage(
        context: dg.AssetExecutionContext, store: ObjectStoreResource, warehouse: WarehouseResource
    ) -> dg.MaterializeResult:
        window = Window.of(context)
        with told_from("staging", table.name, window, "loading the lake's partitions"):
            loaded = load_from_lake(store, warehouse, table, window)
            manifests, etags = loaded.manifests, published(store, table, window)
            current = loaded.current(store, table, etags)
            with warehouse.connection(LOADING) as session:
                differing = list(staging_differences(session, warehouse.database, table, window, current, etags))
                repeated = repeated_keys(session, warehouse.database, table, window)
                look = _newest_staged(session, warehouse.database, table, manifests)
        for day, manifest in manifests.items():
            context.add_asset_metadata(
                {
                    "dagster/partition_row_count": manifest.staged_rows,
                    "loaded_bytes": manifest.bytes,
                    "manifest_hash": manifest.hash,
                },
                partition_key=day.isoformat(),
            )
        show_newest(context, window, look)
        return dg.MaterializeResult(
            check_results=[
                dg.AssetCheckResult(
                    check_name="equals_the_lake",
                    asset_key=key,
                    passed=not differing,
                    description=f"{'; '.join(differing[:5])}. Next: materialize the day in lake and staging again."
                    if differing
                    else None,
                    metadata={"rows": sum(manifest.staged_rows for manifest in manifests.values())},
                ),
                dg.AssetCheckResult(
                    check_name="keys_unique_and_not_null",
                    asset_key=key,
                    passed=not repeated,
                    description=f"rows with a null or repeated {', '.join(table.primary_key)}: "
                    f"{ {str(day): rows for day, rows in repeated.items()} }"
                    if repeated
                    else None,
                ),
            ]
        )

    return stage


def _newest_staged(
    session: "SnowflakeConnection", database: str, table: SourceTable, manifests: Mapping[dt.date, Manifest]
) -> dict[str, dg.MetadataValue]:
    newest = max((day for day, manifest in manifests.items() if manifest.staged_rows), default=None)
    if newest is None:
        return {}
    query = (
        f"select * from {change_log.staging_relation(database, table)} where {change_log.within(Window.day(newest))}"
    )
    with session.cursor() as cursor:
        return previews.of_relation(cursor, query, {*previews.clear_columns(table), *ADDED_COLUMNS})
