"""A running Dagster for the tests of this folder: webserver, daemon and code server on a stack of its own."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster_process import dagster
from store import Store

from shopstream_assets.embedded import stack

HISTORY = 40
DEFINITIONS = "shopstream_assets.domains.shopstream.definitions"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A small simulated store of 40 days with Dagster around it, in which nothing runs unasked."""
    first = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=HISTORY)
    settings = {
        "SHOPSTREAM_START_DATE": first.isoformat(),
        "SHOPSTREAM_SCALE": "0.2",
        "SHOPSTREAM_SOURCE_MODE": "simulated",
    }
    folder: Path = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        with stack.running(folder) as variables, dagster(variables, folder / "ui", sensors=False) as running:
            # Definitions and resources of this process are those of the stack.
            for name, value in variables.items():
                patch.setenv(name, value)
            # Nor are they those of the tests before, or left to the tests after: a module says when it was loaded.
            sys.modules.pop(DEFINITIONS, None)
            yield Store(running, first)
            sys.modules.pop(DEFINITIONS, None)
