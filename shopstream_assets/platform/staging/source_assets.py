"""A declared table as three assets: Postgres, lake and staging."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.simulate import play
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.errors import told_from
from shopstream_assets.platform.hosting.retries import RETRY
from shopstream_assets.platform.hosting.storage import WAREHOUSE_POOL
from shopstream_assets.platform.lake.extraction import extract_to_lake
from shopstream_assets.platform.lake.manifest import Manifest, manifest_key, partition_prefix, published, read_manifests
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.present import previews
from shopstream_assets.platform.present.code_references import code_references, declaration, definition
from shopstream_assets.platform.sources.postgres import extract
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.staging import change_log
from shopstream_assets.platform.staging.loading import load_from_lake
from shopstream_assets.platform.staging.verification import lake_differences, repeated_keys, staging_differences
from shopstream_assets.platform.staging.warehouse import LOADING, WarehouseResource

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

# One run over a whole range, for every asset of the chain: assets with different policies are split into runs.
SINGLE_RUN = dg.BackfillPolicy.single_run()


def asset_key(domain: str, layer: str, table: str) -> dg.AssetKey:
    """Key of a table in a layer: domain/layer/table."""
    return dg.AssetKey([domain, layer, table])


def _column_schema(table: SourceTable, layer: str) -> dg.TableSchema:
    columns = [
        dg.TableColumn(
            name=column.name,
            type=column.type.postgres if layer == "postgres" else column.type.snowflake,
            description=column.description,
            constraints=dg.TableColumnConstraints(
                nullable=column.nullable,
                unique=(column.name,) == table.primary_key,
                other=[f"one of {', '.join(column.values)}"] if column.values else None,
            ),
            tags={"pii": ""} if column.pii else None,
        )
        for column in table.columns
    ]
    if layer == "staging":
        columns += [
            dg.TableColumn(name=name, type=kind, description=change_log.ADDED_DESCRIPTIONS[name])
            for name, kind in change_log.ADDED_COLUMNS.items()
        ]
    return dg.TableSchema(columns=columns)


def _spec(domain: Domain, layer: str, table: SourceTable, **changes: Any) -> dict[str, Any]:
    return {
        "key": asset_key(domain.name, layer, table.name),
        "group_name": f"{domain.name}_{layer}",
        "owners": [table.owner],
        "tags": {"domain": domain.name, "layer": layer},
        **changes,
    }


def _declared_metadata(
    domain: Domain, layer: str, table: SourceTable, location: str, defined_by: Callable[..., Any]
) -> dict[str, Any]:
    lineage = {
        column.name: [dg.TableColumnDep(asset_key(domain.name, _BEFORE[layer], table.name), column.name)]
        for column in table.columns
        if layer in _BEFORE
    }
    return {
        "dagster/table_name": location,
        "dagster/column_schema": _column_schema(table, layer),
        **({"dagster/column_lineage": dg.TableColumnLineage(lineage)} if lineage else {}),
        **code_references(*declaration(domain.name, table.name), definition(defined_by)),
    }


def _show(context: dg.AssetExecutionContext, window: Window, look: Mapping[str, dg.MetadataValue]) -> None:
    """Attach a preview to the newest partition of the window alone: a year's backfill would repeat it 365 times."""
    if look:
        context.add_asset_metadata(look, partition_key=str(window.end - ONE_DAY))


_BEFORE = {"lake": "postgres", "staging": "lake"}


def postgres_spec(domain: Domain, table: SourceTable, partitions: dg.PartitionsDefinition) -> dg.AssetSpec:
    """The source table as an asset; in live mode it is all there is, the table being the user's."""
    return dg.AssetSpec(
        **_spec(domain, "postgres", table),
        description=f"{table.grain} {table.description} A partition holds the rows last changed on its day (UTC).",
        kinds={"postgres"},
        partitions_def=partitions,
        metadata=_declared_metadata(domain, "postgres", table, table.name, postgres_asset),
    )


def postgres_asset(
    domain: Domain, table: SourceTable, settings: DomainSettings, partitions: dg.PartitionsDefinition
) -> dg.AssetsDefinition:
    """The source table in simulated mode: materializing a day plays it."""

    @dg.multi_asset(
        specs=[postgres_spec(domain, table, partitions)],
        name=f"{domain.name}__postgres__{table.name}",
        backfill_policy=SINGLE_RUN,
        retry_policy=RETRY,
    )
    def simulated(context: dg.AssetExecutionContext, source: PostgresResource) -> dg.MaterializeResult:
        window = Window.of(context)
        with told_from("postgres", table.name, window, "playing the simulated store"):
            with source.transaction() as connection:
                rows = play(connection, domain.simulator(settings), table, source.schema_name, window.first, window.end)
            with source.snapshot() as connection:
                found = extract.fingerprints(connection, table, source.schema_name, window)
                look = previews.of_source(connection, table, source.schema_name, window)
        for day in window.days:
            context.add_asset_metadata(
                {"dagster/partition_row_count": found.get(day, extract.EMPTY).rows}, partition_key=day.isoformat()
            )
        _show(context, window, look)
        context.log.info(f"Played {rows} rows.")
        return dg.MaterializeResult()

    return simulated


def lake_asset(
    domain: Domain, table: SourceTable, partitions: dg.PartitionsDefinition, start: dt.date = dt.date.min
) -> dg.AssetsDefinition:
    """The table's changed rows as Parquet objects in the lake; `start` is its first partition."""
    key = asset_key(domain.name, "lake", table.name)

    @dg.multi_asset(
        specs=[
            dg.AssetSpec(
                **_spec(domain, "lake", table, deps=[asset_key(domain.name, "postgres", table.name)]),
                description=f"{table.grain} Rows that changed on the partition's day (UTC), as immutable Parquet "
                "objects behind a manifest; rows that break a rule are in quarantine, counted.",
                kinds={"s3", "parquet"},
                partitions_def=partitions,
                metadata=_declared_metadata(domain, "lake", table, table.lake_prefix, lake_asset),
            )
        ],
        check_specs=[
            dg.AssetCheckSpec(
                "objects_hold_the_source",
                asset=key,
                blocking=True,
                description="Every object, fetched again, has its checksum and rows; rows of the source = rows in the "
                "day's objects + quarantined rows.",
            ),
            dg.AssetCheckSpec(
                "schema_as_declared",
                asset=key,
                description="The source has the declared columns; added and dropped ones travel but are reported.",
            ),
            dg.AssetCheckSpec("nothing_quarantined", asset=key, description="No row broke a rule."),
        ],
        name=f"{domain.name}__lake__{table.name}",
        backfill_policy=SINGLE_RUN,
        retry_policy=RETRY,
    )
    def lake(
        context: dg.AssetExecutionContext, source: PostgresResource, store: ObjectStoreResource
    ) -> dg.MaterializeResult:
        window = Window.of(context)
        with told_from("lake", table.name, window, "extracting changed rows to the lake"):
            drift, manifests = extract_to_lake(source, store, table, window, start)
            damage = list(lake_differences(store, manifests.values()))
            look = {} if damage else previews.of_lake(store, table, manifests.values())
        for day, manifest in manifests.items():
            context.add_asset_metadata(
                {
                    "dagster/partition_row_count": manifest.rows,
                    "dagster/size_bytes": manifest.bytes,
                    "quarantined_rows": manifest.quarantined_rows,
                    "moved_rows": manifest.moved,
                    "deleted_rows": manifest.deleted,
                    "snapshot": manifest.snapshot,
                    "manifest_hash": manifest.hash,
                    "dagster/uri": f"s3://{store.bucket}/{partition_prefix(table, day)}",
                    "manifest": dg.MetadataValue.url(store.page(manifest_key(table, day))),
                },
                partition_key=day.isoformat(),
            )
        _show(context, window, look)
        return dg.MaterializeResult(
            check_results=[
                dg.AssetCheckResult(
                    check_name="objects_hold_the_source",
                    asset_key=key,
                    passed=not damage,
                    description="; ".join(damage[:5]) or None,
                    metadata={
                        "objects": sum(len(manifest.objects) for manifest in manifests.values()),
                        "source_rows": sum(manifest.source_rows for manifest in manifests.values()),
                        "quarantined_rows": sum(manifest.quarantined_rows for manifest in manifests.values()),
                    },
                ),
                dg.AssetCheckResult(
                    check_name="schema_as_declared",
                    asset_key=key,
                    passed=not drift,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=f"columns of the source that differ from the declaration: {drift}" if drift else None,
                ),
                _nothing_quarantined(key, store, table, manifests.values()),
            ]
        )

    return lake


def _nothing_quarantined(
    key: dg.AssetKey, store: ObjectStoreResource, table: SourceTable, manifests: Iterable[Manifest]
) -> dg.AssetCheckResult:
    found = [manifest for manifest in manifests if manifest.quarantined_rows]
    rows = {str(manifest.partition): manifest.quarantined_rows for manifest in found}
    return dg.AssetCheckResult(
        check_name="nothing_quarantined",
        asset_key=key,
        passed=not rows,
        severity=dg.AssetCheckSeverity.WARN,
        description=(
            f"{sum(rows.values())} rows of {table.name} broke a rule and are kept in "
            f"s3://{store.bucket}/{table.quarantine_prefix}/ with their reasons. Next: correct them in the source; "
            "a corrected row travels by itself, and so does one whose rule was loosened."
            if rows
            else None
        ),
        metadata={
            **({"rows_by_day": dg.MetadataValue.json(rows)} if rows else {}),
            **previews.of_quarantine(store, table, found),
        },
    )


def staging_asset(domain: Domain, table: SourceTable, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The table's log of changes in Snowflake."""
    key = asset_key(domain.name, "staging", table.name)

    @dg.multi_asset(
        specs=[
            dg.AssetSpec(
                **_spec(domain, "staging", table, deps=[asset_key(domain.name, "lake", table.name)]),
                description=f"One row per version of: {table.grain[0].lower()}{table.grain[1:]} "
                "The log of its changes and tombstones; a partition is replaced whole.",
                kinds={"snowflake"},
                partitions_def=partitions,
                metadata=_declared_metadata(domain, "staging", table, f"STAGING.{table.staging_table}", staging_asset),
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
        pool=WAREHOUSE_POOL,
    )
    def stage(
        context: dg.AssetExecutionContext, store: ObjectStoreResource, warehouse: WarehouseResource
    ) -> dg.MaterializeResult:
        window = Window.of(context)
        with told_from("staging", table.name, window, "loading the lake's partitions"):
            manifests = load_from_lake(store, warehouse, table, window)
            etags = published(store, table, window)
            current = read_manifests(store, table, window.days)
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
        _show(context, window, look)
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
        return previews.of_relation(cursor, query, {*previews.clear_columns(table), *change_log.ADDED_COLUMNS})
