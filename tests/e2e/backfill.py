"""Single-run backfills of the shopstream code location, one after the other in this process.

    python backfill.py FIRST LAST [FIRST LAST ...]

The environment names source, lake, warehouse and Dagster instance. Prints a line of JSON per run: whether it
succeeded, the errors of steps that failed, and every check that it planned, with its result.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import dagster as dg

JOB = "refresh_shopstream"
SPAN = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def main(days: list[str]) -> None:
    """Run the job over each span of days [first, last]."""
    from shopstream_assets.shopstream.definitions import defs

    job = defs.resolve_job_def(JOB)
    with dg.DagsterInstance.get() as instance:
        for span in zip(days[::2], days[1::2], strict=True):
            tags = dict(zip(SPAN, span, strict=True))
            result = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
            print(json.dumps(report(instance, result)), flush=True)
            if not result.success:
                sys.exit(1)


def report(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """What a test wants to know of a run."""
    planned = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED)
    failed = [event for event in result.all_events if event.is_step_failure]
    return {
        "success": result.success,
        "failures": [
            f"{event.step_key}: {event.step_failure_data.error.message}"
            for event in failed
            if event.step_failure_data.error
        ],
        "planned_checks": [
            check_name(entry.dagster_event.event_specific_data.asset_check_key)  # type: ignore[union-attr]
            for entry in planned
        ],
        "checks": {
            check_name(evaluation.asset_check_key): {
                "passed": evaluation.passed,
                "blocking": evaluation.blocking,
                "severity": evaluation.severity.value,
                "description": evaluation.description,
                "metadata": {name: value.value for name, value in evaluation.metadata.items()},
            }
            for evaluation in result.get_asset_check_evaluations()
        },
    }


def check_name(key: dg.AssetCheckKey) -> str:
    """postgres/orders: fresh."""
    return f"{'/'.join(key.asset_key.path[1:])}: {key.name}"


if __name__ == "__main__":
    main(sys.argv[1:])
