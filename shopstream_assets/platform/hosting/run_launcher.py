"""A run launcher for one machine: each run is a fork of a process that has imported the libraries already.

Dagster's default launcher starts a new Python for every run, and much of a small run's time goes into importing
dagster, dbt and the drivers. Here the daemon keeps a process that has done so (multiprocessing's fork server). The
project itself is imported by each run: an edited asset counts from the next run on, without a restart.

Daemon and code must share a machine and an environment, as they do under `make up`, `dagster dev` and a supervisor;
deploy/kubernetes names Dagster's launcher for a cluster. dagster.yaml names this class.
"""

import gc
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, Self, TextIO

import dagster as dg
from dagster._core.errors import DagsterLaunchFailedError
from dagster._core.instance import InstanceRef
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._serdes import ConfigurableClass, ConfigurableClassData

if TYPE_CHECKING:
    from dagster._core.definitions.reconstruct import ReconstructableJob

PRELOAD = "shopstream_assets.platform.hosting.preload"
# To fork, or to load the libraries first, and to find the run in Dagster's storage.
START_SECONDS = 60


# Run id -> the locked file of a run that this process executes.
_held: dict[str, TextIO] = {}


class ForkingRunLauncher(RunLauncher[dg.DagsterInstance], ConfigurableClass):
    """Starts each run in a process of its own, and knows at any time which of them live, over restarts of the daemon.

    A worker holds a lock on its file in `base_dir`/run_workers as long as it lives, however it ends. So does a process
    that executes a run which nobody launched, as `dagster job execute`: the event log calls `begins` and `ends`. A
    worker goes on when the daemon is stopped. It ends without Python's exit handlers, as forks do.

    Its temporary files are in a folder of its own, `base_dir`/run_scratch, which outlives a killed one by seconds.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__()
        self._inst_data = inst_data
        self._folder = Path(base_dir) / "run_workers"
        # On macOS a fork may not use what the process before it had loaded of the system's frameworks.
        self._processes: ForkServerContext | SpawnContext = multiprocessing.get_context("spawn")
        if sys.platform == "linux":
            self._processes = multiprocessing.get_context("forkserver")
            self._processes.set_forkserver_preload([PRELOAD])

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """The entry of dagster.yaml that this was made from."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """What dagster.yaml may set."""
        return {"base_dir": dg.StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """The launcher that dagster.yaml describes."""
        return cls(config_value["base_dir"], inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the run's worker; raises DagsterLaunchFailedError where that ends before it has found the run."""
        run_id = context.dagster_run.run_id
        self._folder.mkdir(parents=True, exist_ok=True)
        self._forget_killed_workers()
        told, tells = self._processes.Pipe(duplex=False)
        worker = self._processes.Process(
            target=work, args=(run_id, self._instance.get_ref(), self._file(run_id), tells), name=f"run {run_id}"
        )
        try:
            worker.start()
            # Python would wait for it when the daemon is stopped; the next daemon knows it by its file.
            multiprocessing.process._children.discard(worker)  # type: ignore[attr-defined]
            tells.close()
            if not told.poll(START_SECONDS):
                worker.kill()
                raise DagsterLaunchFailedError(
                    f"starting run {run_id}: its process did not reach Dagster's storage within {START_SECONDS} s."
                )
            told.recv()
        except (EOFError, OSError) as error:
            raise DagsterLaunchFailedError(
                f"starting run {run_id}: its process ended before it began ({type(error).__name__}). The daemon's log "
                "has what it printed."
            ) from error
        finally:
            told.close()

    def begins(self, run_id: str) -> None:
        """Take note that this process executes the run, for as long as it lives."""
        self._folder.mkdir(parents=True, exist_ok=True)
        hold(self._file(run_id))

    def ends(self, run_id: str) -> None:
        """Forget the run, if it is this process that executed it."""
        release(self._file(run_id))

    def worker_lives(self, run_id: str) -> bool:
        """Whether another process still executes the run, whatever its status says."""
        return run_id not in _held and living_worker(self._file(run_id)) is not None

    def was_killed(self, run_id: str) -> bool:
        """Whether the run's worker left its file behind, as only one that could not end by itself does."""
        file = self._file(run_id)
        return file.exists() and living_worker(file) is None

    def terminate(self, run_id: str) -> bool:
        """Interrupt the run's worker; False where there is none."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        if (pid := living_worker(self._file(run_id))) is None:
            # It may not have come so far as to have a file: then it finds the run canceling, and ends it itself.
            if self.was_killed(run_id):
                clear_scratch(self._file(run_id))
                self._instance.report_run_canceled(run, "The run had no process any more.")
            return False
        # Dagster takes it for SIGINT, of which ADBC 1.13 would only cancel the statement that it waits for.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask whether a worker lives."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the run's worker lives. A run that has no file here, as one of another machine, is taken for living:
        nothing is known of it."""
        if self.was_killed(run.run_id):
            clear_scratch(self._file(run.run_id))
            return CheckRunHealthResult(WorkerStatus.FAILED, "its process was killed")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:
        """What Dagster adds to its message on a run that did not start or end in time."""
        return f"Its process {'was killed' if self.was_killed(run.run_id) else 'may still live'}."

    def _file(self, run_id: str) -> Path:
        return self._folder / run_id

    def _forget_killed_workers(self) -> None:
        for file in self._folder.iterdir():
            if living_worker(file) is None:
                run = self._instance.get_run_by_id(file.name)
                if run is None or run.is_finished:
                    clear_scratch(file)
                    file.unlink(missing_ok=True)


def hold(file: Path) -> None:
    """Lock the file of a run that this process executes, and write its process id into it."""
    if file.name in _held:
        return
    held = file.open("a+")
    flock(held, LOCK_EX)
    held.truncate(0)
    held.write(str(os.getpid()))
    held.flush()
    _held[file.name] = held


def release(file: Path) -> None:
    """Remove the file of a run that this process executed."""
    if held := _held.pop(file.name, None):
        file.unlink(missing_ok=True)
        held.close()


def _scratch(file: Path) -> Path:
    """The folder of temporary files of the run whose worker holds `file`."""
    return file.parent.parent / "run_scratch" / file.name


def clear_scratch(file: Path) -> None:
    """Delete the temporary files of a run whose worker, the one that held `file`, has ended."""
    shutil.rmtree(_scratch(file), ignore_errors=True)


def living_worker(file: Path) -> int | None:
    """Process id of the worker that holds `file`, or None."""
    with suppress(FileNotFoundError), file.open() as held:
        while True:
            try:
                flock(held, LOCK_SH | LOCK_NB)
                return None
            except BlockingIOError:
                if pid := file.read_text():
                    return int(pid)
                # It is written right after the lock was taken.
                sleep(0.01)
    return None


def to_its_end(job: "ReconstructableJob", run: dg.DagsterRun, instance: dg.DagsterInstance) -> None:
    """Execute a run in this process, until it ends or an interruption cancels it."""
    from dagster._core.errors import DagsterExecutionInterruptedError
    from dagster._grpc.impl import core_execute_run

    # What goes wrong is in the run's log before it is raised; an interruption was asked for.
    with suppress(KeyboardInterrupt, DagsterExecutionInterruptedError):
        for _ in core_execute_run(job, run, instance, inject_env_vars=True):
            pass


def work(run_id: str, instance_ref: InstanceRef, file: Path, tells: Connection) -> None:
    """Execute a run in this process. `file` is locked while it lives, and gone once Dagster knows the run as ended."""
    from dagster._core.events import EngineEventData
    from dagster._utils.hosted_user_process import recon_job_from_origin
    from dagster._utils.interrupts import capture_interrupts

    # What was loaded before the fork is there to stay: looking through it for garbage would also copy its pages.
    gc.freeze()
    with capture_interrupts():
        hold(file)
        _scratch(file).mkdir(parents=True, exist_ok=True)
        # Killed, it cannot delete what it has made: dbt's compiled models, for one.
        tempfile.tempdir = str(_scratch(file))
        with dg.DagsterInstance.from_ref(instance_ref) as instance:
            run = instance.get_run_by_id(run_id)
            if run is None or run.job_code_origin is None:
                raise LookupError(f"run {run_id} is not in Dagster's storage, or does not say where its code is.")
            tells.send(os.getpid())
            tells.close()
            started = EngineEventData.in_process(os.getpid())
            instance.report_engine_event(f"Started a process for the run (pid {os.getpid()}).", run, started)
            job = recon_job_from_origin(run.job_code_origin)
            try:
                to_its_end(job, run, instance)
            finally:
                clear_scratch(file)
                run = instance.get_run_by_id(run_id)
                if run is not None and run.status is dg.DagsterRunStatus.CANCELING:
                    # Asked for before the first step: Dagster takes such a run for one that somebody else executes.
                    instance.report_run_canceled(run)
                    run = instance.get_run_by_id(run_id)
                if run is None or run.is_finished:
                    release(file)
