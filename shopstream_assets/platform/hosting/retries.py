"""Which failures of a step are tried again."""

import sys

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError


class UnlessInterrupted(dg.RetryPolicy):
    """A RetryPolicy under which a run that is terminated ends.

    Dagster 1.13 takes the interruption of a step for one more failure of it: a run that somebody terminates would try
    the step again, and go on.
    """

    def calculate_delay(self, attempt_num: int) -> float:
        """Seconds to wait; called while the failure is being handled, and raises it again if it is an interruption."""
        failure = sys.exc_info()[1]
        if isinstance(failure, (KeyboardInterrupt, DagsterExecutionInterruptedError)):
            raise failure
        return super().calculate_delay(attempt_num)


# Only what may pass by itself is tried again: LayerError says which.
RETRY = UnlessInterrupted(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
