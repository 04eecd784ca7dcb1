"""Of a long sequence that fails, the few steps that make it fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from world import Step

# Trying fewer steps ends after as many replays.
REPLAYS = 60


def reduced(steps: Sequence[Step], still_fails: Callable[[Sequence[Step]], bool]) -> Sequence[Step]:
    """Fewer steps that fail as well: leaves out ever smaller stretches, for at most REPLAYS replays."""
    size, replays = len(steps) // 2, 0
    while size and replays < REPLAYS:
        # From the end: what comes last depends on what was before.
        for first in range(len(steps) - size, -1, -size):
            fewer = [*steps[:first], *steps[first + size :]]
            replays += 1
            if fewer and still_fails(fewer):
                steps = fewer
            if replays >= REPLAYS:
                break
        size //= 2
    return steps
