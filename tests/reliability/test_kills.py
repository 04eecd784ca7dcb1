"""A short seed of the program that kills whatever runs; `make kills KILLS=200` runs many."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kills import search

pytestmark = pytest.mark.long


@pytest.fixture
def environment_of_its_own() -> Iterator[None]:
    """The stack's variables are set in os.environ, and lead nowhere after the test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("environment_of_its_own")
def test_after_kills_of_anything_everything_comes_to_rest_and_equals_the_source(tmp_path: Path) -> None:
    figures = search(3, 3, seed=1, failures=tmp_path, patience=600, stop_at=float("inf"))

    assert sum(figures.kills.values()) == 3
    assert not figures.recovered["not recovered"], list(tmp_path.glob("*.json"))
