"""The parsed dbt project follows its files: nothing that was deleted or renamed goes on being built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.transform import dbt_manifest
from shopstream_assets.platform.transform.dbt_manifest import ParsedProject, digest, parse

PROJECT = """
name: small
version: "1.0"
profile: small
model-paths: [models]
flags: {send_anonymous_usage_stats: false}
"""
PROFILES = """
small:
  target: it
  outputs: {it: {type: snowflake, account: unset, user: unset, password: unset, database: D, schema: CORE}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "dbt_project.yml").write_text(PROJECT)
    (tmp_path / "profiles.yml").write_text(PROFILES)
    (tmp_path / "models" / "one.sql").write_text("select 1 as a")
    (tmp_path / "models" / "two.sql").write_text("select a as b from {{ ref('one') }}")
    return tmp_path


def models(found: ParsedProject) -> set[str]:
    return {node["name"] for node in found.manifest["nodes"].values()}


def test_a_model_that_is_deleted_or_renamed_or_changed_without_a_new_date_is_noticed(project: Path) -> None:
    first = parse(project, "D")
    assert models(first) == {"one", "two"}
    assert parse(project, "D").folder == first.folder

    two = project / "models" / "two.sql"
    two.unlink()
    assert models(parse(project, "D")) == {"one"}

    one = project / "models" / "one.sql"
    one.rename(project / "models" / "uno.sql")
    assert models(parse(project, "D")) == {"uno"}

    uno = project / "models" / "uno.sql"
    uno.write_text("select 2 as a")
    nodes = parse(project, "D").manifest["nodes"]
    assert [node["raw_code"] for node in nodes.values()] == ["select 2 as a"]


def test_another_dbt_database_or_setting_is_another_manifest(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [digest(project, "D"), digest(project, "E")]
    (project / "dbt_project.yml").write_text(PROJECT + "vars: {days: 3}\n")
    seen.append(digest(project, "D"))
    monkeypatch.setattr(dbt_manifest, "version", lambda name: "9.9")
    seen.append(digest(project, "D"))

    assert len(set(seen)) == 4
    (project / "target").mkdir()
    (project / "target" / "left.sql").write_text("what dbt wrote")
    assert digest(project, "D") == seen[-1]


@pytest.mark.parametrize("where", ["../shared/macros", "\"{{ env_var('PLATFORM_DBT_SHARED') }}/macros\""])
def test_a_change_beside_the_project_in_what_it_shares_with_others_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("PLATFORM_DBT_SHARED", str(tmp_path / "shared"))
    project, shared = tmp_path / "airline", tmp_path / "shared" / "macros"
    (project / "models").mkdir(parents=True)
    shared.mkdir(parents=True)
    (project / "dbt_project.yml").write_text(PROJECT + "macro-paths: [macros, " + where + "]\n")
    (project / "profiles.yml").write_text(PROFILES)
    (project / "models" / "one.sql").write_text("select {{ answer() }} as a")
    (shared / "answer.sql").write_text("{% macro answer() %}42{% endmacro %}")
    assert models(parse(project, "D")) == {"one"}
    before = digest(project, "D")
    (shared / "answer.sql").write_text("{% macro answer() %}43{% endmacro %}")
    assert digest(project, "D") != before


def test_the_files_of_a_manifest_come_together_or_not_at_all(project: Path) -> None:
    (project / "models" / "two.sql").write_text("select {{ no_such_macro( }}")
    with pytest.raises(Problem, match="correct the model or YAML file"):
        parse(project, "D")
    assert [path.name for path in (project / "target" / "D").iterdir()] == ["manifest.lock"]

    (project / "models" / "two.sql").write_text("select a from {{ ref('one') }}")
    found = parse(project, "D")
    assert {path.name for path in found.folder.iterdir()} == {
        *("manifest.json", "partial_parse.msgpack", "lineage.json", "in_use")
    }
    assert json.loads((found.folder / "lineage.json").read_text()) == found.lineage


@pytest.mark.long
def test_old_manifests_are_removed_unless_a_process_still_reads_them(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbt_manifest, "KEPT", 2)
    held = parse(project, "D")
    for number in range(2 + 2):
        (project / "models" / "one.sql").write_text(f"select {number} as a")
        let_go = parse(project, "D")
        let_go.release()

    left = {path.parent for path in (project / "target" / "D").glob("*/in_use")}
    assert held.folder in left
    assert let_go.folder in left
    assert len(left) == 2 + 1
    assert held.parsed.exists()


def test_dbt_remembers_nothing_from_invocation_to_invocation_and_reads_no_stack(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dbt.adapters.base import impl
    from dbt_common import behavior_flags

    monkeypatch.setattr(behavior_flags.inspect, "stack", lambda: pytest.fail("dbt reads the stack"))

    def flags_after(number: int) -> int:
        (project / "models" / "one.sql").write_text(f"select {number} as a")
        parse(project, "D").release()
        return len(impl.DEFAULT_BASE_BEHAVIOR_FLAGS)

    # A manifest takes two invocations.
    assert flags_after(1) == flags_after(2)
