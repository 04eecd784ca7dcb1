"""Which updates of a dependency an asset has yet to follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.declarative_automation.operands.subset_automation_condition import (
    SubsetAutomationCondition,
)
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.storage.dagster_run import RunRecord

if TYPE_CHECKING:
    from dagster._core.asset_graph_view.entity_subset import EntitySubset


class UpdatedWithoutRoot(SubsetAutomationCondition[dg.AssetKey]):
    """Partitions that were updated since the last tick by a run that was not to build the asset in question as well.

    Dagster's `newly_updated() & ~executed_with_root_target()` means the same, but knows the run of the latest updated
    partition only (dagster 1.13.27), and no run of a whole job: after a run over 90 days it would ask for 89 again.
    """

    @property
    def name(self) -> str:
        """As the UI shows it."""
        return "updated_without_root"

    async def compute_subset(  # type: ignore[override]
        self, context: dg.AutomationContext[dg.AssetKey]
    ) -> EntitySubset[dg.AssetKey]:
        """The updated partitions of the dependency."""
        since = context.previous_temporal_context
        if since is None or since.last_event_id is None:
            return context.get_empty_subset()
        view, root = context.asset_graph_view, context.root_context.key
        # The cheap question first: most ticks see nothing new.
        updated = await view.compute_updated_since_temporal_context_subset(key=context.key, temporal_context=since)
        if updated.is_empty:
            return updated
        found = view.get_inner_queryer_for_back_compat().get_asset_materializations_updated_after_cursor(
            asset_key=context.key, after_cursor=since.last_event_id, before_cursor=context.max_storage_id
        )
        runs = await RunRecord.gen_many(view, list({update.run_id for update in found if update.run_id}))
        with_root = {
            record.dagster_run.run_id
            for record in runs
            if record and root in _targets(view.instance, record.dagster_run)
        }
        return view.get_asset_subset_from_asset_partitions(
            key=context.key,
            asset_partitions={
                AssetKeyPartitionKey(context.key, update.partition)
                for update in found
                if update.run_id not in with_root
            },
            validate_existence=True,
        ).compute_intersection(updated)


def _targets(instance: dg.DagsterInstance, run: dg.DagsterRun) -> frozenset[dg.AssetKey]:
    """The assets that a run was to materialize; a run of a whole job names none but has planned them."""
    if run.asset_selection is not None:
        return frozenset(run.asset_selection)
    if run.run_id not in _planned:
        events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
        keys = (event.dagster_event.asset_key for event in events if event.dagster_event)
        _planned.clear()
        _planned[run.run_id] = frozenset(key for key in keys if key)
    return _planned[run.run_id]


# The last such run: every pair of assets asks for it.
_planned: dict[str, frozenset[dg.AssetKey]] = {}
