"""A run whose next step waits for a slot sleeps meanwhile."""

import time

from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext


def sleep_while_waiting() -> None:
    """Let this process sleep until a step that waits for its pool may ask for a slot again: in 1 to 15 seconds.

    dagster 1.13.27 takes the smaller of that time and nothing, so that each waiting run spins, and takes its share of
    the machine from the step that it waits for.
    """
    InstanceConcurrencyContext.interval_to_next_pending_claim_check = _until_next_claim  # type: ignore[method-assign]


def _until_next_claim(self: InstanceConcurrencyContext) -> float:
    """Seconds until a step that waits asks again; 0 where none does."""
    now = time.time()
    return max(0.0, min((at - now for at in self._pending_timeouts.values()), default=0.0))
