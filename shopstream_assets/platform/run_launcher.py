"""A run launcher for one machine: each run is a fork of a process that has imported the libraries already.

Dagster's default launcher starts a new Python for every run, and much of a small run's time goes into importing
dagster, dbt and the drivers. Here the daemon keeps a process that has done so (multiprocessing's fork server). The
project itself is imported by each run: an edited asset counts from the next run on, without a restart.

Daemon and code must share a machine and an environment, as they do under `make up`, `dagster dev` and a supervisor;
deploy/kubernetes names Dagster's launcher for a cluster. dagster.yaml names this class.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster._core.errors import DagsterLaunchFailedError
from dagster._core.instance import InstanceRef
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._serdes import ConfigurableClass, ConfigurableClassData

# What a run imports, other than the project. A library that cannot be imported is left to the run, which then says so.
LIBRARIES = [
    "dagster._daemon.cli",
    "dagster_dbt.core.dbt_cli_event",
    "dagster_postgres",
    "dbt.cli.main",
    "dbt.task.build",
    "dbt.adapters.snowflake",
    "adbc_driver_postgresql.dbapi",
    "boto3.s3.transfer",
    "psycopg",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "snowflake.connector",
]


class ForkingRunLauncher(RunLauncher[dg.DagsterInstance], ConfigurableClass):
    """Starts each run in a process of its own, and knows at any time which of them live, over restarts of the daemon.

    A worker holds a lock on its file in `base_dir`/run_workers as long as it lives, however it ends.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__()
        self._inst_data = inst_data
        self._folder = Path(base_dir) / "run_workers"
        # On macOS a fork may not use what the process before it had loaded of the system's frameworks.
        self._processes: ForkServerContext | SpawnContext = multiprocessing.get_context("spawn")
        if sys.platform == "linux":
            self._processes = multiprocessing.get_context("forkserver")
            self._processes.set_forkserver_preload(LIBRARIES)

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
        """Start the run's worker; raises DagsterLaunchFailedError where it ends before it has told."""
        run_id = context.dagster_run.run_id
        self._folder.mkdir(parents=True, exist_ok=True)
        told, tells = self._processes.Pipe(duplex=False)
        worker = self._processes.Process(
            target=work, args=(run_id, self._instance.get_ref(), self._file(run_id), tells), name=f"run {run_id}"
        )
        worker.start()
        tells.close()
        try:
            told.recv()
        except EOFError:
            worker.join()
            raise DagsterLaunchFailedError(
                f"starting run {run_id}: its process ended with code {worker.exitcode} before it began. The daemon's "
                "log has what it printed."
            ) from None
        finally:
            told.close()

    def terminate(self, run_id: str) -> bool:
        """Interrupt the run's worker; False where there is none."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        pid = self._living_worker(run_id)
        if pid is None:
            self._instance.report_engine_event("The run has no process to interrupt.", run, cls=self.__class__)
            return False
        os.kill(pid, signal.SIGINT)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask whether a worker lives."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the run's worker lives. A run that this launcher did not start, as one of `dagster job execute`, is
        taken for living: nothing is known of it."""
        if not self._file(run.run_id).exists() or self._living_worker(run.run_id) is not None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "its process ended without a word")

    def _file(self, run_id: str) -> Path:
        return self._folder / run_id

    def _living_worker(self, run_id: str) -> int | None:
        """Process id of the run's worker while it lives; its file is locked until then."""
        try:
            with self._file(run_id).open() as file:
                try:
                    flock(file, LOCK_SH | LOCK_NB)
                except BlockingIOError:
                    return int(file.read())
        except FileNotFoundError:
            pass
        return None


def work(run_id: str, instance_ref: InstanceRef, file: Path, tells: Connection) -> None:
    """Execute a run in this process. `file` is locked while it lives, and gone once the run has ended in any way that
    Dagster knows of."""
    from dagster._core.errors import DagsterExecutionInterruptedError
    from dagster._core.events import EngineEventData
    from dagster._grpc.impl import core_execute_run
    from dagster._utils.hosted_user_process import recon_job_from_origin
    from dagster._utils.interrupts import capture_interrupts

    with file.open("w") as lock, capture_interrupts(), dg.DagsterInstance.from_ref(instance_ref) as instance:
        flock(lock, LOCK_EX)
        lock.write(str(os.getpid()))
        lock.flush()
        run = instance.get_run_by_id(run_id)
        if run is None or run.job_code_origin is None:
            raise LookupError(f"run {run_id} is not in Dagster's storage, or does not say where its code is.")
        tells.send(os.getpid())
        tells.close()
        started = EngineEventData.in_process(os.getpid())
        instance.report_engine_event(f"Started a process for the run (pid {os.getpid()}).", run, started)
        # What goes wrong is in the run's log before it is raised; an interruption was asked for.
        with suppress(KeyboardInterrupt, DagsterExecutionInterruptedError):
            for _ in core_execute_run(recon_job_from_origin(run.job_code_origin), run, instance, inject_env_vars=False):
                pass
        file.unlink()
