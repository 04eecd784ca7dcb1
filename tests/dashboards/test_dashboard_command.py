"""`shopstream dashboard` before it serves anything."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from shopstream_assets.cli import main


@pytest.mark.parametrize(("dotenv", "told"), [(None, "does not exist"), ("SNOWFLAKE_USER=u\n", "does not say it")])
def test_without_a_warehouse_to_read_it_says_what_is_missing_and_serves_no_page_of_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dotenv: str | None, told: str
) -> None:
    for name in list(os.environ):
        if "SNOWFLAKE" in name:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    if dotenv:
        (tmp_path / ".env").write_text(dotenv)
    # What the file sets is forgotten with the test.
    monkeypatch.setenv("SNOWFLAKE_USER", "u")
    result = CliRunner().invoke(main, ["dashboard"])
    assert result.exit_code == 1
    assert f"SNOWFLAKE_ACCOUNT is not set, and {tmp_path / '.env'} {told}." in result.output
    assert "shopstream stack up" in result.output
