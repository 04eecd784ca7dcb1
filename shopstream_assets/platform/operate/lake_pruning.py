"""What keeps the lake from growing with every extraction: a job, and its schedule."""

import datetime as dt

import dagster as dg
from pydantic import Field

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.lake.superseded import delete_superseded
from shopstream_assets.platform.sources.port import SourceResource

# No run reads by a manifest that was replaced so long ago.
DAYS_KEPT = dt.timedelta(days=1)


class LakePruning(dg.Config):
    """How long an object is kept that no manifest names any more."""

    days_kept: int = Field(
        default=DAYS_KEPT.days, ge=1, description="Days for which nothing is deleted of a day that was published anew."
    )


def prune_lake(domain: Domain) -> dg.JobDefinition:
    """Job that deletes what the lake of a domain holds in vain."""

    @dg.op(
        name=f"{domain.name}__prune_lake",
        description="Delete objects that the manifest of their day has not named for a day.",
    )
    def prune(
        context: dg.OpExecutionContext, config: LakePruning, source: SourceResource, store: ObjectStoreResource
    ) -> None:
        before = dt.datetime.now(dt.UTC) - dt.timedelta(days=config.days_kept)
        faults = []
        for table in domain.tables:
            # What is wrong with one table keeps the others from nothing.
            try:
                deleted = delete_superseded(source, store, table, before)
            except Problem as problem:
                faults.append(f"lake/{table.name}: deleting objects that no manifest names: {problem}")
            else:
                context.log.info(f"Deleted {deleted} objects of {table.name}, superseded before {before:%F %R} UTC.")
        if faults:
            raise dg.Failure("\n".join(faults))

    @dg.job(
        name=f"prune_lake_{domain.name}",
        description=f"Delete from the lake of {domain.name} what its manifests have not named for a day.",
    )
    def job() -> None:
        prune()

    return job


def prune_lake_daily(domain: str, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """At 04:30 UTC; on from the start."""
    return dg.ScheduleDefinition(
        name=f"prune_lake_{domain}_daily",
        job=job,
        cron_schedule="30 4 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="At 04:30 UTC, delete objects of the lake that extractions of the day before have superseded.",
    )
