"""Packages of the npm registry that tests run, as their lock file says."""

import shutil
import subprocess
from pathlib import Path

import pytest

SECONDS = 600


def installed(locked: Path, folder: Path, brings: str) -> Path:
    """Install what the lock file in `locked` names into `folder`; skips the test where that is not possible."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"npm is not here: it brings {brings}")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(locked / name, folder)
    done = subprocess.run([npm, "ci", "--silent"], cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        pytest.skip(f"{brings} cannot be had: {done.stderr[-300:]}")
    return folder / "node_modules"
