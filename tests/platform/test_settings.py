import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.environment import SettingsError, domain_settings
from shopstream_assets.platform.declare.settings import DomainSettings

SHOP = Domain("shop", (), simulator=lambda _: pytest.fail("nothing is simulated"))
Said = Callable[[Mapping[str, str]], DomainSettings]
COMPLETE = {"SHOP_SOURCE_MODE": "live", "SHOP_START_DATE": "2026-01-01"}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """The settings of the shop where the environment says so much of it."""

    def settings(variables: Mapping[str, str]) -> DomainSettings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return domain_settings(SHOP)

    return settings


def test_settings_are_read_from_variables_that_begin_with_the_domain(said: Said) -> None:
    settings = said(COMPLETE | {"SHOP_SCALE": "10", "SCALE": "20", "OTHER_SEED": "3"})
    assert settings.source_mode == "live"
    assert settings.start_date == dt.date(2026, 1, 1)
    assert settings.scale == 10.0
    assert settings.seed == 42


def test_settings_that_are_made_without_a_domain_read_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALE", "20")
    assert DomainSettings(source_mode="live", start_date=dt.date(2026, 1, 1)).scale == 1.0


def test_an_empty_variable_counts_as_unset(said: Said) -> None:
    assert said(COMPLETE | {"SHOP_SEED": ""}).seed == 42


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "SHOP_SOURCE_MODE: field required; SHOP_START_DATE: field required"),
        (
            COMPLETE | {"SHOP_SOURCE_MODE": "prod"},
            "SHOP_SOURCE_MODE: input should be 'simulated' or 'live', found 'prod'",
        ),
        (COMPLETE | {"SHOP_START_DATE": "01/02/2026"}, "found '01/02/2026'"),
        (COMPLETE | {"SHOP_SCALE": "0"}, "SHOP_SCALE: input should be greater than 0, found '0'"),
    ],
)
def test_a_missing_or_wrong_variable_is_named_with_what_to_do(said: Said, variables: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError) as error:
        said(variables)
    assert told in str(error.value)
    assert "Next: set them as .env.example describes" in str(error.value)


@pytest.mark.parametrize("command", ["status", "rebuild", "restage", "accept"])
def test_a_command_in_a_folder_without_settings_says_what_to_set_in_one_line(command: str, tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from shopstream_assets.cli import main; main()", command]
    run = subprocess.run(program, env={"PATH": os.environ["PATH"]}, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1
    [line] = run.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "Next: set" in line
    assert "as .env.example describes, or start the local stack with `shopstream stack up`" in line
    assert not run.stdout
