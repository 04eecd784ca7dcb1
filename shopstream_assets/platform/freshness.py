"""Whether the newest complete day has arrived in every layer.

Dagster's own freshness policies look at the latest materialization, so filling an old day would make a partitioned
asset look fresh. For those the check here looks at the partitions instead; assets without partitions have Dagster's.
A day that is missing is asked for by the change sensor, which also publishes empty ones.
"""

import datetime as dt
from collections.abc import Iterator, Sequence

import dagster as dg

from shopstream_assets.platform.partitions import ONE_DAY

CHECK = "newest_day_arrived"
# How long after midnight UTC the day that ended may still be missing.
GRACE = dt.timedelta(hours=6)
# An asset without partitions is rebuilt with every change, and at least daily.
WHOLE = dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(hours=36), warn_window=dt.timedelta(hours=26))


def expected_day(now: dt.datetime) -> dt.date:
    """The newest day that must be there at `now` (UTC)."""
    return (now - GRACE).date() - ONE_DAY


def freshness_checks(domain: str, keys: Sequence[dg.AssetKey], start_date: dt.date) -> dg.AssetChecksDefinition:
    """One step that looks at the newest partition of every partitioned asset of the domain."""

    @dg.multi_asset_check(
        name=f"{domain}__freshness",
        specs=[
            dg.AssetCheckSpec(
                CHECK, asset=key, description=f"The last complete day is there, {GRACE} after its end at the latest."
            )
            for key in keys
        ],
        can_subset=True,
    )
    def freshness(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        expected = expected_day(dt.datetime.now(dt.UTC))
        for check in sorted(context.selected_asset_check_keys):
            present = context.instance.get_materialized_partitions(check.asset_key)
            newest = max(present, default=None)
            fresh = expected < start_date or expected.isoformat() in present
            yield dg.AssetCheckResult(
                check_name=CHECK,
                asset_key=check.asset_key,
                passed=fresh,
                severity=dg.AssetCheckSeverity.WARN,
                description=None
                if fresh
                else f"{expected} is missing, the newest day is {newest}. Next: see that the change sensor is on and "
                "the source answers; or materialize the day.",
                metadata={"newest_day": newest or "none", "days_present": len(present)},
            )

    return freshness
