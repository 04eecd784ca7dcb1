"""What keeps the lake from growing with every extraction: a job, and its schedule.

What goes wrong with it is tried again by the next day's.
"""

import datetime as dt

import dagster as dg
from pydantic import Field

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.lake.superseded import delete_superseded
from shopstream_assets.platform.operate.schedules import always_on
from shopstream_assets.platform.sources.port import SourceResource

# No run reads by a manifest that was replaced so long ago. A little less than the day between two runs of the job.
DAYS_KEPT = 0.9


class LakePruning(dg.Config):
    """How long an object is kept that no manifest names any more."""

    days_kept: float = Field(default=DAYS_KEPT, gt=0, description="Days from when it was first found so.")


def prune_lake(domain: Domain) -> dg.JobDefinition:
    """Job that deletes what the lake of a domain holds in vain."""

    @dg.op(
        name=f"{domain.name}__prune_lake",
        description="Delete objects that were found named by no manifest a day ago, and still are.",
    )
    def prune(
        context: dg.OpExecutionContext, config: LakePruning, source: SourceResource, store: ObjectStoreResource
    ) -> None:
        now = dt.datetime.now(dt.UTC)
        before = now - dt.timedelta(days=config.days_kept)
        for table in domain.tables:
            deleted = delete_superseded(source, store, table, before, now)
            context.log.info(f"Deleted {deleted} objects of {table.name}, superseded before {before:%F %R} UTC.")

    @dg.job(
        name=f"prune_lake_{domain.name}",
        description=f"Delete from the lake of {domain.name} what was found named by no manifest a day ago.",
    )
    def job() -> None:
        prune()

    return job


def prune_lake_daily(domain: str, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """At 04:30 UTC; on from the start."""
    told = "At 04:30 UTC, delete objects of the lake that extractions of the day before have superseded."
    return always_on(f"prune_lake_{domain}_daily", job, "30 4 * * *", told)
