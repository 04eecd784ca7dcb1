"""One private stack for the tests of this folder: a cold start costs seconds, and every test starts by `up` anyway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shopstream_assets.embedded import stack

CHOSEN_BY_USERS = tuple(
    f"SHOPSTREAM_{name}" for name in ("SCALE", "SEED", "GROWTH", "START_DATE", "SOURCE_MODE", "REPORTING_TIME_ZONE")
)


@pytest.fixture(autouse=True)
def _no_settings_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*CHOSEN_BY_USERS, "SHOPSTREAM_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def stack_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a stack that is reset at the end; call `stack.up(stack_root)` to have it up."""
    root = tmp_path_factory.mktemp("a stack")
    yield root
    stack.reset(root)
