"""`shopstream rebuild` and `shopstream restage`: a layer made anew from the one before it, over all days.

Neither reads the source: models are built from staging, staging is loaded from the lake. Each is one run in this
process, which waits for its turn where another run writes to the warehouse.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shopstream_assets.cli.locations import definitions_of

if TYPE_CHECKING:
    import dagster as dg

    from shopstream_assets.platform.declare.domain import Domain

MODEL_LAYERS = ("core", "models", "marts")
STAGING_LAYERS = ("staging",)


class RebuildFailed(Exception):
    """A name is none of the domain's, or the run failed; the message says which, and why."""


def rebuild(domain: Domain, models: Collection[str], say: Callable[[str], None]) -> None:
    """Build models, and those made from them, anew from staging; all of the domain's where none is named.

    What is fitted to them is fitted anew, too.

    Raises RebuildFailed where a name is no model, or the run fails.
    """
    import dagster as dg

    graph = definitions_of(domain).resolve_asset_graph()
    named = dg.AssetSelection.assets(*_chosen(domain, MODEL_LAYERS, models, "model"))
    found = sorted(named.downstream().materializable().resolve(graph))
    steps = sorted({graph.assets_def_for_key(key).op.name for key in found})
    _materialize(domain, "rebuild", found, {"ops": {step: {"config": {"full_refresh": True}} for step in steps}}, say)


def restage(domain: Domain, tables: Collection[str], say: Callable[[str], None]) -> None:
    """Load staging anew from the lake; all of the domain's tables where none is named.

    Raises RebuildFailed where a name is no table, or the run fails.
    """
    _materialize(domain, "restage", _chosen(domain, STAGING_LAYERS, tables, "table"), {}, say)


def _chosen(domain: Domain, layers: Sequence[str], names: Collection[str], what: str) -> list[dg.AssetKey]:

    graph = definitions_of(domain).resolve_asset_graph()
    found = {key.path[-1]: key for key in graph.materializable_asset_keys if key.path[1] in layers}
    unknown = sorted(set(names) - found.keys())
    if unknown:
        raise RebuildFailed(
            f"No {what} of {domain.title} is called {', '.join(unknown)}. There are: {', '.join(sorted(found))}."
        )
    return sorted(key for name, key in found.items() if not names or name in names)


def _materialize(
    domain: Domain, name: str, keys: Sequence[dg.AssetKey], run_config: Mapping[str, Any], say: Callable[[str], None]
) -> None:
    """One run of these assets over all their days, with the checks that their own steps make: others ask the source."""
    import dagster as dg

    from shopstream_assets.cli.demo import failures
    from shopstream_assets.cli.instance import dagster_instance
    from shopstream_assets.platform.declare.partitions import SPAN_TAGS
    from shopstream_assets.platform.operate.slots import free_slots_of_dead_runs

    definitions = definitions_of(domain)
    graph = definitions.resolve_asset_graph()
    checks = [check for key in keys for check in graph.assets_def_for_key(key).check_keys if check.asset_key in keys]
    selection = dg.AssetSelection.assets(*keys).without_checks() | dg.AssetSelection.checks(*checks)
    job = dg.define_asset_job(name, selection=selection).resolve(
        asset_graph=graph, resource_defs=definitions.resources, default_executor_def=dg.in_process_executor
    )
    partitions = graph.get(keys[0]).partitions_def
    assert partitions is not None
    days = partitions.get_partition_keys()
    told = ", ".join(key.path[-1] for key in keys)
    say(f"{name}: {told}, {days[0]} to {days[-1]}")
    with dagster_instance() as instance:
        free_slots_of_dead_runs(instance, domain.pool)
        result = job.execute_in_process(
            instance=instance,
            run_config={**run_config, "loggers": {"console": {"config": {"log_level": "ERROR"}}}},
            tags=dict(zip(SPAN_TAGS, (days[0], days[-1]), strict=True)),
            raise_on_error=False,
        )
        if not result.success:
            raise RebuildFailed(f"The run {result.run_id} failed:\n{failures(instance, result.run_id)}")
    say(f"Done, in run {result.run_id}.")
