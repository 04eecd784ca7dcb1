"""dbt models as assets: core and marts of a domain.

A model that asks for the run's window (it uses the macro `is_windowed`) is partitioned like staging; any other is
rebuilt whole. dbt runs inside the step's own process, with the manifest that was built ahead: a process and a parse of
the project less for every step.
"""

import json
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from fcntl import LOCK_EX, flock
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, dbt_assets

from shopstream_assets.platform.domain import Domain
from shopstream_assets.platform.errors import LayerError, Problem, told_from
from shopstream_assets.platform.event_log import DBT_POOL
from shopstream_assets.platform.partitions import Window
from shopstream_assets.platform.resources.warehouse import REPORTING, WarehouseResource
from shopstream_assets.platform.source_assets import RETRY, SINGLE_RUN, asset_key
from shopstream_assets.platform.staging import create_staging_table

PROJECT = Path(__file__).parents[2] / "dbt_project"
# A manifest holds the name of the database that its models are in, so each database has one of its own.
MANIFEST = PROJECT / "target" / os.environ.get("SNOWFLAKE_DATABASE", "SHOPSTREAM_DWH") / "manifest.json"
# The same manifest as dbt keeps it for itself: the JSON has lost the arguments of generic tests.
PARSED = MANIFEST.with_name("partial_parse.msgpack")
WINDOW_MACRO = "macro.shopstream.is_windowed"


def built_manifest() -> Mapping[str, Any]:
    """The project's manifest, parsed anew only when a file of the project is newer than it."""
    sources = [path for path in PROJECT.rglob("*") if path.suffix in (".sql", ".yml") and "target" not in path.parts]
    newest = max(path.stat().st_mtime for path in sources)
    if not MANIFEST.exists() or MANIFEST.stat().st_mtime < newest:
        _parse(newest)
    return _read_manifest(MANIFEST.stat().st_mtime)


@cache
def _read_manifest(_modified: float) -> Mapping[str, Any]:
    return json.loads(MANIFEST.read_bytes())


def _parse(newest: float) -> None:
    """Write the manifest; when several processes want it, the first parses and the others wait for it."""
    from dbt.cli.main import dbtRunner

    MANIFEST.parent.mkdir(parents=True, exist_ok=True)
    with (MANIFEST.parent / "manifest.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if MANIFEST.exists() and MANIFEST.stat().st_mtime >= newest:
            return
        with tempfile.TemporaryDirectory(dir=MANIFEST.parent) as target:
            result = dbtRunner().invoke(["--quiet", "--no-use-colors", "parse", *_directories(target)])
            if not result.success:
                raise Problem(
                    f"dbt cannot parse {PROJECT.name}: {result.exception}.", "correct the model or YAML file it names."
                )
            for file in (PARSED, MANIFEST):
                os.replace(Path(target) / file.name, file)


def _directories(target: str | Path) -> list[str]:
    return [
        *("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)),
        *("--target-path", str(target), "--log-path", str(target)),
    ]


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


def is_windowed(node: Mapping[str, Any]) -> bool:
    """Whether a model of the manifest works on the run's window, and so is partitioned."""
    return WINDOW_MACRO in node.get("depends_on", {}).get("macros", [])


def dbt_definitions(domain: Domain, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The domain's models: those that work on a window, partitioned, and those that are rebuilt whole."""
    manifest = built_manifest()
    models = [
        node
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["fqn"][1] == domain.name
    ]
    by_day = [node["name"] for node in models if is_windowed(node)]
    whole = [node["name"] for node in models if not is_windowed(node)]
    return [
        _assets(domain, manifest, f"{domain.name}__dbt_by_day", by_day, partitions),
        _assets(domain, manifest, f"{domain.name}__dbt_whole", whole, None),
    ]


def _assets(
    domain: Domain,
    manifest: Mapping[str, Any],
    name: str,
    models: Sequence[str],
    partitions: dg.PartitionsDefinition | None,
) -> dg.AssetsDefinition:
    @dbt_assets(
        manifest=manifest,
        select=" ".join(models),
        name=name,
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN if partitions else None,
        dagster_dbt_translator=Translator(),
        retry_policy=RETRY,
        pool=DBT_POOL,
    )
    def build(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> Iterator[Any]:
        window = Window.of(context) if partitions else None
        yield from _build(context, warehouse, domain, manifest, window)

    return build


def dbt_arguments(selection: Sequence[str], window: Window | None, target: str | Path) -> list[str]:
    """Arguments of the dbt command that builds `selection` for the changes of `window` (all changes where None)."""
    variables = {} if window is None else {"partition_start": str(window.first), "partition_end": str(window.end)}
    return [
        *("--no-use-colors", "build", "--select", *selection),
        *("--indirect-selection", "empty", "--exclude-resource-type", "unit_test"),
        *("--vars", json.dumps(variables)),
        *_directories(target),
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
    window: Window | None,
) -> Iterator[Any]:
    from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

    arguments = selected_nodes(context, manifest), window
    failures: list[str] = []
    translator = Translator()
    where, doing = f"{context.op_execution_context.op.name}, partition {window or 'all'}", "building dbt models"
    with (
        told_from("dbt", context.op_execution_context.op.name, window or "all", doing),
        tempfile.TemporaryDirectory(prefix="dbt-") as target,
        warehouse.connection(REPORTING) as session,
        session.cursor() as cursor,
    ):
        # A table of which nothing was ever loaded is empty, not an error.
        for table in domain.tables:
            create_staging_table(session, warehouse.database, table, ())
        for raw_event in run_dbt(dbt_arguments(*arguments, target)):
            if raw_event["info"]["name"] in FAILURE_EVENTS:
                failures.append(" ".join(raw_event["info"]["msg"].split()))
            event = DbtCoreCliEventMessage(raw_event=raw_event, event_history_metadata={})
            for asset_event in event.to_default_asset_events(manifest, translator, context):
                if isinstance(asset_event, dg.Output):
                    node = manifest["nodes"][raw_event["data"]["node_info"]["unique_id"]]
                    cursor.execute(f"select count(*) from {node['relation_name']}")
                    rows = cursor.fetchone()
                    asset_event = asset_event.with_metadata(
                        {**asset_event.metadata, "dagster/row_count": rows[0] if rows else 0}
                    )
                yield asset_event
    if failures:
        raise LayerError(where, doing, Problem(" | ".join(failures[:5]), "correct the model or the rows it names."))


FAILURE_EVENTS = ("RunResultError", "MainEncounteredError")


def run_dbt(arguments: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Run a dbt command in this process; yields its structured log events as they come.

    Raises Problem when dbt ends by an exception of its own, not by a failed model or test: those are events.
    """
    from dbt.cli.main import dbtRunner, dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest
    from google.protobuf.json_format import MessageToDict

    events: SimpleQueue[Any] = SimpleQueue()
    results: list[dbtRunnerResult] = []
    manifest = Manifest.from_msgpack(PARSED.read_bytes())

    def invoke() -> None:
        try:
            results.append(dbtRunner(manifest=manifest, callbacks=[events.put]).invoke(list(arguments)))
        finally:
            events.put(None)

    worker = threading.Thread(target=invoke, name="dbt")
    worker.start()
    try:
        while (event := events.get()) is not None:
            yield MessageToDict(event, preserving_proto_field_name=True)
    finally:
        worker.join()
    if not results or (results[0].exception is not None):
        cause = results[0].exception if results else "it stopped without a result"
        raise Problem(f"dbt failed: {cause}.", "read dbt's messages in the step's log.")
