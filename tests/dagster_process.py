"""Dagster on a local stack, started and driven by a program as a person drives it in the browser.

For tests and benchmarks: code server, webserver and daemon are processes of their own, as in production, so that each
can be killed and started again. Everything is asked for through the webserver's GraphQL, as its page does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import dagster as dg

from shopstream_assets.embedded.process import free_ports
from shopstream_assets.platform.hosting.run_launcher import ForkingRunLauncher, living_worker

Part = Literal["code_server", "webserver", "daemon"]
LOCATION, REPOSITORY = "shopstream", "__repository__"
MODULE = "shopstream_assets.domains.shopstream.definitions"
IN_REPOSITORY = {"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY}
FINISHED = ("SUCCESS", "FAILURE", "CANCELED")
# Without proxies: a company's proxy variable must not come between us and this machine.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Overdue(Exception):
    """What was waited for did not happen in time."""


def forking_instance(folder: Path) -> contextlib.AbstractContextManager[dg.DagsterInstance]:
    """An instance whose runs are forks, as on a laptop, in a folder of a test's own."""
    launcher = {
        "module": ForkingRunLauncher.__module__,
        "class": ForkingRunLauncher.__name__,
        "config": {"base_dir": str(folder)},
    }
    overrides = {"run_launcher": launcher, "run_monitoring": {"enabled": True}, "telemetry": {"enabled": False}}
    return dg.DagsterInstance.local_temp(str(folder), overrides=overrides)


def wait_for(found: Callable[[], Any], what: str, seconds: float, every: float = 0.25) -> Any:
    """The first truthy answer of `found`; raises Overdue where there is none within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise Overdue(f"waiting for {what}: not within {seconds:.0f} s")
        time.sleep(every)
    return answer


@dataclass
class Dagster:
    """Dagster's processes around one stack. `folder` takes their logs and is their current folder."""

    variables: Mapping[str, str]
    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[Part, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, *parts: Part) -> None:
        """Start the parts that do not run, all without names, and wait until the page has loaded the definitions."""
        if not self.ports:
            self.ports = dict(zip(("code_server", "webserver"), free_ports(2), strict=True))
            self.workspace.write_text(
                f"load_from: [{{grpc_server: {{host: 127.0.0.1, port: {self.ports['code_server']}, "
                f"location_name: {LOCATION}}}}}]\n"
            )
        for part in parts or ("code_server", "webserver", "daemon"):
            if part not in self.processes or self.processes[part].poll() is not None:
                with (self.folder / f"{part}.log").open("ab") as log:
                    self.processes[part] = subprocess.Popen(
                        [sys.executable, "-m", *self._command(part)],
                        env={**os.environ, **self.variables},
                        cwd=self.folder,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
            if part == "code_server":
                wait_for(self._code_server_answers, f"the code server (log: {self.folder})", 180)
        wait_for(self._is_loaded, f"Dagster's page (log: {self.folder})", 180)

    @property
    def workspace(self) -> Path:
        """The file by which webserver and daemon find the code server."""
        return self.folder / "workspace.yaml"

    def _command(self, part: Part) -> list[str]:
        host = ["--host", "127.0.0.1", "--port"]
        if part == "code_server":
            module = ["--module-name", MODULE, "--location-name", LOCATION]
            return ["dagster", "code-server", "start", *host, str(self.ports[part]), *module]
        workspace = ["--workspace", str(self.workspace)]
        if part == "webserver":
            return ["dagster_webserver", *host, str(self.ports[part]), *workspace]
        return ["dagster._daemon", "run", *workspace]

    def _code_server_answers(self) -> bool:
        from dagster._grpc.client import DagsterGrpcClient

        if (code := self.processes["code_server"].poll()) is not None:
            raise Overdue(f"the code server ended with {code}: {(self.folder / 'code_server.log').read_text()[-2000:]}")
        try:
            return bool(DagsterGrpcClient(host="127.0.0.1", port=self.ports["code_server"]).ping("hello"))
        except Exception as error:
            if type(error).__name__ != "DagsterUserCodeUnreachableError":
                raise
            return False

    def _is_loaded(self) -> bool:
        query = (
            "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename"
            " ... on PythonError { message } } } } } }"
        )
        try:
            entries = self.ask(query)["workspaceOrError"]["locationEntries"]
        except urllib.error.URLError:
            return False
        loaded = [entry["locationOrLoadError"] for entry in entries]
        broken = [found["message"] for found in loaded if found and found["__typename"] == "PythonError"]
        if broken and "DagsterUserCodeUnreachableError" not in broken[0]:
            raise RuntimeError(f"loading the definitions: {broken[0]} (log: {self.folder})")
        return bool(loaded) and all(found and found["__typename"] == "RepositoryLocation" for found in loaded)

    def pids(self, part: Part) -> list[int]:
        """The processes of a part, its children's children included, the oldest first."""
        import psutil

        parent = psutil.Process(self.processes[part].pid)
        return [parent.pid, *(child.pid for child in parent.children(recursive=True))]

    def run_workers(self) -> list[int]:
        """The processes that execute runs."""
        files = (Path(self.variables["SHOPSTREAM_DAGSTER_DIR"]) / "run_workers").glob("*")
        return [pid for pid in map(living_worker, files) if pid is not None]

    def kill(self, part: Part) -> None:
        """Kill -9 a part: the daemon alone, as the system does for its memory; of others, whatever they started too."""
        for pid in reversed(self.pids(part)[: 1 if part == "daemon" else None]):
            os.kill(pid, signal.SIGKILL)
        self.processes[part].wait()

    def stop(self) -> None:
        """Stop every part and whatever it started."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            # The group: a code server or a run left behind would keep its port and its memory.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        # Those of a daemon that was killed.
        for pid in self.run_workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def ask(self, query: str, **values: Any) -> Any:
        """The data of a GraphQL query; raises RuntimeError with what the webserver found wrong with it."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports['webserver']}/graphql",
            data=json.dumps({"query": query, "variables": values}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with OPENER.open(request, timeout=60) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"asking Dagster: {error.code} {error.read().decode()[:2000]}") from None
        if answer.get("errors"):
            raise RuntimeError(f"asking Dagster: {answer['errors']}")
        return answer["data"]

    def assets(self) -> list[list[str]]:
        """Keys of every asset that can be materialized."""
        found = self.ask("{ assetNodes { assetKey { path } isMaterializable } }")["assetNodes"]
        return sorted(node["assetKey"]["path"] for node in found if node["isMaterializable"])

    def backfill(self, assets: Sequence[Sequence[str]], days: Sequence[str]) -> str:
        """Launch a backfill as the page's button does; returns its id."""
        answer = self.ask(
            "mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {"
            " __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }",
            params={
                "assetSelection": [{"path": list(path)} for path in assets],
                "partitionNames": list(days),
                "fromFailure": False,
                "tags": [],
            },
        )["launchPartitionBackfill"]
        if "backfillId" not in answer:
            raise RuntimeError(f"launching a backfill: {answer}")
        return str(answer["backfillId"])

    def launch(self, assets: Sequence[Sequence[str]], first: str, last: str) -> str:
        """Launch one run over the days [first, last], as the page does for "Single run"; returns its id."""
        span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        answer = self.ask(
            "mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {"
            " __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }",
            params={
                "selector": {
                    **IN_REPOSITORY,
                    "jobName": "__ASSET_JOB",
                    "assetSelection": [{"path": list(path)} for path in assets],
                },
                "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in span.items()]},
                "mode": "default",
                "runConfigData": {},
            },
        )["launchPipelineExecution"]
        if "run" not in answer:
            raise RuntimeError(f"launching a run: {answer}")
        return str(answer["run"]["runId"])

    def terminate(self, run_id: str) -> None:
        """Terminate a run as the page's button does; raises RuntimeError where Dagster says that it cannot."""
        answer = self.ask(
            "mutation($id: String!) { terminateRun(runId: $id) { __typename"
            " ... on TerminateRunFailure { message } ... on PythonError { message } } }",
            id=run_id,
        )["terminateRun"]
        if answer["__typename"] != "TerminateRunSuccess":
            raise RuntimeError(f"terminating run {run_id}: {answer}")

    def backfill_status(self, backfill: str) -> str:
        """Dagster's status of a backfill, as COMPLETED_SUCCESS."""
        query = "query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status"
        return str(self.ask(f"{query} }} }} }}", id=backfill)["partitionBackfillOrError"]["status"])

    def runs(self, **tags: str) -> list[dict[str, Any]]:
        """The runs with all of these tags, oldest first; `__` in a name stands for `/`."""
        wanted = [{"key": name.replace("__", "/"), "value": value} for name, value in tags.items()]
        return self._runs({"tags": wanted})

    def run(self, run_id: str) -> dict[str, Any]:
        """A run by its id."""
        (found,) = self._runs({"runIds": [run_id]})
        return found

    def _runs(self, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
        query = (
            "query($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results { runId status"
            " creationTime startTime endTime tags { key value } stepStats { stepKey startTime endTime } } } } }"
        )
        found = self.ask(query, filter=wanted)["runsOrError"]["results"]
        for run in found:
            run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
        return sorted(found, key=lambda run: run["creationTime"])

    def failures(self, run_id: str) -> str:
        """Messages of everything that went wrong in a run."""
        query = (
            "query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { __typename"
            " ... on MessageEvent { message } ... on ExecutionStepFailureEvent { error { message } } } } } }"
        )
        events = self.ask(query, id=run_id)["logsForRun"]["events"]
        wanted = ("ExecutionStepFailureEvent", "RunFailureEvent")
        return "\n".join(
            (event.get("error") or {}).get("message") or event["message"]
            for event in events
            if event["__typename"] in wanted
        )

    def switch_off_sensors(self, location: str = LOCATION) -> list[str]:
        """Let nothing of a code location run unasked; returns the names of the sensors that ran."""
        query = (
            "query($s: RepositorySelector!) { sensorsOrError(repositorySelector: $s) {"
            " ... on Sensors { results { name sensorState { id status } } } } }"
        )
        where = {**IN_REPOSITORY, "repositoryLocationName": location}
        sensors = self.ask(query, s=where)["sensorsOrError"]["results"]
        running = [sensor for sensor in sensors if sensor["sensorState"]["status"] == "RUNNING"]
        for sensor in running:
            stop = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"
            self.ask(stop, id=sensor["sensorState"]["id"])
        return [sensor["name"] for sensor in running]

    def switch_on_sensors(self, names: Sequence[str]) -> None:
        """Let these sensors run."""
        for name in names:
            start = "mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"
            self.ask(start, s={**IN_REPOSITORY, "sensorName": name})


@contextlib.contextmanager
def dagster(variables: Mapping[str, str], folder: Path, sensors: bool = True) -> Iterator[Dagster]:
    """Dagster on the stack that `variables` name, for as long as the block lasts.

    Without `sensors` they are switched off first, so that nothing runs unasked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    running = Dagster(variables, folder)
    try:
        running.start("code_server", "webserver")
        if not sensors:
            running.switch_off_sensors()
        running.start("daemon")
        yield running
    finally:
        running.stop()
