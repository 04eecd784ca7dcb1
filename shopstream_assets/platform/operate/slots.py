"""The slots of a domain's pool that dead runs hold: its daemon frees them, but not every command has one beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def free_slots_of_dead_runs(instance: dg.DagsterInstance, pool: str) -> None:
    """Free what runs whose process was killed hold of a pool, or wait for; those of living ones are kept."""
    storage = instance.event_log_storage
    found = storage.get_concurrency_info(pool)
    # The storage looks whether a process still lives: platform/hosting/storage.py.
    for run_id in {*found.active_run_ids, *found.pending_run_ids}:
        storage.free_concurrency_slots_for_run(run_id)
