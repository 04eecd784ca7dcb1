"""One dbt command for the models of a step, inside the step's own process."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.errors import LayerError, Problem, told_from
from shopstream_assets.platform.present import previews
from shopstream_assets.platform.present.charts import drawn
from shopstream_assets.platform.staging.change_log import create_staging_table, snowflake_name
from shopstream_assets.platform.staging.warehouse import DOES_NOT_EXIST, WarehouseResource
from shopstream_assets.platform.transform.dbt_manifest import directories, parsed_project
from shopstream_assets.platform.transform.dbt_run import FAILURE_EVENTS, run_dbt
from shopstream_assets.platform.transform.model_metadata import clear_columns
from shopstream_assets.platform.transform.relations import Relations, relations
from shopstream_assets.platform.transform.translator import Translator

if TYPE_CHECKING:
    from snowflake.connector.cursor import SnowflakeCursor


def dbt_arguments(
    domain: Domain,
    selection: Sequence[str],
    window: Window,
    target: str | Path,
    full_refresh: bool,
    documented: Sequence[str] = (),
) -> list[str]:
    """Arguments of the dbt command that builds `selection` for the changes of `window`, or anew from all there is.

    `documented`: models whose tables have the project's comments, which need not be written again.
    """
    variables = {
        "partition_start": str(window.first),
        "partition_end": str(window.end),
        "documented": list(documented),
    }
    return [
        # Its debug log would be written, at half a second, to a folder that is deleted.
        *("--no-use-colors", "--log-level-file", "none", "build", "--select", *selection),
        *("--indirect-selection", "empty", "--exclude-resource-type", "unit_test"),
        *("--vars", json.dumps(variables)),
        *(["--full-refresh"] if full_refresh else []),
        *directories(domain.project(), target),
    ]


def selected_nodes(context: dg.AssetExecutionContext, domain: Domain, manifest: Mapping[str, Any]) -> list[str]:
    """dbt's names of the models and data tests that the step was asked for; unit tests are for development."""
    translator = Translator(domain)
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


def build_models(
    context: dg.AssetExecutionContext,
    warehouse: WarehouseResource,
    domain: Domain,
    manifest: Mapping[str, Any],
    window: Window,
    full_refresh: bool,
) -> Iterator[Any]:
    """Build what the step was asked for; yields its outputs and checks as dbt tells of them."""
    from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

    selection = selected_nodes(context, domain, manifest)
    failures: list[str] = []
    translator = Translator(domain)
    where, doing = f"{context.op_execution_context.op.name}, partition {window}", "building dbt models"
    with (
        told_from("dbt", context.op_execution_context.op.name, window, doing),
        tempfile.TemporaryDirectory(prefix="dbt-") as target,
        warehouse.connection(REPORTING) as session,
        session.cursor() as cursor,
        ExitStack() as stack,
    ):
        found = relations(cursor, warehouse.database)
        # A table of which nothing was ever loaded is empty, not an error.
        for table in domain.tables:
            if not found.staged(table):
                create_staging_table(session, warehouse.database, table, ())
        if not full_refresh and (
            unknown := unaccounted(cursor, warehouse, domain, manifest, context.selected_asset_keys, found)
        ):
            context.log.info(
                "Built anew from all of staging, as nothing says what they hold, or a column of theirs is missing: "
                f"{', '.join(unknown)}."
            )
            full_refresh = True
        # Closed, not left to the garbage collector: dbt ends with the step.
        documented = [] if full_refresh else already_documented(manifest, found)
        arguments = dbt_arguments(domain, selection, window, target, full_refresh, documented)
        events = stack.enter_context(closing(run_dbt(arguments, parsed_project(domain).parsed, warehouse)))
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
                        _looks(context, cursor, node, manifest, domain),
                        asset_key=translator.get_asset_key(node),
                        partition_key=str(window.end - ONE_DAY),
                    )
                yield asset_event
    if failures:
        raise LayerError(where, doing, Problem(" | ".join(failures[:5]), "correct the model or the rows it names."))


def unaccounted(
    cursor: "SnowflakeCursor",
    warehouse: WarehouseResource,
    domain: Domain,
    manifest: Mapping[str, Any],
    chosen: Set[dg.AssetKey],
    found: Relations,
) -> list[str]:
    """Those of the chosen models that are incremental, and whose tables are nothing that a window could be added to.

    The ledger has no line of a table that was built by other means, or before there was a ledger; one that lacks a
    declared column was built by an earlier version of the model.
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
    translator = Translator(domain)
    return [
        node["name"]
        for node in _incremental(manifest)
        if translator.get_asset_key(node) in chosen
        and (node["name"] not in known or not found.of_model(node).has(node["columns"]))
    ]


def already_documented(manifest: Mapping[str, Any], found: Relations) -> list[str]:
    """The incremental models whose tables have the project's comments; any other table is made anew, without them."""
    return [node["name"] for node in _incremental(manifest) if found.of_model(node).has_comments_of(node)]


def _incremental(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["config"]["materialized"] == "incremental"
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
    domain: Domain,
) -> dict[str, dg.MetadataValue]:
    """A chart of the model's main figure, where the domain declares one, and ten rows of its table."""
    from snowflake.connector import Error

    metadata: dict[str, dg.MetadataValue] = {}
    try:
        if chart := domain.charts.get(node["name"]):
            cursor.execute(chart.sql.format(table=node["relation_name"]))
            metadata.update(drawn(chart, cursor.fetchall()))
        clear = clear_columns(node, manifest, parsed_project(domain).lineage)
        metadata.update(previews.of_relation(cursor, f"select * from {node['relation_name']}", clear))
    except Error as error:
        # The table is built and tested: a page without its picture is no reason to build it again.
        context.log.warning(f"{node['name']} has no preview or chart this time: {error}")
    return metadata


# Of what dagster-dbt tells of a model that it built, the number; the rest is in the log.
DURATION = "Execution Duration"
