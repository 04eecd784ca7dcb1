"""The `shopstream` command as typed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from shopstream_assets.cli import main
from shopstream_assets.embedded import stack
from shopstream_assets.embedded.outage import outage
from shopstream_assets.embedded.state import alone, home


def shopstream(root: Path, *arguments: str, typed: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments), env={"SHOPSTREAM_HOME": str(root)}, input=typed)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_help_loads_nothing_heavy() -> None:
    heavy = {"dagster", "pyarrow", "boto3", "snowflake", "psycopg", "psutil", "pydantic"}
    code = "import sys; from shopstream_assets.cli import main; main(['--help'], standalone_mode=False)"
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    )
    assert "Commands:" in result.stdout
    assert not heavy & {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}


def test_up_then_status_show_three_services(stack_root: Path) -> None:
    code, output = shopstream(stack_root, "stack", "up")
    assert (code, output.count(" up ")) == (0, 3)
    assert shopstream(stack_root, "stack", "status")[0] == 0
    assert set(row.state for row in stack.status(stack_root)) == {"up"}


def test_a_second_dagster_on_one_stack_is_refused_in_one_line_with_the_address_of_the_first(stack_root: Path) -> None:
    stack.up(stack_root)
    with alone(home(stack_root), "ui", "", "http://127.0.0.1:3999"):
        code, output = shopstream(stack_root, "stack", "up", "--ui")
    assert (code, output.count("\n")) == (1, 1)
    assert f"at http://127.0.0.1:3999 (process {os.getpid()})" in output
    assert set(row.state for row in stack.status(stack_root)) == {"up"}


def test_a_second_demo_on_one_stack_is_refused_in_one_line(tmp_path: Path) -> None:
    with alone(home(tmp_path), "demo", ""):
        code, output = shopstream(tmp_path, "demo")
    assert (code, output.count("\n")) == (1, 1)
    assert f"Another demo is at work on this stack (process {os.getpid()})" in output


def test_a_stack_is_found_from_any_folder(stack_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.up(stack_root)
    monkeypatch.chdir(tmp_path)
    assert shopstream(stack_root, "stack", "status")[0] == 0
    assert shopstream(Path(os.path.relpath(stack_root)), "stack", "status")[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_a_command_whose_stack_has_a_dead_service_is_one_line_that_says_which_and_what_to_type(
    stack_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stack.up(stack_root).items():
        monkeypatch.setenv(name, value)
    (pid,) = (row.pid for row in stack.status(stack_root) if row.service == "aws")
    assert pid
    psutil.Process(pid).kill()
    deadline = time.monotonic() + 10
    while stack.all_live(stack_root):
        assert time.monotonic() < deadline
    for command in (("accept",), ("restage", "orders")):
        code, output = shopstream(stack_root, *command)
        assert (code, output.count("\n")) == (1, 1)
        assert f"Error: Of the local stack aws has ended (process {pid}; its log: " in output
        assert "What was stored is intact" in output
        assert "`shopstream stack up`, then this command again." in output
    # Of other services than the stack's, its state says nothing.
    monkeypatch.setenv("SHOPSTREAM_DAGSTER_POSTGRES_URL", "postgresql+psycopg2://dagster@db.example.com:5432/dagster")
    assert outage() is None


def test_status_of_nothing_fails_and_says_how_to_start(tmp_path: Path) -> None:
    code, output = shopstream(tmp_path, "stack", "status")
    assert code == 1
    assert output.count("shopstream stack up") == 3
    assert list(tmp_path.iterdir()) == []


def test_down_of_nothing_is_fine(tmp_path: Path) -> None:
    assert shopstream(tmp_path, "stack", "down") == (0, "Nothing was running.\n")


def test_reset_asks_first(tmp_path: Path) -> None:
    (tmp_path / ".shopstream").mkdir()
    (tmp_path / ".shopstream" / "kept").touch()
    assert shopstream(tmp_path, "stack", "reset", typed="n\n")[0] == 1
    assert (tmp_path / ".shopstream" / "kept").exists()
    assert shopstream(tmp_path, "stack", "reset", "--yes")[0] == 0
    assert not (tmp_path / ".shopstream").exists()


def test_a_home_that_cannot_be_made_is_one_clear_line() -> None:
    for command in (("stack", "up"), ("demo",)):
        code, output = shopstream(Path("/proc/nope"), *command)
        assert (code, output.count("\n")) == (1, 1)
        assert "/proc/nope" in output
        assert "Set SHOPSTREAM_HOME" in output


def test_an_error_of_the_stack_is_shown_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / ".shopstream" / "postgres").mkdir(parents=True)
    code, output = shopstream(tmp_path, "stack", "up")
    assert code == 1
    assert output.startswith("Error: Starting the local stack:")
    assert "Traceback" not in output


def test_home_is_the_repository_unless_told_otherwise(tmp_path: Path) -> None:
    assert (home().root / "pyproject.toml").exists()
    os.environ["SHOPSTREAM_HOME"] = str(tmp_path)
    try:
        assert home().root == tmp_path.resolve()
    finally:
        del os.environ["SHOPSTREAM_HOME"]
