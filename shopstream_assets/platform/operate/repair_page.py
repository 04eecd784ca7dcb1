"""The asset `<domain>/operations/days_to_repair`: a page of Dagster's UI that says what failed or is missing.

It is kept up to date by a sensor, without a run, and has no partitions: materializing everything must stay one run.
"""

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.partitions import spans
from shopstream_assets.platform.operate.failed_runs import FailedRun, failed_runs
from shopstream_assets.platform.operate.repair import NOTHING_TO_REPAIR, Days, commands, days_by_asset
from shopstream_assets.platform.refresh.runs import newest_change

LAYER, TABLE = "operations", "days_to_repair"
INTERVAL_SECONDS = 30
# More commands than this are a sign of something that no command repairs.
COMMANDS_SHOWN = 20
RUNS_SHOWN = 5


def days_to_repair(domain: Domain) -> dg.AssetSpec:
    """The page, as an asset that nothing materializes but the sensor below."""
    return dg.AssetSpec(
        asset_key(domain.name, LAYER, TABLE),
        group_name=f"{domain.name}_{LAYER}",
        description=f"One row per asset of {domain.title} with complete days (UTC) that failed or are missing: which "
        "days, and what repairs them; and the runs that failed. Looked at after every run, and at midnight.",
        owners=["team:data-platform"],
        tags={"domain": domain.name, "layer": LAYER},
        kinds={"dagster"},
    )


def repair_sensor(domain: Domain) -> dg.SensorDefinition:
    """Writes the page when what it says has changed; running from the start."""
    page = days_to_repair(domain).key

    @dg.sensor(
        name=f"{domain.name}_days_to_repair",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"After every run, and at midnight, lists the days to repair in the asset {page.to_user_string()}.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if context.repository_def is None:
            raise RuntimeError("the sensor of the days to repair needs the repository that it is part of")
        now = dt.datetime.now(dt.UTC)
        seen, _, told = (context.cursor or "").partition(" ")
        if (state := newest_change(context.instance, now)) == seen:
            return dg.SkipReason("No run has ended since the last look.")
        complete = days_by_asset(context.instance, context.repository_def.asset_graph, now)
        found = {key: days for key, days in complete.items() if key.path[0] == domain.name and days.to_repair}
        failed = failed_runs(context.instance, now, domain.name)
        says = hashlib.sha256(repr((sorted(found.items()), failed)).encode()).hexdigest()[:16]
        return dg.SensorResult(
            asset_events=[] if says == told else [_materialization(page, found, failed, domain)],
            skip_reason=_summary(found, failed),
            cursor=f"{state} {says}",
        )

    return look


def _summary(found: Mapping[dg.AssetKey, Days], failed: Sequence[FailedRun]) -> str:
    days = f"{len(found)} assets have days to repair." if found else NOTHING_TO_REPAIR
    return f"{days} {len(failed)} failed runs were not made good." if failed else days


def _materialization(
    page: dg.AssetKey, found: Mapping[dg.AssetKey, Days], failed: Sequence[FailedRun], domain: Domain
) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        page,
        metadata={
            "assets": len(found),
            "failed_days": sum(len(days.failed) for days in found.values()),
            "missing_days": sum(len(days.missing) for days in found.values()),
            "failed_runs": len(failed),
            "days_to_repair": dg.MetadataValue.md("\n".join([markdown(found, domain), *runs_markdown(failed)])),
        },
    )


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
