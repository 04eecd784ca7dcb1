"""Runs as forks: what they have imported, and what is known of them when they end, are killed or interrupted."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.errors import DagsterLaunchFailedError
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster_process import forking_instance, wait_for

from shopstream_assets.platform.hosting.retries import RETRY
from shopstream_assets.platform.hosting.run_launcher import ForkingRunLauncher, living_worker
from shopstream_assets.platform.operate.slots import free_slots_of_dead_runs

SECONDS = 60


@dg.op(config_schema={"folder": str})
def tell(context: dg.OpExecutionContext) -> None:
    """Writes the modules that this process has imported, and leaves a temporary folder behind."""
    Path(context.op_config["folder"], "temporary").write_text(tempfile.mkdtemp())
    Path(context.op_config["folder"], "modules").write_text(" ".join(sys.modules))


@dg.op(config_schema={"folder": str}, retry_policy=RETRY)
def wait(context: dg.OpExecutionContext) -> None:
    """Writes where its temporary files are, and its process id, and never ends by itself."""
    Path(context.op_config["folder"], "temporary").write_text(tempfile.mkdtemp())
    Path(context.op_config["folder"], "pid").write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)


@dg.job(executor_def=dg.in_process_executor)
def telling() -> None:
    tell()


@dg.job(executor_def=dg.in_process_executor)
def waiting() -> None:
    wait()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with forking_instance(tmp_path) as made:
        yield made


def created(instance: dg.DagsterInstance, job: dg.JobDefinition, folder: Path) -> dg.DagsterRun:
    (op,) = job.nodes
    return instance.create_run_for_job(
        job,
        run_config={"ops": {op.name: {"config": {"folder": str(folder)}}}},
        job_code_origin=ReconstructableJob.for_file(__file__, job.name).get_python_origin(),
    )


def launch(instance: dg.DagsterInstance, job: dg.JobDefinition, folder: Path) -> dg.DagsterRun:
    run = created(instance, job, folder)
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status.value


def health(run: dg.DagsterRun, folder: Path) -> WorkerStatus:
    """What a daemon that was started later knows of the run's worker."""
    return ForkingRunLauncher(str(folder)).check_run_worker_health(run).status


@pytest.fixture
def endless(instance: dg.DagsterInstance, tmp_path: Path) -> Iterator[dg.DagsterRun]:
    """A run in the middle of a step that never ends."""
    run = launch(instance, waiting, tmp_path)
    try:
        wait_for((tmp_path / "pid").exists, "the step to begin", SECONDS)
        yield run
    finally:
        if pid := living_worker(tmp_path / "run_workers" / run.run_id):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere runs are started anew, not forked")
def test_a_run_finds_the_libraries_imported_and_the_project_not(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = launch(instance, telling, tmp_path)

    wait_for(lambda: status(instance, run) == "SUCCESS", "the run to succeed", SECONDS)
    imported = set((tmp_path / "modules").read_text().split())
    assert {"dbt.cli.main", "pyarrow.parquet", "snowflake.connector"} <= imported
    assert not {name for name in imported if name.startswith("shopstream_assets.domains.shopstream")}


def test_nothing_is_left_of_a_run_that_ended(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = launch(instance, telling, tmp_path)

    wait_for(lambda: status(instance, run) == "SUCCESS", "the run to succeed", SECONDS)
    wait_for(lambda: not list((tmp_path / "run_workers").iterdir()), "the worker's file to be gone", SECONDS)
    assert not Path((tmp_path / "temporary").read_text()).exists()


def test_the_temporary_files_of_a_killed_run_are_gone_once_its_death_is_noticed(
    endless: dg.DagsterRun, tmp_path: Path
) -> None:
    made = Path((tmp_path / "temporary").read_text())
    assert made.is_dir()

    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    wait_for(lambda: health(endless, tmp_path) is WorkerStatus.FAILED, "the death to be noticed", SECONDS)
    assert not made.exists()


def test_a_killed_run_is_known_as_such_by_a_daemon_started_later(endless: dg.DagsterRun, tmp_path: Path) -> None:
    assert health(endless, tmp_path) is WorkerStatus.RUNNING

    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    wait_for(lambda: health(endless, tmp_path) is WorkerStatus.FAILED, "the death to be noticed", SECONDS)


def test_terminating_a_run_cancels_it(instance: dg.DagsterInstance, endless: dg.DagsterRun) -> None:
    assert instance.run_launcher.terminate(endless.run_id)

    wait_for(lambda: status(instance, endless) == "CANCELED", "the run to be canceled", SECONDS)
    assert not instance.run_launcher.terminate(endless.run_id)


def test_terminating_a_killed_run_says_that_there_is_no_process(
    instance: dg.DagsterInstance, endless: dg.DagsterRun, tmp_path: Path
) -> None:
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    wait_for(lambda: health(endless, tmp_path) is WorkerStatus.FAILED, "the death to be noticed", SECONDS)

    assert not instance.run_launcher.terminate(endless.run_id)
    assert status(instance, endless) == "CANCELED"
    assert "was killed" in (instance.run_launcher.get_run_worker_debug_info(endless) or "")


def test_terminating_a_run_before_its_first_step_cancels_it(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run = created(instance, waiting, tmp_path)
    instance.report_run_canceling(run)

    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))

    wait_for(lambda: status(instance, run) == "CANCELED", "the run to be canceled", SECONDS)
    assert not (tmp_path / "pid").exists()


def test_what_a_killed_run_left_is_gone_with_the_next_launch(
    instance: dg.DagsterInstance, endless: dg.DagsterRun, tmp_path: Path
) -> None:
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    wait_for(lambda: health(endless, tmp_path) is WorkerStatus.FAILED, "the death to be noticed", SECONDS)
    instance.report_run_failed(endless)

    launch(instance, telling, tmp_path)

    assert not (tmp_path / "run_workers" / endless.run_id).exists()


def test_a_worker_that_ends_before_it_begins_fails_the_launch(instance: dg.DagsterInstance) -> None:
    unknown = dg.DagsterRun(job_name="waiting", run_id="00000000-0000-0000-0000-000000000000")

    with pytest.raises(DagsterLaunchFailedError, match="its process ended before it began"):
        instance.run_launcher.launch_run(LaunchRunContext(unknown, workspace=None))


def test_a_run_of_another_machine_is_left_alone(tmp_path: Path) -> None:
    run = dg.DagsterRun(job_name="waiting", run_id="00000000-0000-0000-0000-000000000000")

    assert health(run, tmp_path) is WorkerStatus.RUNNING


EXECUTE = """
import sys
import dagster as dg
from test_run_launcher import waiting
with dg.DagsterInstance.get() as instance:
    waiting.execute_in_process(instance=instance, run_config={"ops": {"wait": {"config": {"folder": sys.argv[1]}}}})
"""


@pytest.fixture
def stored(tmp_path: Path, local_stack: Mapping[str, str]) -> Iterator[dg.DagsterInstance]:
    """An instance as dagster.yaml describes it, on the tests' Postgres."""
    (tmp_path / "dagster.yaml").write_text((Path(__file__).parents[2] / "dagster.yaml").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(tmp_path))
        patch.setenv("SHOPSTREAM_DAGSTER_DIR", str(tmp_path))
        with dg.DagsterInstance.get() as instance:
            yield instance


@pytest.fixture
def unlaunched(stored: dg.DagsterInstance, tmp_path: Path) -> Iterator[tuple[dg.DagsterRun, subprocess.Popen[bytes]]]:
    """A run in the middle of its step, in a process that no launcher has started, as that of the demo."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    before = {run.run_id for run in stored.get_runs()}
    process = subprocess.Popen([sys.executable, "-c", EXECUTE, str(tmp_path)], env={**os.environ, "PYTHONPATH": path})
    try:
        wait_for((tmp_path / "pid").exists, "the step to begin", SECONDS)
        (run,) = [run for run in stored.get_runs() if run.run_id not in before]
        yield run, process
    finally:
        process.kill()
        process.wait()


def test_a_killed_run_that_nobody_launched_is_known_as_such(
    unlaunched: tuple[dg.DagsterRun, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    run, process = unlaunched
    assert health(run, tmp_path) is WorkerStatus.RUNNING

    process.kill()

    wait_for(lambda: health(run, tmp_path) is WorkerStatus.FAILED, "the death to be noticed", SECONDS)


def test_terminating_a_killed_run_that_nobody_launched_ends_it(
    stored: dg.DagsterInstance, unlaunched: tuple[dg.DagsterRun, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    run, process = unlaunched
    process.kill()
    process.wait()

    # False: nothing was there to be interrupted.
    assert not stored.run_launcher.terminate(run.run_id)

    assert status(stored, run) == "CANCELED"


def test_terminating_a_run_that_nobody_launched_interrupts_it(
    stored: dg.DagsterInstance, unlaunched: tuple[dg.DagsterRun, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    run, process = unlaunched

    assert stored.run_launcher.terminate(run.run_id)

    wait_for(lambda: status(stored, run) == "CANCELED", "the run to be canceled", SECONDS)
    assert not list((tmp_path / "run_workers").iterdir())
    assert process.wait(SECONDS) != 0


def test_the_slots_of_a_run_that_was_marked_as_ended_are_kept_while_its_process_lives(
    stored: dg.DagsterInstance, unlaunched: tuple[dg.DagsterRun, subprocess.Popen[bytes]]
) -> None:
    run, process = unlaunched
    slots = stored.event_log_storage
    slots.set_concurrency_slots("test", 1)
    slots.claim_concurrency_slot("test", run.run_id, "wait")
    stored.report_run_canceled(run)

    slots.free_concurrency_slots_for_run(run.run_id)
    assert slots.get_concurrency_info("test").active_run_ids == {run.run_id}

    process.kill()
    process.wait()
    slots.free_concurrency_slots_for_run(run.run_id)
    assert slots.get_concurrency_info("test").active_run_ids == set()


def test_a_command_frees_the_slots_of_runs_that_were_killed_here_and_no_others(
    stored: dg.DagsterInstance, unlaunched: tuple[dg.DagsterRun, subprocess.Popen[bytes]]
) -> None:
    run, process = unlaunched
    slots = stored.event_log_storage
    slots.set_concurrency_slots("test", 2)
    for run_id in (run.run_id, "of-another-machine"):
        slots.claim_concurrency_slot("test", run_id, "wait")

    free_slots_of_dead_runs(stored, "test")
    assert slots.get_concurrency_info("test").active_run_ids == {run.run_id, "of-another-machine"}

    process.kill()
    process.wait()
    free_slots_of_dead_runs(stored, "test")
    assert slots.get_concurrency_info("test").active_run_ids == {"of-another-machine"}


@pytest.mark.long
def test_a_library_that_cannot_be_imported_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ValueError('numpy.dtype size changed')")
    code = "import sys, shopstream_assets.platform.hosting.preload as _; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    loaded = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    imported = set(loaded.stdout.split())
    assert "psycopg" not in imported
    assert {"pyarrow.parquet", "snowflake.connector"} <= imported
