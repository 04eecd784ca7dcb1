"""The direction of imports is the architecture; the modules loaded are what every run pays for."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "shopstream_assets"
DOMAINS = {"shopstream", "streamvision", "olist", "techmart"}
# Seconds of every run and sensor tick, for something that only some steps need.
HEAVY = {
    "adbc_driver_manager",
    "adbc_driver_postgresql",
    "boto3",
    "botocore",
    "dagster_aws",
    "dagster_snowflake",
    "faker",
    "fakesnow",
    "numpy",
    "pandas",
    "psycopg",
    "pyarrow",
    "snowflake.connector",
}


def imported_by(path: Path) -> set[str]:
    """Names of our modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("shopstream_assets"):
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names if alias.name.startswith("shopstream_assets"))
    return names


def modules(folder: str) -> list[Path]:
    return sorted((PACKAGE / folder).rglob("*.py"))


@pytest.mark.parametrize("path", modules("platform"), ids=lambda path: path.name)
def test_the_platform_imports_nothing_but_itself(path: Path) -> None:
    foreign = {name for name in imported_by(path) if not name.startswith("shopstream_assets.platform")}
    assert foreign <= {"shopstream_assets"}


@pytest.mark.parametrize("domain", sorted(DOMAINS & {path.name for path in (PACKAGE / "domains").iterdir()}))
def test_a_domain_imports_the_platform_and_itself_only(domain: str) -> None:
    allowed = (f"shopstream_assets.domains.{domain}", "shopstream_assets.platform")
    for path in modules(f"domains/{domain}"):
        assert all(name.startswith(allowed) for name in imported_by(path) - {"shopstream_assets"}), path


def test_only_the_command_line_knows_the_embedded_stack() -> None:
    users = {
        path.name
        for path in PACKAGE.rglob("*.py")
        if "embedded" not in path.parts
        and any(name.startswith("shopstream_assets.embedded") for name in imported_by(path))
    }
    assert users <= {"__init__.py", "demo.py"}


LOAD = """
import os, subprocess, sys
from shopstream_assets.domains.shopstream.definitions import defs
defs.resolve_asset_graph()
kilobytes = subprocess.check_output(["ps", "-o", "rss=", "-p", str(os.getpid())], text=True)
print(int(kilobytes) // 1024, *sys.modules)
"""


def test_loading_definitions_imports_no_driver_and_stays_below_300_mb() -> None:
    environment = os.environ | {"SHOPSTREAM_SOURCE_MODE": "simulated", "SHOPSTREAM_START_DATE": "2026-01-01"}
    # The first load may parse the dbt project, which production has done ahead.
    for _ in range(2):
        loaded = subprocess.run(
            [sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
    assert set(loaded[1:]) & HEAVY == set()
    assert int(loaded[0]) <= 300
