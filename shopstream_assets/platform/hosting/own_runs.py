"""`python -m shopstream_assets.platform.hosting.own_runs`: runs of a code location's job, executed by this process.

As `dagster job execute`, whose runs belong to no code location: Dagster's page leaves them out of its timeline and of
the job's history. These do, as if they had been launched there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

import dagster as dg

from shopstream_assets.platform.hosting.run_launcher import to_its_end

if TYPE_CHECKING:
    from dagster._core.remote_representation.code_location import CodeLocation


@dataclass(frozen=True)
class Wanted:
    """A run: its tags, and those of the job's assets and checks that it is for; the whole job where no asset is named.

    Assets are told as `domain/layer/table`, checks as `domain/layer/table:check`.
    """

    tags: Mapping[str, str]
    assets: Sequence[str] = ()
    checks: Sequence[str] = ()


def command(module: str, location: str, job: str) -> list[str]:
    """What to type for runs of `job`, one after another, which are read from its standard input.

    Its status is 0 where all succeeded; where one does not, those after it are left out.
    """
    return [sys.executable, "-m", __name__, module, location, job]


@contextmanager
def written(runs: Sequence[Wanted]) -> Iterator[IO[str]]:
    """A file for the standard input: an argument may be no longer than 128 KiB."""
    with TemporaryFile("w+") as file:
        json.dump([asdict(run) for run in runs], file)
        file.seek(0)
        yield file


def create(instance: dg.DagsterInstance, code: CodeLocation, job: str, wanted: Wanted) -> dg.DagsterRun:
    """A run of a job of the code location, not yet begun."""
    from dagster._core.definitions.selector import JobSubsetSelector
    from dagster._core.utils import make_new_run_id

    [repository] = code.get_repositories().values()
    assets = frozenset(map(dg.AssetKey.from_user_string, wanted.assets)) or None
    # Left to Dagster, those of its assets would be checked that are in no job but on a clock.
    checks = frozenset(map(dg.AssetCheckKey.from_user_string, wanted.checks)) if assets else None
    found = code.get_job(JobSubsetSelector(code.name, repository.name, job, None, assets, checks))
    plan = code.get_execution_plan(found, {}, None, None, instance).execution_plan_snapshot
    return instance.create_run(
        job_name=job,
        run_id=make_new_run_id(),
        run_config={},
        status=None,
        tags={**found.tags, **wanted.tags},
        root_run_id=None,
        parent_run_id=None,
        step_keys_to_execute=plan.step_keys_to_execute,
        execution_plan_snapshot=plan,
        job_snapshot=found.job_snapshot,
        parent_job_snapshot=found.parent_job_snapshot,
        asset_selection=assets,
        asset_check_selection=checks,
        resolved_op_selection=None,
        op_selection=None,
        remote_job_origin=found.get_remote_origin(),
        job_code_origin=found.get_python_origin(),
        asset_graph=repository.asset_graph,
    )


def execute(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Execute the run in this process; whether it succeeded, uninterrupted. An interruption cancels it."""
    from dagster._utils.hosted_user_process import recon_job_from_origin
    from dagster._utils.interrupts import capture_interrupts, check_captured_interrupt

    if run.job_code_origin is None:
        raise LookupError(f"run {run.run_id} does not say where its code is.")
    with capture_interrupts():
        to_its_end(recon_job_from_origin(run.job_code_origin), run, instance)
        ended = instance.get_run_by_id(run.run_id)
        return ended is not None and ended.is_success and not check_captured_interrupt()


def main(module: str, location: str, job: str) -> None:
    """Create each run and execute it, up to the first that does not succeed.

    Raises DagsterUserCodeProcessError, or what the module raises, where that does not load.
    """
    from dagster._core.remote_origin import InProcessCodeLocationOrigin
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=module)
    origin = InProcessCodeLocationOrigin(loadable_target_origin=target, location_name=location)
    with dg.DagsterInstance.get() as instance, origin.create_location(instance) as code:
        wanted = (Wanted(**each) for each in json.load(sys.stdin))
        sys.exit(not all(execute(instance, create(instance, code, job, each)) for each in wanted))


if __name__ == "__main__":
    main(*sys.argv[1:])
