"""dbt models as assets: core and marts of a domain.

All are partitioned like staging, and built by one dbt command: Dagster puts assets with other partitions, or none, in
a run of their own. Only what reads a fitted model, which itself reads core, is built by a second command after the fit.
A partition says that the day's changes are in the table. A model that asks for the run's window (by the macro
`is_windowed`) takes those changes alone; any other is rebuilt whole, once per run, however many days the run has. dbt
runs inside the step's own process, with the manifest that was built ahead: a process and a parse of the project less
for every step.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster_dbt import dbt_assets
from pydantic import Field

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.partitions import SINGLE_RUN, Window
from shopstream_assets.platform.hosting.retries import RETRY
from shopstream_assets.platform.staging.warehouse import WarehouseResource
from shopstream_assets.platform.transform.build import build_models
from shopstream_assets.platform.transform.dbt_manifest import built_manifest
from shopstream_assets.platform.transform.translator import Translator


class BuildConfig(dg.Config):
    """How a run builds the models; Dagster's launchpad shows it."""

    full_refresh: bool = Field(
        default=False,
        description="Build every chosen model anew from all that staging holds, whatever days the run has.",
    )


def dbt_step(domain: str) -> str:
    """Name of the step that builds a domain's models: where a run's configuration has their BuildConfig."""
    return f"{domain}__dbt"


def dbt_definitions(domain: Domain, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The domain's models, as one step; and as a second, those downstream of sources other than its staging.

    Left to itself Dagster would cut the one step in two as well, and with it each step of checks that looks at both.
    """
    manifest = built_manifest(domain)
    fitted = {source["source_name"] for source in manifest["sources"].values()} - {domain.name}
    after = " ".join(f"source:{name}+" for name in sorted(fitted))

    def step(name: str, select: str = "fqn:*", exclude: str | None = None) -> dg.AssetsDefinition:
        @dbt_assets(
            manifest=manifest,
            select=select,
            exclude=exclude,
            name=name,
            partitions_def=partitions,
            backfill_policy=SINGLE_RUN,
            dagster_dbt_translator=Translator(domain),
            retry_policy=RETRY,
            pool=domain.pool,
        )
        def build(
            context: dg.AssetExecutionContext, config: BuildConfig, warehouse: WarehouseResource
        ) -> Iterator[Any]:
            yield from build_models(context, warehouse, domain, manifest, Window.of(context), config.full_refresh)

        return build

    if not after:
        return [step(dbt_step(domain.name))]
    return [step(dbt_step(domain.name), exclude=after), step(f"{dbt_step(domain.name)}_after_fits", select=after)]
