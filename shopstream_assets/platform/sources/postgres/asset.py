"""A declared table of Postgres as an asset: the user's own, or one that is played."""

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.partitions import SINGLE_RUN, Window
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.errors import told_from
from shopstream_assets.platform.hosting.retries import RETRY
from shopstream_assets.platform.present.table_assets import declared_metadata, show_newest, table_spec
from shopstream_assets.platform.sources.postgres.play import play
from shopstream_assets.platform.sources.postgres.previews import source_preview
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.sources.reading import EMPTY


def postgres_spec(domain: Domain, table: SourceTable, partitions: dg.PartitionsDefinition) -> dg.AssetSpec:
    """The source table as an asset; in live mode it is all there is, the table being the user's."""
    return dg.AssetSpec(
        **table_spec(domain, "postgres", table),
        description=f"{table.grain} {table.description} A partition holds the rows last changed on its day (UTC).",
        kinds={"postgres"},
        partitions_def=partitions,
        metadata=declared_metadata(domain, "postgres", table, table.name, postgres_asset),
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
            with source.snapshot() as reader:
                found = reader.fingerprints(table, window)
                look = source_preview(reader, table, window)
        for day in window.days:
            context.add_asset_metadata(
                {"dagster/partition_row_count": found.get(day, EMPTY).rows}, partition_key=day.isoformat()
            )
        show_newest(context, window, look)
        context.log.info(f"Played {rows} rows.")
        return dg.MaterializeResult()

    return simulated
