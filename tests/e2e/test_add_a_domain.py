"""docs/add-a-domain.md, followed to the letter: a business of another package, beside ours."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
import yaml  # type: ignore[import-untyped]

from shopstream_assets.embedded import stack
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.staging.warehouse import WarehouseResource

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "add-a-domain.md").read_text(encoding="utf-8")
# A heading that is a path, and the block of code below it.
FILE = re.compile(r"^### (citybike/\S+)\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 180

pytestmark = pytest.mark.long


def files() -> dict[str, str]:
    """The page's files by their paths; Markdown wants a backslash before an underscore."""
    return {path.replace("\\", ""): text for path, text in FILE.findall(PAGE)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the page's files are, and a stack of their own."""
    made = tmp_path_factory.mktemp("page")
    for path, text in files().items():
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (made / path).write_text(text, encoding="utf-8")
    (made / "shopstream").mkdir()
    yield made
    stack.down(made)


def shell(folder: Path) -> dict[str, str]:
    """What the page takes for granted, with the packages that are installed in a folder of the test's own."""
    settings = {"SHOPSTREAM_HOME": str(folder), "CITYBIKE_SCALE": "0.1", "COLUMNS": "120"}
    paths = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(folder / "installed"), str(REPOSITORY)]),
        "PIP_TARGET": str(folder / "installed"),
    }
    return {**os.environ, **settings, **paths, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@pytest.fixture(scope="module")
def demo(folder: Path) -> str:
    """What the page's commands print."""
    [commands] = COMMANDS.findall(PAGE)
    result = subprocess.run(
        ["bash", "-e", "-c", commands],
        # Beside the package, as the repository is.
        cwd=folder / "shopstream",
        env=shell(folder),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def variables(folder: Path, demo: str) -> Mapping[str, str]:
    """The environment of the stack that the demo has started."""
    lines = (folder / ".shopstream" / "env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_the_files_of_the_page_are_those_that_it_draws() -> None:
    drawn = re.search(r"```text\n(shopstream/.*?)```", PAGE, re.DOTALL)
    assert drawn is not None
    names = {line.split()[0] for line in drawn[1].splitlines()}
    assert {name.rpartition("/")[2] for name in names if not name.endswith("/")} == {
        path.rpartition("/")[2] for path in files() if path != "citybike/workspace.yaml"
    }


def test_the_demo_of_a_domain_of_another_package_shows_every_layer_and_its_headline(demo: str) -> None:
    for layer in ("postgres", "lake", "staging", "core", "marts"):
        assert re.search(rf"^ *{layer} ", demo, re.MULTILINE), layer
    assert re.search(r"mart_trips_by_day +90 ", demo)
    assert re.search(r"Trips +1,\d{3}", demo)


def test_its_mart_says_what_its_source_holds(variables: Mapping[str, str]) -> None:
    with psycopg.connect(variables["CITYBIKE_POSTGRES_DSN"]) as connection:
        source = connection.execute(
            "select (ended_at at time zone 'UTC')::date, count(*), count(distinct bicycle_id),"
            " sum(trunc(extract(epoch from ended_at)) - trunc(extract(epoch from started_at)))::bigint"
            " from trips group by 1 order by 1"
        ).fetchall()
    names = ("account", "host", "port", "protocol", "user", "password", "role")
    warehouse = WarehouseResource(
        **{name: variables[f"SNOWFLAKE_{name.upper()}"] for name in names}, database="CITYBIKE_WH"
    )
    with warehouse.connection(REPORTING) as session, session.cursor() as cursor:
        cursor.execute(
            "select trip_date, trips, bicycles, seconds_away from CITYBIKE_WH.MARTS.MART_TRIPS_BY_DAY order by 1"
        )
        mart = cursor.fetchall()
    assert len(source) == 90
    assert [tuple(row) for row in mart] == source


def test_its_code_location_is_served_beside_ours_and_is_that_of_its_workspace(folder: Path, demo: str) -> None:
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "from pathlib import Path; from shopstream_assets.embedded.ui import code_servers; import sys;"
            "import json; print(json.dumps(code_servers(Path(sys.argv[1]))))",
            str(REPOSITORY),
        ],
        env=shell(folder),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert told.returncode == 0, told.stderr
    [entry] = yaml.safe_load(files()["citybike/workspace.yaml"])["load_from"]
    served = {location: command[1] for location, command in json.loads(told.stdout).items()}
    module = entry["python_module"]
    assert served == {
        "shopstream": "shopstream_assets.domains.shopstream.definitions",
        "streamvision": "shopstream_assets.domains.streamvision.definitions",
        module["location_name"]: module["module_name"],
    }
