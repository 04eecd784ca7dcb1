"""What a clone must be able to rely on, whatever the code does."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from shopstream_assets.platform.declare.registry import domains
from shopstream_assets.platform.declare.settings import DomainSettings

ROOT = Path(__file__).parents[1]
LOCKS = sorted([*ROOT.glob("requirements*.lock"), *ROOT.glob("deploy/*.lock")])
# Set by the machine or by libraries, not by whoever runs ShopStream.
FOREIGN = {"HOME", "PATH", "PYTHONHASHSEED", "TMPDIR", "CI", "SHOPSTREAM_HOME", "SHOPSTREAM_STACK_TOKEN"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_lock_files_hold_hashes_and_no_addresses(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    for requirement in re.findall(r"^(\S+==\S+)(.*(?:\n {4}--hash.*)*)", text, flags=re.MULTILINE):
        assert "--hash=sha256:" in requirement[1], requirement[0]


def test_every_variable_that_the_code_reads_is_in_the_example() -> None:
    documented = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    # The first lines of the example say it of all that the domains share.
    shared = {name for name in documented if name.startswith("SNOWFLAKE_")}
    documented |= {domain.variable(name) for domain in domains() for name in shared}
    prefixes = "|".join(domain.prefix for domain in domains())
    read = {
        name
        for domain in domains()
        for name in (
            *(domain.variable(field.upper()) for field in DomainSettings.model_fields),
            *(domain.variable(name) for name in ("POSTGRES_DSN", "POSTGRES_SCHEMA", "LAKE_BUCKET")),
            domain.database_variable,
            domain.integration_variable,
        )
    }
    for path in [
        *(ROOT / "shopstream_assets").rglob("*.py"),
        ROOT / "dagster.yaml",
        *ROOT.glob("dbt_project/*/profiles.yml"),
    ]:
        if "embedded" not in path.parts:
            read |= set(re.findall(rf"\b((?:SNOWFLAKE|{prefixes})_[A-Z0-9_]+)\b", path.read_text()))
    names = {name for name in read - FOREIGN if not name.endswith(("_", "_DWH", "_WH"))}
    assert names - {"SNOWFLAKE_JWT"} <= documented


def test_the_make_targets_that_the_readme_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z]+)", (ROOT / "README.md").read_text())):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_readme_counts_the_tables_of_the_demo() -> None:
    graph = json.loads((ROOT / "tests" / "platform" / "asset_graph.json").read_text())
    layers = {"postgres", "lake", "staging", "core", "models", "marts"}
    tables = [key for key in graph if key.split("/")[1] in layers]
    assert {key.split("/")[1] for key in tables} == layers
    assert f"{len(tables)} tables in six layers" in (ROOT / "README.md").read_text()


def test_the_files_that_the_documentation_links_to_exist() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_no_generated_or_secret_file_is_tracked() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in tracked if name.startswith((".shopstream", ".venv")) or name in (".env",)]
    assert not [name for name in tracked if "/target/" in name or name.endswith((".p8", ".pem", ".parquet"))]
