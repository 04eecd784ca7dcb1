"""The asset `<domain>/operations/days_to_repair`: a page of Dagster's UI that says what failed or is missing.

It is kept up to date by a sensor, without a run, and has no partitions: materializing everything must stay one run.
The sensor also asks for what it lists, where nobody else does: see repair_requests.py.
"""

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window, spans
from shopstream_assets.platform.operate.failed_runs import FailedRun, failed_runs
from shopstream_assets.platform.operate.repair import NOTHING_TO_REPAIR, Days, commands, days_by_asset
from shopstream_assets.platform.operate.repair_requests import Memory, Wanted, due
from shopstream_assets.platform.refresh.catch_up import failed_blocking_checks
from shopstream_assets.platform.refresh.run_requests import run_request, taken_days
from shopstream_assets.platform.refresh.runs import in_backfills, newest_change

LAYER, TABLE = "operations", "days_to_repair"
INTERVAL_SECONDS = 30
# More commands than this are a sign of something that no command repairs.
COMMANDS_SHOWN = 20
RUNS_SHOWN = 5
ASKED_BY = {"shopstream/asked_by": "repair"}


def days_to_repair(domain: Domain) -> dg.AssetSpec:
    """The page, as an asset that nothing materializes but the sensor below."""
    return dg.AssetSpec(
        asset_key(domain.name, LAYER, TABLE),
        group_name=domain.group(LAYER),
        description=f"One row per asset of {domain.title} with complete days (UTC) that failed or are missing: which "
        "days, and what repairs them; and the runs that failed. Looked at after every run, and at midnight.",
        owners=["team:data-platform"],
        tags={"domain": domain.name, "layer": LAYER},
        kinds={"dagster"},
    )


def repair_sensor(domain: Domain, attempts: int) -> dg.SensorDefinition:
    """Writes the page when what it says has changed, and repairs what stands on it; running from the start.

    Each day of an asset is asked for at most `attempts` times.
    """
    page = days_to_repair(domain).key

    @dg.sensor(
        name=f"{domain.name}_days_to_repair",
        asset_selection=dg.AssetSelection.key_prefixes(domain.name),
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="After every run, and at midnight, lists the days to repair in the asset "
        f"{page.to_user_string()}; asks for what has stood there for a while, at most {attempts} times.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if context.repository_def is None:
            raise RuntimeError("the sensor of the days to repair needs the repository that it is part of")
        instance, now = context.instance, dt.datetime.now(dt.UTC)
        memory = _remembered(context.cursor)
        runs = newest_change(instance, now)
        if runs == memory.runs and not memory.is_due(now, attempts):
            return dg.SkipReason("No run has ended since the last look.")
        graph = context.repository_def.asset_graph
        complete = days_by_asset(instance, graph, now)
        ours = {key: days for key, days in complete.items() if key.path[0] == domain.name}
        wanted = _to_ask_for(instance, graph, ours, memory, now, attempts)
        found = {key: days for key, days in ours.items() if days.to_repair}
        failed = failed_runs(instance, now, domain.name)
        given_up = memory.given_up(attempts)
        says = hashlib.sha256(repr((sorted(found.items()), failed, given_up)).encode()).hexdigest()[:16]
        changed, memory.runs, memory.told = says != memory.told, runs, says
        return dg.SensorResult(
            run_requests=[_request(graph, wanted, context.cursor or now.isoformat())] if wanted else None,
            asset_events=[_materialization(page, found, failed, given_up, domain)] if changed else [],
            skip_reason=None if wanted else _summary(found, failed),
            cursor=memory.model_dump_json(exclude_defaults=True),
        )

    return look


def _remembered(cursor: str | None) -> Memory:
    # Until it asked for anything, the cursor was two words.
    return Memory.model_validate_json(cursor) if cursor and cursor.startswith("{") else Memory()


def _to_ask_for(
    instance: dg.DagsterInstance,
    graph: AssetGraph,
    found: Mapping[dg.AssetKey, Days],
    memory: Memory,
    now: dt.datetime,
    attempts: int,
) -> Wanted:
    listed = sorted(day for days in found.values() for day in (*days.to_repair, *days.running))
    if not listed:
        memory.asked = {}
        return {}
    window = Window(dt.date.fromisoformat(listed[0]), dt.date.fromisoformat(listed[-1]) + ONE_DAY)
    taken = taken_days(instance, found.keys(), window)
    wanted = due(found, memory, taken, in_backfills(instance, found.keys()), now, attempts)
    held_up = failed_blocking_checks(instance, graph, {key for keys in wanted.values() for key in keys})
    for keys in wanted.values():
        # What failed its check is built again with what waits for it: only then can the check pass.
        keys |= held_up
    return wanted


def _request(graph: AssetGraph, wanted: Wanted, attempt: str) -> dg.RunRequest:
    request = run_request(graph, wanted, attempt)
    return request.with_replaced_attrs(tags={**request.tags, **ASKED_BY})


def _summary(found: Mapping[dg.AssetKey, Days], failed: Sequence[FailedRun]) -> str:
    days = f"{len(found)} assets have days to repair." if found else NOTHING_TO_REPAIR
    return f"{days} {len(failed)} failed runs were not made good." if failed else days


def _materialization(
    page: dg.AssetKey,
    found: Mapping[dg.AssetKey, Days],
    failed: Sequence[FailedRun],
    given_up: Mapping[str, Sequence[str]],
    domain: Domain,
) -> dg.AssetMaterialization:
    told = [markdown(found, domain), *given_up_markdown(given_up), *runs_markdown(failed)]
    return dg.AssetMaterialization(
        page,
        metadata={
            "assets": len(found),
            "failed_days": sum(len(days.failed) for days in found.values()),
            "missing_days": sum(len(days.missing) for days in found.values()),
            "failed_runs": len(failed),
            "days_to_repair": dg.MetadataValue.md("\n".join(told)),
        },
    )


def given_up_markdown(given_up: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The days that were asked for as often as allowed, and are not asked for again; nothing where there are none."""
    if given_up:
        yield "\n**Left to you.** These were asked for as often as SHOPSTREAM_REPAIR_ATTEMPTS allows, and failed each "
        yield "time. Correct the cause, which their newest runs tell, then materialize them.\n"
        for name, days in given_up.items():
            yield f"- {name}: {spans(days)}"


def runs_markdown(failed: Sequence[FailedRun]) -> Iterator[str]:
    """The runs that failed and were not made good, linked; nothing where there are none."""
    if not failed:
        return
    yield "\n**Runs that failed, and that no later run has made good.** A day may be there all the same, where a check "
    yield "failed after it. Dagster counts a backfill by its days: it may read as completed. Correct the cause, then "
    yield "materialize those days again.\n"
    for run in failed[:RUNS_SHOWN]:
        of = f" of backfill [{run.backfill}](/runs/b/{run.backfill})" if run.backfill else ""
        days = run.first if run.first == run.last else f"{run.first}..{run.last}"
        yield f"- [{run.run_id[:8]}](/runs/{run.run_id}){of}, {days}: {run.why}"
    if len(failed) > RUNS_SHOWN:
        yield f"- and {len(failed) - RUNS_SHOWN} more"


def markdown(found: Mapping[dg.AssetKey, Days], domain: Domain) -> str:
    """A row per asset, linked to its partitions in the UI, and the commands that repair them all."""
    if not found:
        return NOTHING_TO_REPAIR
    rows = [
        f"| [{key.to_user_string()}](/assets/{key.to_user_string()}?view=partitions) "
        f"| {len(days.failed)} | {len(days.missing)} | {spans(days.to_repair)} |"
        for key, days in found.items()
    ]
    to_run = list(commands(found, domain))
    more = len(to_run) - COMMANDS_SHOWN
    return "\n".join(
        [
            "| asset | failed | missing | days |",
            "|---|---:|---:|---|",
            *rows,
            "",
            "Follow an asset's link, **Materialize**, and tick *Backfill only failed and missing partitions within "
            "selection*. Or in the repository:",
            "",
            # Not as a block of code, which would not wrap.
            *(f"- `{command}`" for command in to_run[:COMMANDS_SHOWN]),
            *([f"- and {more} more: `shopstream status --domain {domain.name}` lists them"] if more > 0 else []),
        ]
    )
