"""`shopstream demo`: play the source of a domain, carry its days through every layer, and show what came out.

What is up to date is left alone, so a second demo only looks; what a killed demo left undone is done.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from shopstream_assets.cli.summary import check_outcomes

if TYPE_CHECKING:
    import dagster as dg

    from shopstream_assets.platform.declare.domain import Domain
    from shopstream_assets.platform.hosting.own_runs import Wanted

DAYS = 90
# The last of them are played one after another: what changes on one is seen to change, and kept in staging's log.
DAY_BY_DAY = 7
# What died may be started again meanwhile, by `make up`.
OUTAGE_SECONDS = 10


class DemoFailed(Exception):
    """A step failed or a blocking check did not pass; the message says which."""


@dataclass(frozen=True)
class Pending:
    """Days [first, last] that some asset has not seen, as partition keys."""

    first: str
    last: str


def run(names: Sequence[str], quiet: bool = False) -> None:
    """Bring the last 90 complete days of domains up to date on the local stack, and print a summary of each.

    What goes wrong with one keeps no other from its days. Raises DemoFailed when a step of one failed or a check that
    blocks has not passed, and Problem where a domain is not installed.
    """
    from shopstream_assets.embedded.state import alone, home
    from shopstream_assets.platform.declare.registry import domain_named

    if len(names) == 1:
        # Before anything is started for it.
        domain_named(names[0])
    console = Console(stderr=True, quiet=quiet)
    refusal = (
        "Another demo is at work on this stack (process {pid}): wait for its end, or end it with Ctrl-C in its shell. "
        "A demo that was ended goes on where it was when it is started again."
    )
    with alone(home(), "demo", refusal):
        _run(names, console)


def _run(names: Sequence[str], console: Console) -> None:
    from shopstream_assets.cli.each import for_each
    from shopstream_assets.embedded import stack

    with console.status("Starting PostgreSQL, S3 and Snowflake on this machine"):
        os.environ.update(stack.up(say=console.print))
    if failed := for_each(names, lambda domain: show(domain, console)):
        raise DemoFailed("\n".join(failed))


def show(domain: Domain, console: Console) -> None:
    """Bring the last 90 complete days of a domain up to date and print its summary; raises DemoFailed."""
    started = time.monotonic()
    with console.status(f"Loading {domain.title}"):
        import dagster as dg

        from shopstream_assets.cli.locations import definitions_of
        from shopstream_assets.cli.summary import Services, headlines, layers

        definitions = definitions_of(domain)

    with dg.DagsterInstance.get() as instance:
        graph = definitions.resolve_asset_graph()
        pending = find_pending(instance, graph)
        if pending:
            materialize(instance, domain, runs_of(graph, pending), console)
        failed = failed_blocking_checks(instance, graph)
        services = Services.of(domain)
        days = [dt.date.fromisoformat(key) for key in demo_days(graph)]
        summary = Console(width=max(Console().width, 100))
        summary.print(layers(instance, graph, domain, days, services))
        summary.print(headlines(domain, services))
    console.print(
        f"{'Done' if pending else 'Everything was up to date; looked it over'} in {time.monotonic() - started:.0f} s. "
        "Next: [bold]make up[/bold] opens Dagster on this stack; docs/marts.md explains every figure."
    )
    if failed:
        raise DemoFailed(f"These blocking checks have not passed: {', '.join(failed)}.")


def partitioned_nodes(graph: dg.AssetGraph) -> list[dg.AssetNode]:
    """The assets that are materialized by day."""
    return [graph.get(key) for key in graph.materializable_asset_keys if graph.get(key).is_partitioned]


def demo_days(graph: dg.AssetGraph) -> list[str]:
    """Partition keys of the last 90 complete days, oldest first."""
    now = dt.datetime.now(dt.UTC)
    keys = partitioned_nodes(graph)[0].partitions_def.get_partition_keys(current_time=now)
    return [key for key in keys if key < now.date().isoformat()][-DAYS:]


def find_pending(instance: dg.DagsterInstance, graph: dg.AssetGraph) -> Pending | None:
    """The span of the last 90 complete days in which an asset lacks a partition or a blocking check its success."""
    partitioned, keys = partitioned_nodes(graph), demo_days(graph)
    lacking = {key for node in partitioned for key in set(keys) - set(instance.get_materialized_partitions(node.key))}
    unpartitioned = [key for key in graph.materializable_asset_keys if not graph.get(key).is_partitioned]
    if any(instance.get_latest_materialization_event(key) is None for key in unpartitioned) or (
        not lacking and failed_blocking_checks(instance, graph)
    ):
        lacking = set(keys)
    return Pending(min(lacking), max(lacking)) if lacking else None


def failed_blocking_checks(instance: dg.DagsterInstance, graph: dg.AssetGraph) -> list[str]:
    """Names of the blocking checks that never ran to their end, or whose latest result is an error."""
    from shopstream_assets.platform.declare.on_a_clock import is_on_a_clock

    blocking = [key for key in graph.asset_check_keys if graph.get(key).blocking and not is_on_a_clock(graph, key)]
    outcomes = check_outcomes(instance, blocking)
    return [f"{key.asset_key.to_user_string()}: {key.name}" for key in blocking if outcomes[key] in ("error", "none")]


def runs_of(graph: dg.AssetGraph, pending: Pending) -> list[Wanted]:
    """The runs of a demo: the source is played, its last days one by one up to staging; then follows all the rest.

    The last run goes over all days of the lake: those that were only played, and those that rows have left since. Of a
    source that nobody plays there is nothing to see day by day: all is one run.
    """
    from shopstream_assets.platform.declare.domain import LAYERS
    from shopstream_assets.platform.declare.on_a_clock import is_on_a_clock
    from shopstream_assets.platform.declare.partitions import SPAN_TAGS, TAKES_TAGS
    from shopstream_assets.platform.hosting.own_runs import Wanted

    takes = dict(zip(TAKES_TAGS, (pending.first, pending.last), strict=True))

    def wanted(first: str, last: str, assets: Collection[dg.AssetKey] = ()) -> Wanted:
        tags = {**takes, **dict(zip(SPAN_TAGS, (first, last), strict=True))}
        checks = [key for key in graph.asset_check_keys if key.asset_key in assets and not is_on_a_clock(graph, key)]
        return Wanted(tags, *(sorted(key.to_user_string() for key in keys) for keys in (assets, checks)))

    def of(*layers: str) -> list[dg.AssetKey]:
        return [key for key in graph.materializable_asset_keys if key.path[1] in layers]

    source, lake, staging, *_ = LAYERS
    days = demo_days(graph)
    earlier = [day for day in days[:-DAY_BY_DAY] if pending.first <= day <= pending.last]
    single = [day for day in days[-DAY_BY_DAY:] if pending.first <= day <= pending.last]
    if not of(source) or pending.first == pending.last:
        return [wanted(pending.first, pending.last)]
    return [
        *([wanted(earlier[0], earlier[-1], of(source))] if earlier else []),
        *(wanted(day, day, of(source, lake, staging)) for day in single),
        wanted(pending.first, pending.last, graph.materializable_asset_keys - set(of(source))),
    ]


def materialize(instance: dg.DagsterInstance, domain: Domain, runs: Sequence[Wanted], console: Console) -> None:
    """Execute runs of a domain's job one after another, showing their progress.

    Raises DemoFailed with the errors of the steps that failed.
    """
    import dagster as dg
    from sqlalchemy.exc import DBAPIError

    from shopstream_assets.embedded.interrupts import interrupts
    from shopstream_assets.embedded.stack import all_live
    from shopstream_assets.platform.hosting import own_runs
    from shopstream_assets.platform.operate.slots import free_slots_of_dead_runs
    from shopstream_assets.platform.transform.assets import built_manifest

    mark = {f"{domain.name}/demo": uuid4().hex}
    # What is left of a killed one is asked for by the sensors, and by the next demo: no one else is to try it again.
    tags = {**mark, "dagster/max_retries": "0"}
    marked = [replace(run, tags={**run.tags, **tags}) for run in runs]
    log = Path(os.environ["SHOPSTREAM_DAGSTER_DIR"]).parent / "logs" / f"demo_{domain.name}.log"
    found = dg.RunsFilter(tags=mark)
    with (
        own_runs.written(marked) as told,
        log.open("w") as output,
        progress(console) as advance,
        interrupts(),
    ):
        built_manifest(domain)
        # Of a demo that was killed: this one would wait for them for ever.
        free_slots_of_dead_runs(instance, domain.pool)
        # In a folder of its own, as Dagster lets an `.env` of the current one override the environment; in a session
        # of its own, as Ctrl-C must reach it through us, once.
        worker = subprocess.Popen(
            own_runs.command(domain.module, domain.name, domain.refresh_job),
            stdin=told,
            cwd=os.environ["SHOPSTREAM_DAGSTER_DIR"],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            well_at = time.monotonic()
            while worker.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    worker.wait(timeout=0.5)
                if all_live():
                    well_at = time.monotonic()
                elif time.monotonic() - well_at > OUTAGE_SECONDS:
                    raise DemoFailed(f"A service of the local stack has ended.\nThe log is {log}.")
                # Storage may be away for a moment: `make up` beside this starts what dies.
                with suppress(DBAPIError):
                    for run in instance.get_runs(found, limit=1):
                        advance(instance, run)
        except KeyboardInterrupt:
            for run in instance.get_runs(found, limit=1):
                if not run.is_finished:
                    instance.report_run_canceling(run)
            # Dagster takes it for SIGINT, of which ADBC 1.13 would only cancel the statement that it waits for.
            worker.terminate()
            worker.wait()
            for run in instance.get_runs(found, limit=1):
                # It had not begun: nobody else would end it.
                if not run.is_finished:
                    instance.report_run_canceled(run)
            raise
        except DemoFailed:
            # It would try again for a minute, and say the same of each table.
            worker.kill()
            raise
        finally:
            worker.wait()
    if worker.returncode != 0:
        why = "\n".join(failures(instance, run.run_id) for run in instance.get_runs(found, limit=1))
        raise DemoFailed(f"The run failed:\n{why or died(worker.returncode)}\nThe log is {log}.")


def died(code: int) -> str:
    """What to say of a run without an error: its process ended before it could tell one."""
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return (
        f"Its process ended without a word ({how}): it was killed, or the machine had no memory or disk left. Nothing "
        "is half-written: each partition is as before or complete. Next: see `df -h` and the system's log for the "
        "cause, then `shopstream demo` again; it goes on where it was."
    )


def failures(instance: dg.DagsterInstance, run_id: str) -> str:
    """The errors of a run's failed steps, a line each."""
    from shopstream_assets.platform.operate.failed_runs import step_failures

    return "\n".join(f"{step}: {told}" for step, told in step_failures(instance, run_id))


@contextmanager
def progress(console: Console) -> Iterator[Callable[[dg.DagsterInstance, dg.DagsterRun], None]]:
    """A bar that counts the steps of one run after another; the yielded function looks at a run and moves it."""
    from shopstream_assets.platform.declare.partitions import SPAN_TAGS

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps"),
        TimeElapsedColumn(),
        console=console,
    ) as bar:
        task, runs = bar.add_task("Materializing", total=None), dict[str, Steps]()

        def advance(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
            seen = runs.setdefault(run.run_id, Steps())
            seen.look(instance, run.run_id)
            running = ", ".join(step.split("__", 1)[-1].replace("__", "/") for step in seen.running)
            first, last = (run.tags[tag] for tag in SPAN_TAGS)
            days = first if first == last else f"{first} to {last}"
            bar.update(
                task,
                total=len(run.step_keys_to_execute or ()),
                completed=seen.ended,
                description=f"Materializing {days}: {running or '...'}",
            )

        yield advance


class Steps:
    """The steps of a run as they begin and end; each look reads what has come since the last.

    Dagster's own statistics read every event of the run at every look: of a demo's that was half of what it cost.
    """

    def __init__(self) -> None:
        self.running: list[str] = []
        self.ended = 0
        self._cursor: str | None = None

    def look(self, instance: dg.DagsterInstance, run_id: str) -> None:
        """Take what has happened since."""
        from dagster import DagsterEventType as Event

        begun = {Event.STEP_START, Event.STEP_RESTARTED}
        ended = {Event.STEP_SUCCESS, Event.STEP_FAILURE, Event.STEP_SKIPPED}
        found = instance.get_records_for_run(run_id, self._cursor, begun | ended | {Event.STEP_UP_FOR_RETRY})
        self._cursor = found.cursor
        for record in found.records:
            event = record.event_log_entry.dagster_event
            if event is None or event.step_key is None:
                continue
            if event.step_key in self.running:
                self.running.remove(event.step_key)
            if event.event_type in begun:
                self.running.append(event.step_key)
            self.ended += event.event_type in ended
