"""The direction of imports is the architecture; the modules loaded are what every run pays for."""

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "shopstream_assets"
DOMAINS = sorted(path for path in (PACKAGE / "domains").iterdir() if (path / "definitions.py").exists())
# Seconds of every run and sensor tick, for something that only some steps need.
HEAVY = {
    "adbc_driver_manager",
    "adbc_driver_postgresql",
    "altair",
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
    "streamlit",
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


# The way of a row. A layer imports those before it, never one after it. Below them all are what extends Dagster and the
# shape of an error; above them all is definitions.py, which puts a domain together.
LAYERS = ("hosting", "declare", "present", "sources", "lake", "staging", "transform", "refresh", "operate")


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_the_layers_before_it_only(layer: str) -> None:
    before = LAYERS[: LAYERS.index(layer) + 1]
    allowed = {"shopstream_assets.platform.errors", *(f"shopstream_assets.platform.{name}" for name in before)}
    found = {
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in modules(f"platform/{layer}")
        for name in imported_by(path) - {"shopstream_assets.platform"}
        if not any(f"{name}.".startswith(f"{one}.") for one in allowed)
    }
    assert found == set()


def test_every_module_of_the_platform_is_in_a_layer() -> None:
    assert {path.name for path in (PACKAGE / "platform").iterdir() if path.name != "__pycache__"} == {
        "__init__.py",
        "definitions.py",
        "errors.py",
        *LAYERS,
    }


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer != "sources"])
def test_a_layer_knows_the_port_of_a_source_and_no_adapter(layer: str) -> None:
    found = {
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in modules(f"platform/{layer}")
        for name in imported_by(path)
        if name.startswith("shopstream_assets.platform.sources.postgres")
    }
    assert found == set()


def test_the_port_of_a_source_knows_no_adapter() -> None:
    assert not [
        name
        for path in (PACKAGE / "platform" / "sources").glob("*.py")
        for name in imported_by(path)
        if name.startswith("shopstream_assets.platform.sources.postgres")
    ]


@pytest.mark.parametrize(
    ("folder", "known"),
    [
        ("platform", ["platform"]),
        ("embedded", ["embedded", "platform.declare"]),
        ("simulation", ["simulation", "platform.declare"]),
        ("dashboards", ["dashboards", "platform"]),
        *(
            (f"domains/{path.name}", [f"domains.{path.name}", "simulation", "platform", "dashboards"])
            for path in DOMAINS
        ),
    ],
)
def test_a_part_imports_what_it_may_know_only(folder: str, known: list[str]) -> None:
    allowed = tuple(f"shopstream_assets.{name}" for name in known)
    for path in modules(folder):
        assert all(name.startswith(allowed) for name in imported_by(path) - {"shopstream_assets"}), path


def test_no_module_imports_itself_by_way_of_others_not_even_for_types() -> None:
    paths = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    graph = {name: imported_by(path) & paths.keys() - {name} for name, path in paths.items()}
    # A package is imported with each of its modules; what counts is whether one asks for what is in it.
    packages = {name for name, path in paths.items() if path.name == "__init__.py" and not graph[name]}
    order = list(TopologicalSorter({name: found - packages for name, found in graph.items()}).static_order())
    assert len(order) >= len(paths) - len(packages)


def test_only_the_pages_of_a_domain_know_the_dashboards() -> None:
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in modules("domains")
        if any(name.startswith("shopstream_assets.dashboards") for name in imported_by(path))
    }
    assert users
    assert {user.split("/")[2] for user in users} == {"pages"}


def test_only_one_module_of_the_dashboards_asks_the_warehouse() -> None:
    pages = [*modules("dashboards"), *(path for path in modules("domains") if path.parent.name == "pages")]
    asking = {path.name for path in pages if "snowflake.connector" in path.read_text()}
    assert asking == {"marts.py", "server.py"}


def test_only_the_command_line_knows_the_embedded_stack() -> None:
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "embedded" not in path.parts
        and any(name.startswith("shopstream_assets.embedded") for name in imported_by(path))
    }
    assert users <= {"cli/__init__.py", "cli/demo.py"}


LOAD = """
import importlib, os, subprocess, sys
defs = importlib.import_module(f"shopstream_assets.domains.{sys.argv[1]}.definitions").defs
defs.resolve_asset_graph()
kilobytes = subprocess.check_output(["ps", "-o", "rss=", "-p", str(os.getpid())], text=True)
print(int(kilobytes) // 1024, *sys.modules)
"""


@pytest.mark.parametrize("domain", [path.name for path in DOMAINS])
def test_loading_definitions_imports_no_driver_no_other_domain_and_stays_below_300_mb(domain: str) -> None:
    prefix = domain.upper()
    environment = os.environ | {f"{prefix}_SOURCE_MODE": "simulated", f"{prefix}_START_DATE": "2026-01-01"}
    # The first load may parse the dbt project, which production has done ahead.
    for _ in range(2):
        loaded = subprocess.run(
            [sys.executable, "-c", LOAD, domain], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
    assert set(loaded[1:]) & HEAVY == set()
    others = {f"shopstream_assets.domains.{path.name}" for path in DOMAINS if path.name != domain}
    assert set(loaded[1:]) & others == set()
    assert int(loaded[0]) <= 300
