"""Checks of the environment variables themselves: present where needed, well-formed, consistent with each other."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from shopstream_assets.cli.doctor.finding import LOCAL_HINT, Environment, Finding, masked
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.environment import variable_of
from shopstream_assets.platform.declare.settings import is_time_zone


@dataclass(frozen=True)
class _Setting:
    """A variable, whether it must be set, and what is wrong with a value ('' where nothing is)."""

    name: str
    required: bool
    problem: Callable[[str], str]
    secret: bool = False
    default: str = ""


def check_settings(domain: Domain, environment: Environment) -> Iterator[Finding]:
    """Every variable that is read for a domain: present where needed, well-formed, consistent with the others."""
    for setting in settings_of(domain, environment):
        value = environment.get(setting.name, "")
        if value and (problem := setting.problem(value)):
            yield Finding("FAIL", setting.name, "set, but not usable" if setting.secret else masked(value), problem)
        elif value:
            yield Finding("ok", setting.name, "set" if setting.secret else masked(value))
        elif setting.required:
            yield Finding("FAIL", setting.name, "not set", f".env.example says what it means. {LOCAL_HINT}")
        elif setting.default:
            yield Finding("ok", setting.name, f"not set: {setting.default}")
    yield from _check_combinations(domain, environment)


def check_dotenv(path: Path, domain: Domain, environment: Environment) -> Iterator[Finding]:
    """Where settings are missing that the file of the current folder would give: that there is no such file."""
    read = settings_of(domain, environment)
    missing = [item.name for item in read if item.required and not environment.get(item.name)]
    if missing and not path.is_file():
        advice = (
            "Change to the folder of the repository, where `shopstream stack up` leaves its settings in .env, or set "
            "them in the shell as .env.example describes."
        )
        yield Finding("FAIL", "settings", f"no file {path.absolute()}, and {len(missing)} settings are missing", advice)


def _check_combinations(domain: Domain, environment: Environment) -> Iterator[Finding]:
    def given(*names: str) -> list[str]:
        return [name for name in names if environment.get(name)]

    if not given("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        yield Finding("FAIL", "AWS_DEFAULT_REGION", "not set", f"Set it to the region of the bucket. {LOCAL_HINT}")
    keys = given("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    if len(keys) == 1:
        advice = "Set both keys, or neither to use a profile or the instance's role."
        yield Finding("FAIL", "AWS credentials", f"only {keys[0]} is set", advice)
    else:
        yield Finding("ok", "AWS credentials", "two keys" if keys else "those of the profile or the instance's role")
    login = given(*(variable_of(domain, f"SNOWFLAKE_{name}", environment) for name in ("PRIVATE_KEY_PATH", "PASSWORD")))
    if not login:
        advice = f"Set SNOWFLAKE_PRIVATE_KEY_PATH (preferred) or SNOWFLAKE_PASSWORD. {LOCAL_HINT}"
        yield Finding("FAIL", "SNOWFLAKE credentials", "neither a private key nor a password", advice)
    else:
        yield Finding("ok", "SNOWFLAKE credentials", login[0])
    server = given(*(variable_of(domain, f"SNOWFLAKE_{name}", environment) for name in ("HOST", "PORT", "PROTOCOL")))
    if server and len(server) < 3:
        advice = "For Snowflake itself unset all of SNOWFLAKE_HOST, _PORT and _PROTOCOL; for another server set all."
        yield Finding("warn", "SNOWFLAKE server", f"only {', '.join(server)} set", advice)


def _anything(value: str) -> str:
    return ""


def _day(value: str) -> str:
    try:
        day = dt.date.fromisoformat(value)
    except ValueError:
        return "Write it as YYYY-MM-DD, for example 2026-01-01."
    return "It lies in the future: no partition exists yet." if day > dt.datetime.now(dt.UTC).date() else ""


def _zone(value: str) -> str:
    return "" if is_time_zone(value) else "Write a time zone of the IANA database, for example Europe/Berlin."


def _positive(value: str) -> str:
    with contextlib.suppress(ValueError):
        if 0 < float(value) < float("inf"):
            return ""
    return "Write a number above zero, for example 1."


def _whole(value: str) -> str:
    return "" if re.fullmatch(r"\d+", value) else "Write a whole number, 0 or more."


def _source_dsn(value: str) -> str:
    if not value.startswith(("postgresql://", "postgres://")):
        return "Write a libpq URI: postgresql://user@host:5432/database (no +driver, no key=value list)."
    return _url_problem(value)


def _dagster_url(value: str) -> str:
    if value.startswith(("postgresql://", "postgres://")):
        return (
            "Write postgresql+psycopg2://… : SQLAlchemy 2.1 takes a plain postgresql:// for psycopg 3, which "
            "dagster-postgres cannot use."
        )
    if not value.startswith("postgresql+psycopg2://"):
        return "Write a SQLAlchemy URL: postgresql+psycopg2://user@host:5432/dagster."
    return _url_problem(value)


def _url_problem(value: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return "It is no URL: quote special characters of user and password (%40 for @, %2F for /)."
    return "" if parts.path.strip("/") else "It names no database: append /<database>."


def _endpoint(value: str) -> str:
    parts = urlsplit(value)
    return "" if parts.scheme in ("http", "https") and parts.hostname else "Write http://host:port, or unset it on AWS."


def _bucket(value: str) -> str:
    good = re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value)
    return "" if good else "Write the bucket's name alone: 3 to 63 of a-z, 0-9, . and -; no s3://."


def _account(value: str) -> str:
    if "snowflakecomputing.com" in value or "/" in value:
        return "Write the account identifier alone (myorg-myaccount), not its address."
    return ""


def _key_file(value: str) -> str:
    readable = os.access(value, os.R_OK) and Path(value).is_file()
    return "" if readable else "No readable file: correct the path or its permissions."


def _dagster_home(value: str) -> str:
    if not Path(value).is_absolute():
        return "Write an absolute path; Dagster takes no other."
    return "" if (Path(value) / "dagster.yaml").is_file() else "No dagster.yaml there: set it to the repository's root."


def _writable_folder(value: str) -> str:
    path = Path(value)
    if not path.is_absolute():
        return "Write an absolute path."
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return ""
    return f"It cannot be written: create it, or grant this user the right to write to {existing}."


def _choice(*choices: str) -> Callable[[str], str]:
    return lambda value: "" if value in choices else f"Write {' or '.join(choices)}."


def settings_of(domain: Domain, environment: Environment) -> list[_Setting]:
    """What is read of the environment for a domain, in the order of .env.example."""

    def own(name: str) -> str:
        return variable_of(domain, name, environment)

    return [
        _Setting(domain.variable("SOURCE_MODE"), True, _choice("simulated", "live")),
        _Setting(domain.variable("START_DATE"), not domain.start_date, _day, default=str(domain.start_date or "")),
        _Setting(domain.variable("REPORTING_TIME_ZONE"), False, _zone, default="UTC"),
        _Setting(domain.variable("SCALE"), False, _positive, default="1"),
        _Setting(domain.variable("SEED"), False, _whole, default="42"),
        _Setting(domain.variable("GROWTH"), False, _positive, default="1"),
        _Setting(domain.variable("REPAIR_ATTEMPTS"), False, _whole, default="2"),
        _Setting(domain.variable("POSTGRES_DSN"), True, _source_dsn),
        _Setting(domain.variable("POSTGRES_SCHEMA"), True, _anything),
        _Setting("AWS_ENDPOINT_URL", False, _endpoint, default="AWS itself"),
        _Setting("AWS_DEFAULT_REGION", False, _anything),
        _Setting(domain.variable("LAKE_BUCKET"), False, _bucket, default=domain.bucket),
        _Setting(own("SNOWFLAKE_ACCOUNT"), True, _account),
        _Setting(own("SNOWFLAKE_USER"), True, _anything),
        _Setting(own("SNOWFLAKE_PRIVATE_KEY_PATH"), False, _key_file),
        _Setting(own("SNOWFLAKE_PASSWORD"), False, _anything, secret=True),
        _Setting(own("SNOWFLAKE_ROLE"), True, _anything),
        _Setting(own("SNOWFLAKE_HOST"), False, _anything, default="Snowflake itself"),
        _Setting(own("SNOWFLAKE_PORT"), False, _whole),
        _Setting(own("SNOWFLAKE_PROTOCOL"), False, _choice("http", "https")),
        _Setting(domain.database_variable, False, _anything, default=domain.database),
        _Setting(domain.integration_variable, False, _anything, default=domain.integration),
        _Setting("DAGSTER_HOME", True, _dagster_home),
        _Setting("SHOPSTREAM_DAGSTER_POSTGRES_URL", True, _dagster_url),
        _Setting("SHOPSTREAM_DAGSTER_DIR", True, _writable_folder),
        _Setting("DAGSTER_EVENT_BATCH_SIZE", False, _whole, default="event rows are written one by one, slowly"),
        _Setting(
            "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR",
            False,
            _anything,
            default="a backfill fails, and cancels its runs, when the code server is gone while it looks",
        ),
    ]
