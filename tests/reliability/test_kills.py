"""A short seed of the program that kills whatever runs; `make kills KILLS=200` runs many."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from installation import FOREIGN

PROGRAM = Path(__file__).with_name("kills.py")


def test_after_kills_of_anything_everything_comes_to_rest_and_equals_the_source(tmp_path: Path) -> None:
    # In a process of its own: what this one has loaded are the definitions of other tests.
    options = {"--kills": 3, "--round": 3, "--seed": 1, "--patience": 600, "--failures": tmp_path}
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), *(str(part) for option in options.items() for part in option)],
        env={name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as searching:
        try:
            told, _ = searching.communicate()
        finally:
            # Of a test that is ended: it takes its stack down.
            searching.send_signal(signal.SIGINT)
    assert searching.returncode == 0, told[-8000:]
    assert "3 kills in 1 rounds" in told
    assert not list(tmp_path.glob("*.json"))
