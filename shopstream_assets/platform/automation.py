"""When things refresh by themselves: the few named conditions, and the sensor that sees the source change.

The sensor asks for changed days of a table together with everything downstream, in one run, so a change reaches the
marts without waiting for a tick per layer. The conditions see to everything else: a partition that somebody
materialized by hand, an upstream that changed while its downstream was running, a check that passes at last.
"""

import dagster as dg

_changed = dg.AutomationCondition.any_deps_updated()
_handled = dg.AutomationCondition.newly_requested()
# `since_last_handled` would forget a change that arrives while the asset is being built from what was there before:
# the end of that build counts as handling it. So a change during a build, or in the tick of its end, stays open.
_open_change = _changed.since(_handled | (dg.AutomationCondition.newly_updated() & ~_changed)) | (
    _changed & dg.AutomationCondition.in_progress()
).since(_handled)

FOLLOW_CHANGES = (
    _open_change
    & ~dg.AutomationCondition.in_progress()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & dg.AutomationCondition.all_deps_blocking_checks_passed()
).with_label("follow_changes")
"""Build what depends on a change: any partition, however old, and assets without partitions.

Waits for dependencies in progress and for their blocking checks. Asks for nothing where nothing changed, and not again
by itself after a failure: that is for run retries, or for the next change.
"""
