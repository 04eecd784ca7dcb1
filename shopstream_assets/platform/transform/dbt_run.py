"""dbt inside a step's own process: its events as they come, and its end when the step is interrupted."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.hosting.interruption import STOP_EVERY, interruptible, writing
from shopstream_assets.platform.staging.warehouse import WarehouseResource
from shopstream_assets.platform.transform.dbt_invocation import invoke_dbt
from shopstream_assets.platform.transform.dbt_manifest import read_parsed

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult

FAILURE_EVENTS = frozenset({"RunResultError", "MainEncounteredError"})
# What became of a node, and what failed: a few of the hundreds of events of a model, which are costly to translate.
TOLD = FAILURE_EVENTS | {"LogModelResult", "LogSeedResult", "LogSnapshotResult", "LogTestResult"}


def run_dbt(arguments: Sequence[str], manifest: Path, warehouse: WarehouseResource) -> Generator[dict[str, Any]]:
    """Run a dbt command in this process; yields its structured log events that are in TOLD as they come.

    `manifest` is dbt's own copy of it (partial_parse.msgpack). However the iteration ends, dbt has ended with it: close
    the iterator. When it is interrupted, what dbt runs in the warehouse is cancelled and nothing else is begun.

    Raises Problem when dbt ends by an exception of its own, not by a failed model or test: those are events.
    """
    from dagster._utils.interrupts import capture_interrupts
    from google.protobuf.json_format import MessageToDict
    from snowflake.connector import Error

    events: SimpleQueue[Any] = SimpleQueue()
    results: list[dbtRunnerResult] = []
    ended = threading.Event()
    parsed = read_parsed(manifest)

    def note(event: Any) -> None:
        if event.info.name in TOLD:
            events.put(event)

    def invoke() -> None:
        try:
            results.append(invoke_dbt(arguments, parsed, [note]))
        finally:
            events.put(None)
            ended.set()

    # Whoever holds the pool's slot writes alone: what still writes is of a process that was killed. The tag is that of
    # the profile of the domain's project.
    warehouse.cancel_left_over(f"{warehouse.query_tag}_dbt")
    worker = threading.Thread(target=invoke, name="dbt")

    def stop() -> None:
        stop_dbt(warehouse)

    with interruptible(stop), writing(worker):
        try:
            worker.start()
            while (event := events.get()) is not None:
                yield MessageToDict(event, preserving_proto_field_name=True)
        except BaseException:
            # A second signal must not end the wait for the first one's work.
            with capture_interrupts():
                # As long as it lives; where its start was interrupted, it may be about to.
                while worker in threading.enumerate():
                    # Where the account is silent, dbt's statement ends by its own limit.
                    with suppress(Error):
                        stop()
                    ended.wait(STOP_EVERY)
            raise
        worker.join()
    if not results or (results[0].exception is not None):
        cause = results[0].exception if results else "it stopped without a result"
        raise Problem(f"dbt failed: {cause}.", "read dbt's messages in the step's log.")


def stop_dbt(warehouse: WarehouseResource) -> None:
    """Let dbt's threads send no further statement, and cancel those that the warehouse is at.

    To be repeated until dbt has ended: each of its models fails at its next statement.
    """
    from dbt.adapters.factory import FACTORY

    sessions = []
    for adapter in list(FACTORY.adapters.values()):
        adapter.connections.add_standard_query = _refuse
        with adapter.connections.lock:
            connections = list(adapter.connections.thread_connections.values())
        # The state first: asking for the handle of a connection that is not open would open it.
        sessions += [found.handle.session_id for found in connections if found.state == "open" and found.handle]
    if sessions:
        warehouse.cancel(sessions)


def _refuse(*_: Any, **__: Any) -> Any:
    from dbt_common.exceptions import DbtRuntimeError

    raise DbtRuntimeError("the run was interrupted; nothing more is sent to the warehouse")
