"""`python -m shopstream_assets.platform.hosting.own_runs`: a run of a code location's job, executed by this process.

As `dagster job execute`, whose runs belong to no code location: Dagster's page leaves them out of its timeline and of
the job's history. These do, as if they had been launched there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import dagster as dg

from shopstream_assets.platform.hosting.run_launcher import to_its_end


def command(module: str, location: str, job: str, tags: Mapping[str, str]) -> list[str]:
    """What to type for a run of `job` with these tags; its status is 0 where the run succeeded."""
    return [sys.executable, "-m", __name__, module, location, job, json.dumps(tags)]


def create(
    instance: dg.DagsterInstance, module: str, location: str, job: str, tags: Mapping[str, str]
) -> dg.DagsterRun:
    """A run of a job of the code location that loads `module`, not yet begun.

    Raises DagsterUserCodeProcessError, or what the module raises, where that does not load.
    """
    from dagster._core.definitions.selector import JobSubsetSelector
    from dagster._core.remote_origin import InProcessCodeLocationOrigin
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster._core.utils import make_new_run_id

    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=module)
    with InProcessCodeLocationOrigin(loadable_target_origin=target, location_name=location).create_location(
        instance
    ) as loaded:
        [repository] = loaded.get_repositories().values()
        wanted = loaded.get_job(JobSubsetSelector(location, repository.name, job, op_selection=None))
        plan = loaded.get_execution_plan(wanted, {}, None, None, instance).execution_plan_snapshot
        return instance.create_run(
            job_name=job,
            run_id=make_new_run_id(),
            run_config={},
            status=None,
            tags={**wanted.tags, **tags},
            root_run_id=None,
            parent_run_id=None,
            step_keys_to_execute=plan.step_keys_to_execute,
            execution_plan_snapshot=plan,
            job_snapshot=wanted.job_snapshot,
            parent_job_snapshot=wanted.parent_job_snapshot,
            asset_selection=None,
            asset_check_selection=None,
            resolved_op_selection=None,
            op_selection=None,
            remote_job_origin=wanted.get_remote_origin(),
            job_code_origin=wanted.get_python_origin(),
            asset_graph=repository.asset_graph,
        )


def execute(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Execute the run in this process; whether it succeeded. An interruption cancels it."""
    from dagster._utils.hosted_user_process import recon_job_from_origin
    from dagster._utils.interrupts import capture_interrupts

    if run.job_code_origin is None:
        raise LookupError(f"run {run.run_id} does not say where its code is.")
    with capture_interrupts():
        to_its_end(recon_job_from_origin(run.job_code_origin), run, instance)
    ended = instance.get_run_by_id(run.run_id)
    return ended is not None and ended.is_success


def main(module: str, location: str, job: str, tags: str) -> None:
    """Create the run and execute it."""
    with dg.DagsterInstance.get() as instance:
        sys.exit(not execute(instance, create(instance, module, location, job, json.loads(tags))))


if __name__ == "__main__":
    main(*sys.argv[1:])
