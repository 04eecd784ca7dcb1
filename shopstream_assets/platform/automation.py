"""When things refresh by themselves: the few named conditions of everything below the lake.

The change sensor asks for changed days of a table together with everything downstream, in one run, so a change reaches
the marts without waiting for a tick per layer. The conditions see to everything else: a partition that somebody
materialized by hand, an upstream that changed while its downstream was running, a check that passes at last, a run that
failed half-way, a day that is missing, an asset that is no longer fresh.
"""

import datetime as dt
import warnings

import dagster as dg

from shopstream_assets.platform.updates import UpdatedWithoutRoot

Condition = dg.AutomationCondition

# How often what failed, is missing or stale is tried again.
AGAIN = "*/15 * * * *"
# Missing days as old as this are built when their dependencies have them; older ones are a matter of a backfill.
RECENT = dt.timedelta(days=3)

_changed = Condition.any_deps_match(UpdatedWithoutRoot() | Condition.will_be_requested()).with_label("any_deps_updated")
# `since_last_handled` would forget a change that arrives while the asset is being built from what was there before, as
# the end of that build counts as handling it; and one that arrives right after a request. Both stay open here.
_handled = (Condition.newly_requested() | Condition.newly_updated()) & ~_changed
CHANGED = (
    _changed.since(_handled) | (_changed & Condition.in_progress()).since(Condition.newly_requested() & ~_changed)
).with_label("dependency_changed")
"""A dependency changed since this was last built or asked for: any partition, however old."""

FAILED = (
    Condition.execution_failed()
    & ~Condition.any_deps_match(Condition.execution_failed() & ~Condition.will_be_requested())
).with_label("run_failed")
"""The last run that was to build this failed, and not because of a dependency."""

MISSING = (Condition.in_latest_time_window(RECENT) & Condition.missing() & ~Condition.any_deps_missing()).with_label(
    "recent_day_missing"
)
"""One of the last days is missing although its dependencies have it."""

STALE = Condition.freshness_failed().with_label("not_fresh")
"""The asset's freshness policy has failed."""

_ready = (
    ~Condition.in_progress() & ~Condition.any_deps_in_progress() & Condition.all_deps_blocking_checks_passed()
).with_label("ready")

FOLLOW_CHANGES = ((CHANGED | ((FAILED | MISSING) & Condition.cron_tick_passed(AGAIN))) & _ready).with_label(
    "follow_changes"
)
"""Build what depends on a change at once; what failed or is missing, every quarter of an hour.

Waits for dependencies in progress and for their blocking checks. Asks for nothing where nothing is the matter.
"""

FOLLOW_CHANGES_WHOLE = ((CHANGED | ((FAILED | STALE) & Condition.cron_tick_passed(AGAIN))) & _ready).with_label(
    "follow_changes_whole"
)
"""The same for an asset without partitions, which has no missing days but may be stale as a whole."""


def followed(assets: list[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets, set to follow their dependencies' changes."""

    def follow(spec: dg.AssetSpec) -> dg.AssetSpec:
        condition = FOLLOW_CHANGES if spec.partitions_def else FOLLOW_CHANGES_WHOLE
        return spec.replace_attributes(automation_condition=condition)

    return [assets_def.map_asset_specs(follow) for assets_def in assets]


def automation_sensor(domain: str) -> dg.AutomationConditionSensorDefinition:
    """Evaluates the automation conditions of a domain's assets; running from the start."""
    with warnings.catch_warnings():
        # That `use_user_code_server` is in beta: nothing that a user can act on, in front of every command.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.AutomationConditionSensorDefinition(
            f"{domain}_automation",
            target=dg.AssetSelection.all(),
            minimum_interval_seconds=60,
            # For a condition of our own.
            use_user_code_server=True,
            default_status=dg.DefaultSensorStatus.RUNNING,
            description="Builds what depends on something that changed, once its blocking checks have passed; and "
            "tries again what failed, is missing or stale.",
        )
