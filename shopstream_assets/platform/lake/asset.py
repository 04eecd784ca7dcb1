"""A declared table's lake as an asset, with the checks of its step."""

import datetime as dt
from collections.abc import Iterable

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.environment import lake_bucket
from shopstream_assets.platform.declare.partitions import SINGLE_RUN, Window
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.errors import told_from
from shopstream_assets.platform.hosting.retries import RETRY
from shopstream_assets.platform.lake.extraction import extract_to_lake
from shopstream_assets.platform.lake.manifest import Manifest, manifest_key, partition_prefix
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.lake.previews import lake_preview, quarantine_preview
from shopstream_assets.platform.lake.verification import lake_differences
from shopstream_assets.platform.present.table_assets import declared_metadata, show_newest, table_spec
from shopstream_assets.platform.sources.port import SourceResource


def lake_asset(
    domain: Domain, table: SourceTable, partitions: dg.PartitionsDefinition, start: dt.date = dt.date.min
) -> dg.AssetsDefinition:
    """The table's changed rows as Parquet objects in the lake; `start` is its first partition."""
    key = asset_key(domain.name, "lake", table.name)

    @dg.multi_asset(
        specs=[
            dg.AssetSpec(
                **table_spec(domain, "lake", table, deps=[asset_key(domain.name, "postgres", table.name)]),
                description=f"{table.grain} Rows that changed on the partition's day (UTC), as immutable Parquet "
                "objects behind a manifest; rows that break a rule are in quarantine, counted.",
                kinds={"s3", "parquet"},
                partitions_def=partitions,
                metadata=declared_metadata(
                    domain, "lake", table, f"{lake_bucket(domain)}/{table.lake_prefix}", lake_asset
                ),
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
        context: dg.AssetExecutionContext, source: SourceResource, store: ObjectStoreResource
    ) -> dg.MaterializeResult:
        window = Window.of(context)
        with told_from("lake", table.name, window, "extracting changed rows to the lake"):
            drift, manifests = extract_to_lake(source, store, table, window, start)
            damage = list(lake_differences(store, manifests.values()))
            look = {} if damage else lake_preview(store, table, manifests.values())
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
        show_newest(context, window, look)
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
            **quarantine_preview(store, table, found),
        },
    )
