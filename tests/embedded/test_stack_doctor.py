"""`shopstream doctor` against a stack that is well, one that is not, and settings of all kinds."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from shopstream_assets.cli.doctor import examination, finding, postgres, settings
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.domains.streamvision.domain import STREAMVISION
from shopstream_assets.embedded import stack
from shopstream_assets.platform.declare.domain import Domain

WELL_FORMED = {
    "SHOPSTREAM_SOURCE_MODE": "live",
    "SHOPSTREAM_START_DATE": "2026-01-01",
    "SHOPSTREAM_POSTGRES_DSN": "postgresql://reader:s3cret-pw@db.example.com:5432/shop",
    "SHOPSTREAM_POSTGRES_SCHEMA": "public",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "SHOPSTREAM_LAKE_BUCKET": "my-lake",
    "SNOWFLAKE_ACCOUNT": "myorg-myaccount",
    "SNOWFLAKE_USER": "SERVICE",
    "SNOWFLAKE_PASSWORD": "s3cret-sf",
    "SNOWFLAKE_ROLE": "TRANSFORMER",
    "SNOWFLAKE_DATABASE": "SHOPSTREAM_DWH",
    "SNOWFLAKE_STORAGE_INTEGRATION": "SHOPSTREAM_LAKE",
    "DAGSTER_HOME": str(Path(__file__).resolve().parents[2]),
    "SHOPSTREAM_DAGSTER_POSTGRES_URL": "postgresql+psycopg2://dagster:s3cret-dg@db.example.com:5432/dagster",
    "SHOPSTREAM_DAGSTER_DIR": "/tmp",
}


def run_doctor(folder: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it, with nothing in the shell but `env`."""
    shell = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "-c", "from shopstream_assets.cli import main; main()", "doctor"]
    return subprocess.run(command, cwd=folder, env={**shell, **env}, capture_output=True, text=True, timeout=120)


def test_a_fresh_stack_passes_through_its_dotenv_and_no_secret_is_shown(stack_root: Path) -> None:
    env = stack.up(stack_root)
    result = run_doctor(stack_root, {})
    failures = [line for line in result.stdout.splitlines() if line.startswith("FAIL")]
    # The repository's dagster.yaml is not this test's matter.
    assert [line for line in failures if "DAGSTER_HOME" not in line] == [], result.stdout + result.stderr
    for what in ("Postgres: tables", "S3: delete", "Snowflake: stage", "Snowflake: table", "Dagster storage: tables"):
        assert what in result.stdout
    secrets = [env[n] for n in ("SNOWFLAKE_PASSWORD", "AWS_SECRET_ACCESS_KEY")]
    secrets.append(env["SHOPSTREAM_POSTGRES_DSN"].split(":")[2].split("@")[0])
    assert not [secret for secret in secrets if secret in result.stdout + result.stderr]


def test_in_a_folder_without_settings_the_file_that_is_missing_is_named(tmp_path: Path) -> None:
    result = run_doctor(tmp_path, {})
    assert result.returncode == 1
    first, advice, *_ = result.stdout.splitlines()
    assert first.startswith("FAIL  settings")
    assert str(tmp_path / ".env") in first
    assert "stack up" in advice
    assert "no file" not in run_doctor(tmp_path, WELL_FORMED).stdout


def test_the_shell_wins_over_dotenv_and_each_failure_says_what_to_do(stack_root: Path) -> None:
    env = stack.up(stack_root)
    dsn = env["SHOPSTREAM_POSTGRES_DSN"].split("@")[1]
    result = run_doctor(
        stack_root,
        {
            "SHOPSTREAM_POSTGRES_DSN": f"postgresql://shopstream:wrong-password@{dsn}",
            "SHOPSTREAM_LAKE_BUCKET": "no-such-bucket",
            "SNOWFLAKE_PASSWORD": "wrong-password",
        },
    )
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    for what in ("Postgres: login", "S3: bucket", "Snowflake: login"):
        found = next(i for i, line in enumerate(lines) if line.startswith("FAIL") and what in line)
        assert "->" in lines[found + 1]
    assert "wrong-password" not in result.stdout


def test_a_host_that_swallows_packets_is_a_finding_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "CONNECT_SECONDS", 2)
    with socket.socket() as black_hole:
        black_hole.bind(("127.0.0.1", 0))
        black_hole.listen()
        where = f"127.0.0.1:{black_hole.getsockname()[1]}"
        dsn = f"postgresql://reader:s3cret-pw@{where}/shop"
        begin = time.monotonic()
        found = list(postgres.check_source(SHOPSTREAM, {**WELL_FORMED, "SHOPSTREAM_POSTGRES_DSN": dsn}))
    assert [finding.result for finding in found] == ["FAIL"]
    assert time.monotonic() - begin < 10


def test_a_check_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asleep = threading.Event()

    def hangs(domain: Domain, environment: Mapping[str, str]) -> Iterator[finding.Finding]:
        asleep.wait()
        return iter(())

    monkeypatch.setattr(examination, "SERVICE_SECONDS", 0.2)
    monkeypatch.setattr(examination, "services_of", lambda *_: [examination._Service("Sleeper", (), hangs)])
    try:
        last = list(examination.examine(SHOPSTREAM, WELL_FORMED))[-1]
    finally:
        asleep.set()
    assert (last.result, last.what) == ("FAIL", "Sleeper")
    assert "no answer within" in last.found


def test_well_formed_settings_have_no_failure() -> None:
    findings = [f for f in settings.check_settings(SHOPSTREAM, WELL_FORMED) if f.what != "DAGSTER_HOME"]
    assert {finding.result for finding in findings} == {"ok"}
    assert not [f for f in findings if "s3cret" in f.found + f.advice]


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("SHOPSTREAM_SOURCE_MODE", "", "stack up"),
        ("SHOPSTREAM_SOURCE_MODE", "demo", "simulated or live"),
        ("SHOPSTREAM_START_DATE", "01/02/2026", "YYYY-MM-DD"),
        ("SHOPSTREAM_START_DATE", "9999-01-01", "future"),
        ("SHOPSTREAM_SCALE", "-1", "above zero"),
        ("SHOPSTREAM_POSTGRES_DSN", "host=db user=x", "libpq URI"),
        ("SHOPSTREAM_POSTGRES_DSN", "postgresql://db.example.com", "database"),
        ("SHOPSTREAM_LAKE_BUCKET", "s3://my-lake", "no s3://"),
        ("SNOWFLAKE_ACCOUNT", "https://x.snowflakecomputing.com", "account identifier"),
        ("SNOWFLAKE_PRIVATE_KEY_PATH", "/no/such/key.p8", "No readable file"),
        ("DAGSTER_HOME", "relative", "absolute"),
        ("SHOPSTREAM_DAGSTER_POSTGRES_URL", "postgresql://d@h/dagster", r"postgresql\+psycopg2://"),
        ("AWS_ENDPOINT_URL", "127.0.0.1:9000", "http://host:port"),
    ],
)
def test_each_malformed_setting_is_explained(name: str, value: str, advice: str) -> None:
    findings = [
        f
        for f in settings.check_settings(SHOPSTREAM, {**WELL_FORMED, name: value})
        if f.result == "FAIL" and f.what == name
    ]
    assert len(findings) == 1
    assert re.search(advice, findings[0].advice)


def test_what_is_said_for_a_domain_alone_is_what_is_checked_of_it() -> None:
    own = {
        "STREAMVISION_SNOWFLAKE_ROLE": "STREAMVISION_TRANSFORMER",
        "STREAMVISION_SNOWFLAKE_PRIVATE_KEY_PATH": "/no/such/key.p8",
        "STREAMVISION_SNOWFLAKE_PASSWORD": "s3cret-sv",
    }
    findings = {f.what: f for f in settings.check_settings(STREAMVISION, {**WELL_FORMED, **own})}
    assert findings["STREAMVISION_SNOWFLAKE_ROLE"].found == "STREAMVISION_TRANSFORMER"
    assert findings["SNOWFLAKE_USER"].found == "SERVICE"
    assert "SNOWFLAKE_ROLE" not in findings
    assert findings["STREAMVISION_SNOWFLAKE_PRIVATE_KEY_PATH"].result == "FAIL"
    [needs] = [s.needs for s in examination.services_of(STREAMVISION, own) if s.name == "Snowflake"]
    assert "STREAMVISION_SNOWFLAKE_PRIVATE_KEY_PATH" in needs
    hide = finding.Redactor({**WELL_FORMED, **own})
    assert "s3cret" not in hide(finding.Finding("FAIL", "login", "no s3cret-sv, no s3cret-sf")).found


def test_half_a_pair_of_aws_keys_is_a_failure() -> None:
    findings = settings.check_settings(SHOPSTREAM, {**WELL_FORMED, "AWS_ACCESS_KEY_ID": "AKIA"})
    assert "FAIL" in [f.result for f in findings if f.what == "AWS credentials"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p%40ss@h:1/d", "postgresql://u:***@h:1/d"),
        ("postgresql://u:p@ss@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d?password=geheim&sslmode=require", "postgresql://u@h/d?password=***&sslmode=require"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
    ],
)
def test_passwords_in_urls_are_masked(text: str, shown: str) -> None:
    assert finding.masked(text) == shown


def test_secrets_that_a_driver_quotes_are_removed() -> None:
    hide = finding.Redactor(WELL_FORMED)
    quoted = finding.Finding("FAIL", "Postgres", 'bad "s3cret-pw", s3cret-sf and s3cret-dg', "not s3cret-pw")
    assert hide(quoted) == finding.Finding("FAIL", "Postgres", 'bad "***", *** and ***', "not ***")
