"""The dashboards as Streamlit in Snowflake: on the session of the container, of the business of the app's database."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from known_marts import Warehouse

from shopstream_assets.platform.declare.registry import domain_named

ROOT = Path(__file__).parents[2]
APP = ROOT / "deploy" / "snowflake" / "streamlit_app.py"
# As Snowflake runs it, but for the token's path and for who looks: says what the first page shows, as JSON.
LOOK = """
import json, sys
from pathlib import Path
from streamlit.testing.v1 import AppTest
import shopstream_assets.dashboards.marts as marts

marts.SESSION_TOKEN = Path(sys.argv[2])
shown = AppTest.from_file(sys.argv[1], default_timeout=120).run()
print(json.dumps({
    "exceptions": [found.message for found in shown.exception],
    "errors": [found.value for found in shown.error],
    "titles": [found.value for found in shown.title],
    "metrics": {found.label: found.value for found in shown.metric},
    "captions": [found.value for found in shown.caption],
}))
"""


@pytest.fixture
def container(tmp_path: Path, local_stack: Mapping[str, str]) -> Path:
    """A folder as Snowflake mounts it: a token, and the connector's default connection, without its database."""
    (tmp_path / "token").write_text("a token")
    names = ("account", "user", "password", "host", "protocol")
    lines = [f'{name} = "{local_stack[f"SNOWFLAKE_{name.upper()}"]}"' for name in names]
    lines += [f"port = {local_stack['SNOWFLAKE_PORT']}", 'warehouse = "REPORTING_WH"']
    (tmp_path / "connections.toml").write_text("\n".join(["[default]", *lines, ""]))
    (tmp_path / "connections.toml").chmod(0o600)
    return tmp_path


def look(container: Path, database: str, **variables: str) -> dict[str, Any]:
    """What the app shows first whose database is that, without any other variable of the platform."""
    connections = container / "connections.toml"
    connections.write_text(f'{connections.read_text()}database = "{database}"\n')
    kept = {name: value for name, value in os.environ.items() if "SNOWFLAKE" not in name and "SHOPSTREAM" not in name}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(APP), str(container / "token")],
        env={**kept, **variables, "SNOWFLAKE_HOME": str(container)},
        capture_output=True,
        text=True,
        cwd=container,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    shown: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return shown


@pytest.mark.parametrize(("name", "title"), [("shopstream", "Sales overview"), ("streamvision", "Content performance")])
def test_the_pages_of_the_apps_business_are_shown_without_a_login_of_ours(
    container: Path, marts: Mapping[str, Warehouse], name: str, title: str
) -> None:
    domain = domain_named(name)
    database = os.environ[domain.database_variable]
    shown = look(container, database, **{domain.database_variable: database})
    assert (shown["exceptions"], shown["errors"]) == ([], [])
    assert shown["titles"] == [title]
    assert len(shown["metrics"]) >= 3
    assert "–" not in shown["metrics"].values()
    assert not [caption for caption in shown["captions"] if "Catalogue" in caption]


def test_a_warehouse_that_gives_no_session_is_told_in_words(container: Path, marts: Mapping[str, Warehouse]) -> None:
    connections = container / "connections.toml"
    connections.write_text(connections.read_text().replace('password = "', 'password = "not '))
    shown = look(container, "ANY")
    assert not shown["exceptions"]
    assert shown["errors"][0].startswith("**The warehouse gives no figures:**")


def test_a_database_without_a_business_is_said_to_be_one(container: Path, marts: Mapping[str, Warehouse]) -> None:
    shown = look(container, os.environ[domain_named("shopstream").database_variable])
    assert not shown["exceptions"]
    assert "No business has its marts in the database PAGES_SHOPSTREAM" in shown["errors"][0]


@pytest.mark.long
def test_the_bundle_is_all_that_the_pages_need(tmp_path: Path) -> None:
    subprocess.run(["make", "bundle", f"BUNDLE={tmp_path / 'app'}"], cwd=ROOT, check=True, capture_output=True)
    empty = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", empty], check=True)
    python = str(empty / "bin" / "python")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-index", "--requirement", "requirements.txt"],
        cwd=tmp_path / "app",
        check=True,
    )
    loads = """
from importlib import import_module
import shopstream_assets.dashboards.app as app
from shopstream_assets.dashboards.world import __file__ as world
from shopstream_assets.platform.declare.registry import domains
pages = [import_module(page.module) for domain in domains() for page in domain.pages]
assert len(pages) > 6 and all(page.show for page in pages)
assert app.ICON.exists()
print(app.__file__)
"""
    done = subprocess.run([python, "-c", loads], cwd=tmp_path / "app", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert Path(done.stdout.strip()).is_relative_to(empty)
