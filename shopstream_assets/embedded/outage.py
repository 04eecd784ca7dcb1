"""What to tell a user whose command failed because a service of the local stack has died under it."""

from __future__ import annotations

import os

from shopstream_assets.embedded import process, stack, state
from shopstream_assets.embedded.errors import StackError

SAFE = "What was stored is intact: each partition is as before or complete."


def outage() -> str | None:
    """Which services of the local stack died or do not answer, what is safe, and what to type; None where all are up.

    Also None where the environment leads to services that are not the local stack's.
    """
    try:
        home = state.home()
        memory = state.recall(home)
        if memory is None or not _leads_to(home, memory):
            return None
        troubled = [row for row in stack.status() if row.state != "up"]
    except StackError:
        return None
    if not troubled:
        return None
    told = ", ".join(
        f"{row.service} {'does not answer' if row.state == 'not answering' else 'has ended'}"
        f" (process {row.pid or 'unknown'}; its log: {process.log_file(home, row.service)})"
        for row in troubled
    )
    hangs = any(row.state == "not answering" for row in troubled)
    advice = f"{'`shopstream stack down`, then ' if hangs else ''}`shopstream stack up`, then this command again."
    if any("No space left on device" in process.log_tail(home, row.service) for row in troubled):
        advice = f"free some space, the disk is full; then {advice}"
    return f"Of the local stack {told}. {SAFE} Next: {advice}"


def _leads_to(home: state.Home, memory: state.Memory) -> bool:
    """Whether the environment is this stack's. Only then is its state the reason for anything."""
    name = "SHOPSTREAM_DAGSTER_POSTGRES_URL"
    return len(memory.ports) == len(stack.SERVICES) and os.environ.get(name) == state.environment(home, memory)[name]
