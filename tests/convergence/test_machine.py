"""A few of the machine's sequences, always the same ones; `make torture` runs many, and longer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import Machine, StagingMachine
from world import World

from shopstream_assets.cli.summary import Services


def run(machine: type[Machine], services: Services, sequences: int, steps: int) -> None:
    class Bound(machine):  # type: ignore[misc,valid-type]
        open_world = staticmethod(lambda: World(services, "models" in machine.layers))

    # Reducing a failure takes minutes: `make torture REPLAY=...` does that. What is printed can be pasted into a test.
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=steps,
            derandomize=True,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_staging_converges_to_the_source_whatever_happens(small_services: Services) -> None:
    run(StagingMachine, small_services, sequences=1, steps=14)


@pytest.mark.long
def test_core_and_marts_converge_to_the_source_whatever_happens(small_services: Services) -> None:
    run(Machine, small_services, sequences=1, steps=10)
