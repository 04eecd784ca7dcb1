"""The slots of a pool that dead runs hold: the daemon frees them, but not every command has one beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shopstream_assets.platform.hosting.run_launcher import ForkingRunLauncher

if TYPE_CHECKING:
    import dagster as dg


def free_slots_of_dead_runs(instance: dg.DagsterInstance, pool: str) -> None:
    """Free what runs whose process was killed on this machine hold of a pool, or wait for.

    Those of all others are kept: of a run on another machine nothing is known here.
    """
    launcher = instance.run_launcher
    if not isinstance(launcher, ForkingRunLauncher):
        return
    found = instance.event_log_storage.get_concurrency_info(pool)
    for run_id in {*found.active_run_ids, *found.pending_run_ids}:
        if launcher.was_killed(run_id):
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)
