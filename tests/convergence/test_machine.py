"""A few of the machine's sequences, always the same ones; `make torture` runs many, and longer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import Machine, StagingMachine
from reduction import reduced
from world import Step, World

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


def test_the_program_that_runs_many_sequences_starts_with_all_that_it_needs() -> None:
    program = Path(__file__).with_name("torture.py")
    done = subprocess.run(
        [sys.executable, str(program), "--sequences", "0"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("guilty", [{0, 24}, {7}, {3, 4, 20}])
def test_a_sequence_that_fails_is_reduced_to_the_steps_that_make_it_fail(guilty: set[int]) -> None:
    steps: list[Step] = [(str(number), (), {}) for number in range(25)]

    def fails(fewer: Sequence[Step]) -> bool:
        return guilty <= {int(name) for name, _, _ in fewer}

    assert {int(name) for name, _, _ in reduced(steps, fails)} == guilty


@pytest.mark.long
def test_core_and_marts_converge_to_the_source_whatever_happens(small_services: Services) -> None:
    run(Machine, small_services, sequences=1, steps=10)
