"""dbt models as assets: core and marts of a domain.

All are partitioned like staging, and built by one dbt command: Dagster puts assets with other partitions, or none, in
a run of their own. A partition says that the day's changes are in the table. A model that asks for the run's window
(by the macro `is_windowed`) takes those changes alone; any other is rebuilt whole, once per run, however many
days the run has. dbt runs inside the step's own process, with the manifest that was built ahead: a process and a parse
of the project less for every step.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, dbt_assets
from pydantic import Field

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.errors import LayerError, Problem, told_from
from shopstream_assets.platform.hosting.retries import RETRY
from shopstream_assets.platform.hosting.storage import WAREHOUSE_POOL
from shopstream_assets.platform.present import previews
from shopstream_assets.platform.present.charts import Chart, drawn
from shopstream_assets.platform.staging.change_log import create_staging_table, snowflake_name
from shopstream_assets.platform.staging.source_assets import SINGLE_RUN, asset_key
from shopstream_assets.platform.staging.warehouse import REPORTING, WarehouseResource
from shopstream_assets.platform.transform.dbt_manifest import PROJECT, built_manifest, directories, parsed_project
from shopstream_assets.platform.transform.dbt_run import run_dbt
from shopstream_assets.platform.transform.model_metadata import clear_columns, model_metadata

if TYPE_CHECKING:
    from snowflake.connector.cursor import SnowflakeCursor

# Of this process's project, as dbt keeps it for itself.
PARSED = parsed_project().parsed


class Translator(DagsterDbtTranslator):
    """Keys, groups and kinds of dbt models: domain/layer/table, as for every other asset.

    A model's path gives domain and layer; a source named as the domain is that domain's staging.
    """

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """domain/layer/table."""
        if dbt_resource_props["resource_type"] == "source":
            domain = dbt_resource_props["source_name"]
            return asset_key(domain, "staging", dbt_resource_props["name"].lower().removeprefix("stg_"))
        _, domain, layer, name = dbt_resource_props["fqn"]
        return asset_key(domain, layer, name)

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """domain_layer; sources are grouped where they are made."""
        return None if dbt_resource_props["resource_type"] == "source" else "_".join(dbt_resource_props["fqn"][1:3])

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The model's description, which begins with its grain; its SQL is one click away in the repository."""
        return dbt_resource_props["description"]

    def get_tags(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, str]:
        """The model's own tags, and where it is: domain and layer."""
        domain, layer = self.get_asset_key(dbt_resource_props).path[:2]
        return {**super().get_tags(dbt_resource_props), "domain": domain, "layer": layer}

    def get_metadata(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, Any]:
        """Columns with their tests and origins, the table's name, and links to the model's files."""
        given = super().get_metadata(dbt_resource_props)
        if dbt_resource_props["resource_type"] == "source":
            return given
        found = parsed_project()
        described = model_metadata(dbt_resource_props, found.manifest, found.lineage, self.get_asset_key, PROJECT)
        return {**given, **described}


class BuildConfig(dg.Config):
    """How a run builds the models; Dagster's launchpad shows it."""

    full_refresh: bool = Field(
        default=False,
        description="Build every chosen model anew from all that staging holds, whatever days the run has.",
    )


def dbt_step(domain: str) -> str:
    """Name of the step that builds a domain's models: where a run's configuration has their BuildConfig."""
    return f"{domain}__dbt"


def dbt_definitions(domain: Domain, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The domain's models, as one step."""
    manifest = built_manifest()
    models = [
        node["name"]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["fqn"][1] == domain.name
    ]

    @dbt_assets(
        manifest=manifest,
        select=" ".join(models),
        name=dbt_step(domain.name),
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN,
        dagster_dbt_translator=Translator(),
        retry_policy=RETRY,
        pool=WAREHOUSE_POOL,
    )
    def build(context: dg.AssetExecutionContext, config: BuildConfig, warehouse: WarehouseResource) -> Iterator[Any]:
        yield from _build(context, warehouse, domain, manifest, Window.of(context), config.full_refresh)

    return build


def dbt_arguments(selection: Sequence[str], window: Window, target: str | Path, full_refresh: bool) -> list[str]:
    """Arguments of the dbt command that builds `selection` for the changes of `window`, or anew from all there is."""
    variables = {"partition_start": str(window.first), "partition_end": str(window.end)}
    return [
        # Its debug log would be written, at half a second, to a folder that is deleted.
        *("--no-use-colors", "--log-level-file", "none", "build", "--select", *selection),
        *("--indirect-selection", "empty", "--exclude-resource-type", "unit_test"),
        *("--vars", json.dumps(variables)),
        *(["--full-refresh"] if full_refresh else []),
        *directories(PROJECT, target),
    ]


def selected_nodes(context: dg.AssetExecutionContext, manifest: Mapping[str, Any]) -> list[str]:
    """dbt's names of the models and data tests that the step was asked for; unit tests are for development."""
    translator = Translator()
    wanted_checks = {
        spec.metadata["dagster_dbt/unique_id"]
        for spec in context.assets_def.check_specs
        if spec.key in context.selected_asset_check_keys
    }
    return [
        ".".join(node["fqn"])
        for unique_id, node in manifest["nodes"].items()
        if unique_id in wanted_checks
        or (node["resource_type"] == "model" and translator.get_asset_key(node) in context.selected_asset_keys)
    ]


def _build(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    domain: Domain,
    manifest: Mapping[str, Any],
    window: Window,
    full_refresh: bool,
) -> Iterator[Any]:
    from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

    selection = selected_nodes(context, manifest)
    failures: list[str] = []
    translator = Translator()
    where, doing = f"{context.op_execution_context.op.name}, partition {window}", "building dbt models"
    with (
        told_from("dbt", context.op_execution_context.op.name, window, doing),
        tempfile.TemporaryDirectory(prefix="dbt-") as target,
        warehouse.connection(REPORTING) as session,
        session.cursor() as cursor,
        ExitStack() as stack,
    ):
        # A table of which nothing was ever loaded is empty, not an error.
        for table in domain.tables:
            create_staging_table(session, warehouse.database, table, ())
        if not full_refresh and (unknown := unaccounted(cursor, warehouse, manifest, context.selected_asset_keys)):
            context.log.info(f"Built anew from all of staging, as nothing says what they hold: {', '.join(unknown)}.")
            full_refresh = True
        # Closed, not left to the garbage collector: dbt ends with the step.
        arguments = dbt_arguments(selection, window, target, full_refresh)
        events = stack.enter_context(closing(run_dbt(arguments, parsed_project().parsed, warehouse)))
        for raw_event in events:
            if raw_event["info"]["name"] in FAILURE_EVENTS:
                failures.append(" ".join(raw_event["info"]["msg"].split()))
            event = DbtCoreCliEventMessage(raw_event=raw_event, event_history_metadata={})
            for asset_event in event.to_default_asset_events(manifest, translator, context):
                if isinstance(asset_event, dg.Output):
                    node = manifest["nodes"][raw_event["data"]["node_info"]["unique_id"]]
                    duration = {name: value for name, value in asset_event.metadata.items() if name == DURATION}
                    asset_event = asset_event.with_metadata({**duration, **_size(cursor, node)})
                    context.add_asset_metadata(
                        _looks(context, cursor, node, manifest, domain.charts.get(node["name"])),
                        asset_key=translator.get_asset_key(node),
                        partition_key=str(window.end - ONE_DAY),
                    )
                yield asset_event
    if failures:
        raise LayerError(where, doing, Problem(" | ".join(failures[:5]), "correct the model or the rows it names."))


def unaccounted(
    cursor: "SnowflakeCursor", warehouse: WarehouseResource, manifest: Mapping[str, Any], chosen: Set[dg.AssetKey]
) -> list[str]:
    """Those of the chosen models that are incremental, and of which the ledger has no line.

    A table that was built by other means, or before there was a ledger, is nothing that a window could be added to.
    """
    from snowflake.connector import ProgrammingError

    known: set[str] = set()
    try:
        # What a run was at when it was killed says nothing of the table.
        cursor.execute(
            f"select distinct model_name from {snowflake_name(warehouse.database)}.CORE.BUILT_PARTITIONS "
            "where not startswith(manifest_hash, 'building ')"
        )
        known.update(name for (name,) in cursor.fetchall())
    except ProgrammingError as error:
        if error.errno != DOES_NOT_EXIST:
            raise
    translator = Translator()
    return [
        node["name"]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model"
        and node["config"]["materialized"] == "incremental"
        and translator.get_asset_key(node) in chosen
        and node["name"] not in known
    ]


def _size(cursor: "SnowflakeCursor", node: Mapping[str, Any]) -> dict[str, int]:
    """Rows of a model's table, and its bytes where the warehouse tells them."""
    cursor.execute(f"select count(*) from {node['relation_name']}")
    rows = cursor.fetchone()
    cursor.execute(f"show tables like '{node['alias'].upper()}' in schema {node['database']}.{node['schema']}")
    names = [column.name.lower() for column in cursor.description]
    stored = [dict(zip(names, row, strict=True)).get("bytes") for row in cursor.fetchall()]
    return {
        "dagster/row_count": rows[0] if rows else 0,
        **({"dagster/size_bytes": int(stored[0])} if len(stored) == 1 and stored[0] is not None else {}),
    }


def _looks(
    context: dg.AssetExecutionContext,
    cursor: "SnowflakeCursor",
    node: Mapping[str, Any],
    manifest: Mapping[str, Any],
    chart: Chart | None,
) -> dict[str, dg.MetadataValue]:
    """A chart of the model's main figure, where the domain declares one, and ten rows of its table."""
    from snowflake.connector import Error

    metadata: dict[str, dg.MetadataValue] = {}
    try:
        if chart:
            cursor.execute(chart.sql.format(table=node["relation_name"]))
            metadata.update(drawn(chart, cursor.fetchall()))
        clear = clear_columns(node, manifest, parsed_project().lineage)
        metadata.update(previews.of_relation(cursor, f"select * from {node['relation_name']}", clear))
    except Error as error:
        # The table is built and tested: a page without its picture is no reason to build it again.
        context.log.warning(f"{node['name']} has no preview or chart this time: {error}")
    return metadata


# Snowflake's code for an object that is not there, or not for this role.
DOES_NOT_EXIST = 2003
# Of what dagster-dbt tells of a model that it built, the number; the rest is in the log.
DURATION = "Execution Duration"
FAILURE_EVENTS = ("RunResultError", "MainEncounteredError")
