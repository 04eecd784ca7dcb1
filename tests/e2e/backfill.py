"""Single-run backfills of the code location `shopstream`, one after the other in this process.

    python backfill.py REPORT FIRST LAST [FIRST LAST ...]

The environment names source, lake, warehouse and Dagster instance. REPORT becomes a JSON list with, for every run, its
failures, the checks that it planned, and their results. Exits with 1 after a run that failed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

JOB = "refresh_shopstream"
SPAN = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
# A line per event is a line per asset and day.
QUIET = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}


def main(destination: Path, days: Sequence[str]) -> bool:
    """Run the job over each span of days [first, last] until one fails; returns whether none did."""
    from shopstream_assets.domains.shopstream.definitions import defs

    job = defs.resolve_job_def(JOB)
    reports = []
    with dg.DagsterInstance.get() as instance:
        for span in zip(days[::2], days[1::2], strict=True):
            tags = dict(zip(SPAN, span, strict=True))
            result = job.execute_in_process(QUIET, instance=instance, tags=tags, raise_on_error=False)
            reports.append(report(instance, result))
            destination.write_text(json.dumps(reports))
            if not result.success:
                return False
    return True


def report(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """What a test wants to know of a run."""
    planned = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED)
    steps = [(event.step_key, event.step_failure_data.error) for event in result.all_events if event.is_step_failure]
    return {
        "failures": [f"{step}: {error.message.strip()}" for step, error in steps if error],
        "planned_checks": [
            name(entry.dagster_event.asset_check_planned_data.asset_check_key)
            for entry in planned
            if entry.dagster_event
        ],
        "checks": {
            name(evaluation.asset_check_key): {
                "passed": evaluation.passed,
                "blocking": bool(evaluation.blocking),
                "warns": evaluation.severity == dg.AssetCheckSeverity.WARN,
                "description": evaluation.description,
                "metadata": {label: value.value for label, value in evaluation.metadata.items()},
            }
            for evaluation in result.get_asset_check_evaluations()
        },
    }


def name(key: dg.AssetCheckKey) -> str:
    """As in "postgres/orders: fresh"."""
    return f"{'/'.join(key.asset_key.path[1:])}: {key.name}"


if __name__ == "__main__":
    sys.exit(0 if main(Path(sys.argv[1]), sys.argv[2:]) else 1)
