"""Jobs and schedules that keep a domain running, with names that people understand."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from shopstream_assets.platform.declare.partitions import ONE_DAY
from shopstream_assets.platform.operate.schedules import always_on


def refresh_job(domain: str, on_a_clock: Sequence[dg.AssetChecksDefinition] = ()) -> UnresolvedAssetJobDefinition:
    """Every layer of a domain, for the chosen days, with all checks but those that are `on_a_clock`."""
    return dg.define_asset_job(
        f"refresh_{domain}",
        # The checks are named too: in live mode those of the source belong to assets that no job contains.
        selection=(dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks()) - _checks(on_a_clock),
        description=f"Bring {domain} up to date: every layer, for the chosen days, with all checks but those of whole "
        "tables.",
    )


def backfill_job(domain: str, on_a_clock: Sequence[dg.AssetChecksDefinition] = ()) -> UnresolvedAssetJobDefinition:
    """What follows from a domain's source, for the chosen days, with its checks; a simulated source plays nothing."""
    lake = dg.AssetSelection.key_prefixes([domain, "lake"])
    return dg.define_asset_job(
        "backfill",
        selection=lake.downstream().materializable() - _checks(on_a_clock),
        description=f"Extract the chosen days of {domain} again and rebuild all that follows from them. The source is "
        "read only.",
    )


def _checks(definitions: Sequence[dg.AssetChecksDefinition]) -> dg.AssetSelection:
    return dg.AssetSelection.checks(*(key for definition in definitions for key in definition.check_keys))


def check_job(domain: str, checks: Sequence[dg.AssetChecksDefinition]) -> UnresolvedAssetJobDefinition:
    """The checks that no refresh waits for, and those of the source, which in live mode no run contains."""
    return dg.define_asset_job(
        f"check_{domain}",
        selection=_checks(checks),
        description=f"Check the source tables of {domain}, and what whole tables promise: keys, references, tables "
        "that are only appended to. Reads every row where no index answers.",
    )


def daily_checks(domain: str, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """At 03:00 UTC, when few people shop; on from the start."""
    told = "At 03:00 UTC, check the source tables and what whole tables promise."
    return always_on(f"daily_checks_{domain}", job, "0 3 * * *", told)


def daily_refresh(domain: str, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """For those who prefer a clock to the change sensor: at 02:00 UTC, the day that ended; off until switched on."""

    @dg.schedule(
        name=f"daily_refresh_{domain}",
        job=job,
        cron_schedule="0 2 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="At 02:00 UTC, refresh the day that ended.",
    )
    def daily_refresh_(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = (context.scheduled_execution_time.date() - ONE_DAY).isoformat()
        return dg.RunRequest(run_key=day, partition_key=day)

    return daily_refresh_
