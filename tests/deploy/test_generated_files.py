"""`shopstream generate`, in a copy of the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from account_sql import DEPLOY

from shopstream_assets.cli.generate import files

ROOT = DEPLOY.parent
COMMAND = [sys.executable, "-c", "from shopstream_assets.cli import main; main()", "generate"]
WHOLE = (
    "workspace.yaml",
    "dbt_project/shopstream/models/sources.yml",
    "dbt_project/streamvision/models/sources.yml",
    "deploy/snowflake/shopstream/03_database.sql",
    "deploy/snowflake/streamvision/07_staging_tables.sql",
)
SOURCES = WHOLE[1:3]
WITH_SECTION = (".env.example", "deploy/kubernetes/values.yaml")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    # What is installed may be an editable clone: a package that lies first in the path is the copy.
    leave = shutil.ignore_patterns("logs", "*.egg-info")
    for folder in ("shopstream_assets", "dbt_project", "deploy", "powerbi"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=leave)
    for file in ("workspace.yaml", ".env.example"):
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def generate(clone: Path, *options: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(clone), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([*COMMAND, *options], cwd=clone, env=environment, capture_output=True, text=True)


def contents(folder: Path) -> dict[Path, str]:
    return {
        path: path.read_text(encoding="utf-8")
        for name in ("deploy", "powerbi", "workspace.yaml", ".env.example", *SOURCES)
        for path in ([folder / name] if (folder / name).is_file() else (folder / name).rglob("*"))
        if path.is_file()
    }


def test_check_names_each_file_that_differs_and_the_command_that_writes_it_again(clone: Path) -> None:
    """Also: the repository's own files are what its domains give, and a check writes nothing."""
    before = contents(clone)
    found = generate(clone, "--check")
    assert (found.returncode, found.stdout) == (0, ""), found.stdout + found.stderr

    for name in WHOLE:
        (clone / name).write_text(before[clone / name] + "-- edited\n")
    for name in WITH_SECTION:
        (clone / name).write_text(before[clone / name].replace("/run/secrets/streamvision", "/run/secrets/other"))
    missing = "deploy/snowflake/streamvision/02_roles.sql"
    (clone / missing).unlink()
    broken = contents(clone)
    found = generate(clone, "--check")
    assert found.returncode == 1
    names = sorted([*WHOLE, *WITH_SECTION, missing])
    assert found.stdout.splitlines() == [f"{name} differs from the domains." for name in names]
    assert "Next: `shopstream generate` writes them." in found.stderr
    assert contents(clone) == broken

    assert generate(clone).returncode == 0
    assert contents(clone) == before

    page = clone / "powerbi" / "ShopStream.Report" / "definition" / "pages" / "pages.json"
    page.unlink()
    (page.parent / "page99.json").write_text("{}")
    found = generate(clone, "--check")
    assert (found.returncode, found.stdout.splitlines()) == (
        1,
        [
            "powerbi/ShopStream.Report/definition/pages/page99.json belongs to no domain that is installed.",
            "powerbi/ShopStream.Report/definition/pages/pages.json differs from the domains.",
        ],
    )
    assert generate(clone).returncode == 0
    assert contents(clone) == before


def test_what_is_written_by_hand_around_a_section_is_left_alone(clone: Path) -> None:
    example = clone / ".env.example"
    text = f"# mine\n{example.read_text()}MINE=1\n"
    example.write_text(text)
    example.write_text(text.replace("STREAMVISION_SEED=42", "STREAMVISION_SEED=43"))
    assert generate(clone).returncode == 0
    assert example.read_text() == text


def test_a_file_whose_section_is_gone_is_named_with_the_lines_to_put_there(clone: Path) -> None:
    values = clone / "deploy" / "kubernetes" / "values.yaml"
    values.write_text(values.read_text().replace("# <<< shopstream generate\n", "\n"))
    found = generate(clone, "--check")
    assert found.returncode == 1
    assert "deploy/kubernetes/values.yaml has 0 marked sections" in found.stderr
    assert "# <<< shopstream generate" in found.stderr


def test_scripts_of_a_domain_that_is_gone_are_deleted_but_nobody_elses(clone: Path) -> None:
    """A package that is no longer installed leaves its scripts behind."""
    folder = clone / "deploy" / "snowflake" / "airline"
    shutil.copytree(folder.with_name("shopstream"), folder)
    (folder / "99_own.sql").write_text("-- Ours.\n")
    found = generate(clone)
    assert found.returncode == 0
    assert "deploy/snowflake/airline/03_database.sql is deleted: its domain is not installed.\n" in found.stdout
    assert "99_own" not in found.stdout
    assert [path.name for path in folder.iterdir()] == ["99_own.sql"]


def test_without_a_domain_that_has_a_report_only_reports_are_deleted() -> None:
    made, here = files.KINDS[1]
    left = files.differing(made([]), here())
    assert left
    assert all(path.is_relative_to(ROOT / "powerbi") for path in left)


def test_lint_fails_on_a_generated_file_that_differs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.split("\nlint: ")[1].split("\n\n")[0]
    assert "\n\t@$(BIN)/shopstream generate --check" in recipe
