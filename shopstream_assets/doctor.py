"""Checks of the settings and of every service behind them, for the local stack and for production alike.

It knows the environment variables, not where they come from. Every check ends: each connection has a limit of its own,
and a service that still does not answer is given up after SERVICE_SECONDS.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import queue
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

CONNECT_SECONDS = 8
SERVICE_SECONDS = 60
SCHEMAS = ("RAW", "STAGING", "CORE", "MARTS")
WAREHOUSES = ("LOADING_WH", "TRANSFORMING_WH", "REPORTING_WH")
LOCAL_HINT = "On a laptop, `shopstream stack up` provides it."
Environment = Mapping[str, str]


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, what was found, and what to do unless it is ok. Holds no secret."""

    result: Literal["ok", "warn", "FAIL"]
    what: str
    found: str
    advice: str = ""


def examine(environment: Environment) -> Iterator[Finding]:
    """Check the settings, then all services side by side; yields findings service by service."""
    hide = Redactor(environment)
    broken: set[str] = set()
    for finding in check_settings(environment):
        if finding.result == "FAIL":
            broken.add(finding.what)
        yield hide(finding)
    pending = [_Examination(service, environment, broken) for service in SERVICES]
    deadline = time.monotonic() + SERVICE_SECONDS
    for examination in pending:
        for finding in examination.findings(deadline):
            yield hide(finding)


# -- Settings --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setting:
    """A variable, whether it must be set, and what is wrong with a value ('' where nothing is)."""

    name: str
    required: bool
    problem: Callable[[str], str]
    secret: bool = False
    default: str = ""


def check_settings(environment: Environment) -> Iterator[Finding]:
    """Every variable that the platform reads: present where needed, well-formed, consistent with the others."""
    for setting in SETTINGS:
        value = environment.get(setting.name, "")
        if value and (problem := setting.problem(value)):
            yield Finding("FAIL", setting.name, "set, but not usable" if setting.secret else masked(value), problem)
        elif value:
            yield Finding("ok", setting.name, "set" if setting.secret else masked(value))
        elif setting.required:
            yield Finding("FAIL", setting.name, "not set", f".env.example says what it means. {LOCAL_HINT}")
        elif setting.default:
            yield Finding("ok", setting.name, f"not set: {setting.default}")
    yield from _check_combinations(environment)


def _check_combinations(environment: Environment) -> Iterator[Finding]:
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
    login = given("SNOWFLAKE_PRIVATE_KEY_PATH", "SNOWFLAKE_PASSWORD")
    if not login:
        advice = f"Set SNOWFLAKE_PRIVATE_KEY_PATH (preferred) or SNOWFLAKE_PASSWORD. {LOCAL_HINT}"
        yield Finding("FAIL", "SNOWFLAKE credentials", "neither a private key nor a password", advice)
    else:
        yield Finding("ok", "SNOWFLAKE credentials", login[0])
    server = given("SNOWFLAKE_HOST", "SNOWFLAKE_PORT", "SNOWFLAKE_PROTOCOL")
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


SETTINGS = (
    _Setting("SHOPSTREAM_SOURCE_MODE", True, _choice("simulated", "live")),
    _Setting("SHOPSTREAM_START_DATE", True, _day),
    _Setting("SHOPSTREAM_SCALE", False, _positive, default="1"),
    _Setting("SHOPSTREAM_SEED", False, _whole, default="42"),
    _Setting("SHOPSTREAM_POSTGRES_DSN", True, _source_dsn),
    _Setting("SHOPSTREAM_POSTGRES_SCHEMA", True, _anything),
    _Setting("AWS_ENDPOINT_URL", False, _endpoint, default="AWS itself"),
    _Setting("AWS_DEFAULT_REGION", False, _anything),
    _Setting("SHOPSTREAM_LAKE_BUCKET", True, _bucket),
    _Setting("SNOWFLAKE_ACCOUNT", True, _account),
    _Setting("SNOWFLAKE_USER", True, _anything),
    _Setting("SNOWFLAKE_PRIVATE_KEY_PATH", False, _key_file),
    _Setting("SNOWFLAKE_PASSWORD", False, _anything, secret=True),
    _Setting("SNOWFLAKE_ROLE", True, _anything),
    _Setting("SNOWFLAKE_DATABASE", True, _anything),
    _Setting("SNOWFLAKE_STORAGE_INTEGRATION", True, _anything),
    _Setting("SNOWFLAKE_HOST", False, _anything, default="Snowflake itself"),
    _Setting("SNOWFLAKE_PORT", False, _whole),
    _Setting("SNOWFLAKE_PROTOCOL", False, _choice("http", "https")),
    _Setting("DAGSTER_HOME", True, _dagster_home),
    _Setting("SHOPSTREAM_DAGSTER_POSTGRES_URL", True, _dagster_url),
    _Setting("SHOPSTREAM_DAGSTER_DIR", True, _writable_folder),
    _Setting("DAGSTER_EVENT_BATCH_SIZE", False, _whole, default="event rows are written one by one, slowly"),
)

# -- Secrets ---------------------------------------------------------------------------------------------------------


def masked(value: str) -> str:
    """A URL with its password, and passwords in its query, replaced by ***; anything else unchanged."""
    value = re.sub(r"(?<=://)([^:/@\s]*):[^/\s]*@", r"\1:***@", value)
    return re.sub(r"((?:password|secret|token)[^=&\s]*=)[^&\s]+", r"\1***", value, flags=re.IGNORECASE)


class Redactor:
    """Removes every secret that the environment holds from what is shown; drivers quote freely in their messages."""

    def __init__(self, environment: Environment) -> None:
        found = {v for n, v in environment.items() if re.search("PASSWORD|PASSPHRASE|SECRET|TOKEN", n)}
        for name in ("SHOPSTREAM_POSTGRES_DSN", "SHOPSTREAM_DAGSTER_POSTGRES_URL"):
            with contextlib.suppress(ValueError):
                if password := urlsplit(environment.get(name, "")).password:
                    found |= {password, unquote(password)}
        # Shorter ones occur in any text, and hiding them would tell where.
        self.secrets = sorted((s for s in found if len(s) >= 4), key=len, reverse=True)

    def __call__(self, finding: Finding) -> Finding:
        """The finding with *** for every secret."""
        return Finding(finding.result, finding.what, self._clean(finding.found), self._clean(finding.advice))

    def _clean(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return masked(text)


# -- Services --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Service:
    """A service's checks, and the settings without which they cannot begin."""

    name: str
    needs: tuple[str, ...]
    check: Callable[[Environment], Iterator[Finding]]


class _Examination:
    """One service being checked in a thread that may be left behind when the service hangs."""

    def __init__(self, service: _Service, environment: Environment, broken: set[str]) -> None:
        self.service = service
        self.results: queue.Queue[Finding | None] = queue.Queue()
        self.missing = sorted(broken.intersection(service.needs))
        if not self.missing:
            threading.Thread(target=self._run, args=(environment,), daemon=True).start()

    def _run(self, environment: Environment) -> None:
        try:
            for finding in self.service.check(environment):
                self.results.put(finding)
        # Anything that a driver raises is a finding here.
        except Exception as error:  # noqa: BLE001
            self.results.put(Finding("FAIL", self.service.name, _words(error), "Read the message above."))
        self.results.put(None)

    def findings(self, deadline: float) -> Iterator[Finding]:
        if self.missing:
            found = f"not checked: needs {', '.join(self.missing)}"
            yield Finding("warn", self.service.name, found, "Correct those settings first.")
            return
        while True:
            try:
                finding = self.results.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                found = f"no answer within {SERVICE_SECONDS} s"
                advice = "Something between here and the service swallows packets, or it hangs: check network and host."
                yield Finding("FAIL", self.service.name, found, advice)
                return
            if finding is None:
                return
            yield finding


def _words(error: BaseException) -> str:
    """An error's own words on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _check_source(environment: Environment) -> Iterator[Finding]:
    """Postgres answers, and the declared tables can be read with their columns; simulated: or can be created."""
    import psycopg
    from psycopg import sql

    from shopstream_assets.shopstream.tables import TABLES

    schema = environment["SHOPSTREAM_POSTGRES_SCHEMA"]
    try:
        connection = _connect(environment["SHOPSTREAM_POSTGRES_DSN"])
    except psycopg.OperationalError as error:
        yield Finding("FAIL", "Postgres: login", _words(error), _postgres_advice(_words(error)))
        return
    with connection:
        yield Finding("ok", "Postgres: login", f"version {connection.info.server_version // 10000}")
        readable = 0
        for table in TABLES:
            columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
            relation = sql.Identifier(schema, table.name)
            try:
                connection.execute(sql.SQL("select {} from {} limit 1").format(columns, relation))
                readable += 1
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
                if environment["SHOPSTREAM_SOURCE_MODE"] == "live":
                    advice = "Correct SHOPSTREAM_POSTGRES_SCHEMA, or create the table; live mode only reads."
                    yield Finding("FAIL", f"Postgres: {schema}.{table.name}", _words(error), advice)
            except psycopg.Error as error:
                advice = f"Grant the DSN's role usage on schema {schema} and select on {schema}.{table.name}."
                if isinstance(error, psycopg.errors.UndefinedColumn):
                    advice = "The table lacks a declared column: add it, or change the table's declaration."
                yield Finding("FAIL", f"Postgres: {schema}.{table.name}", _words(error), advice)
        if readable == len(TABLES):
            yield Finding("ok", "Postgres: tables", f"all {readable} can be read")
        elif environment["SHOPSTREAM_SOURCE_MODE"] == "simulated":
            yield _creatable(connection, schema, len(TABLES) - readable)


def _creatable(connection: Any, schema: str, missing: int) -> Finding:
    row = connection.execute(
        "select case when to_regnamespace(quote_ident(%(schema)s)) is null "
        "then has_database_privilege(current_database(), 'create') "
        "else has_schema_privilege(%(schema)s, 'create') end",
        {"schema": schema},
    ).fetchone()
    if row[0]:
        return Finding("ok", "Postgres: tables", f"{missing} do not exist yet; the simulator may create them")
    advice = f"Grant the DSN's role create on schema {schema} (on the database, if it has no such schema)."
    return Finding("FAIL", "Postgres: tables", f"{missing} do not exist and may not be created", advice)


def _connect(dsn: str) -> Any:
    import psycopg

    connection = psycopg.connect(dsn, connect_timeout=CONNECT_SECONDS, autocommit=True)
    connection.execute("set statement_timeout = '15s'")
    return connection


def _postgres_advice(message: str) -> str:
    lower = message.lower()
    if "password" in lower or "authentication" in lower or "no pg_hba.conf entry" in lower:
        return "Correct user and password in the URL (or PGPASSFILE); the server's pg_hba.conf must admit this host."
    if "does not exist" in lower:
        return "Correct the name in the URL, or create it."
    if "ssl" in lower or "certificate" in lower:
        return "Correct sslmode and sslrootcert in the URL's query."
    return f"Is the server up, and host and port right, and does a firewall let this host through? {LOCAL_HINT}"


def _check_lake(environment: Environment) -> Iterator[Finding]:
    """The bucket exists, and an object can be written, read, listed and deleted."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    bucket = environment["SHOPSTREAM_LAKE_BUCKET"]
    key = f"_doctor/{uuid.uuid4()}"
    limits = Config(connect_timeout=CONNECT_SECONDS, read_timeout=15, retries={"total_max_attempts": 1})
    steps: list[tuple[str, Callable[[Any], Any], str]] = [
        ("bucket", lambda s3: s3.head_bucket(Bucket=bucket), "s3:ListBucket"),
        ("write", lambda s3: s3.put_object(Bucket=bucket, Key=key, Body=b"probe"), "s3:PutObject"),
        ("list", lambda s3: s3.list_objects_v2(Bucket=bucket, Prefix="_doctor/", MaxKeys=1), "s3:ListBucket"),
        ("read", lambda s3: s3.get_object(Bucket=bucket, Key=key)["Body"].read(), "s3:GetObject"),
        ("delete", lambda s3: s3.delete_object(Bucket=bucket, Key=key), "s3:DeleteObject"),
    ]
    try:
        # An endpoint that boto3 would not see, were the mapping another than os.environ.
        s3 = boto3.client("s3", config=limits, endpoint_url=environment.get("AWS_ENDPOINT_URL") or None)
        for name, step, right in steps:
            try:
                step(s3)
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                yield Finding("FAIL", f"S3: {name}", _words(error), _s3_advice(code, bucket, right))
                if name in ("bucket", "write"):
                    return
            else:
                yield Finding("ok", f"S3: {name}", f"s3://{bucket}/{'' if name == 'bucket' else '_doctor/'}")
    except BotoCoreError as error:
        advice = f"Check AWS_ENDPOINT_URL, region, network, and the source of the credentials. {LOCAL_HINT}"
        yield Finding("FAIL", "S3", _words(error), advice)


def _s3_advice(code: str, bucket: str, right: str) -> str:
    if code in ("404", "NoSuchBucket"):
        return f"Create the bucket {bucket}, or correct SHOPSTREAM_LAKE_BUCKET. {LOCAL_HINT}"
    if code in ("301", "PermanentRedirect", "AuthorizationHeaderMalformed"):
        return "The bucket lies in another region: correct AWS_DEFAULT_REGION."
    return f"Correct the credentials, or grant {right} on {bucket}."


def _check_warehouse(environment: Environment) -> Iterator[Finding]:
    """Snowflake lets us in, its objects exist, and the two things the platform creates can be created."""
    import warnings

    with warnings.catch_warnings():
        # The connector complains of a newer urllib3 at import.
        warnings.simplefilter("ignore")
        import snowflake.connector as connector
    database = _identifier(environment["SNOWFLAKE_DATABASE"])
    try:
        session = connector.connect(**_snowflake_login(environment))
    except (connector.Error, ValueError, TypeError) as error:
        advice = (
            "Correct account, user and credentials; a network policy of the account may also refuse this address. "
            f"{LOCAL_HINT}"
        )
        yield Finding("FAIL", "Snowflake: login", _words(error), advice)
        return
    probe = f"_DOCTOR_{uuid.uuid4().hex.upper()}"
    integration = _identifier(environment["SNOWFLAKE_STORAGE_INTEGRATION"])
    location = f"s3://{environment['SHOPSTREAM_LAKE_BUCKET']}/_doctor/"
    stage = f"{database}.RAW.{probe}"
    grant = f"deploy/snowflake creates it and grants it to {environment['SNOWFLAKE_ROLE']}."
    stages = [
        f"create stage {stage} url = '{location}' storage_integration = {integration}",
        f"list @{stage}",
        f"drop stage {stage}",
    ]
    table = f"{database}.STAGING.{probe}"
    tables = [f"create temporary table {table} (x number(38,0))", f"drop table {table}"]
    with session, session.cursor() as cursor:
        yield Finding("ok", "Snowflake: login", f"as {environment['SNOWFLAKE_USER']}")
        for what, statements, found in (
            *((f"warehouse {name}", [f"use warehouse {name}"], "usable") for name in WAREHOUSES),
            (f"database {environment['SNOWFLAKE_DATABASE']}", [f"use database {database}"], "usable"),
            *((f"schema {name}", [f"use schema {database}.{name}"], "usable") for name in SCHEMAS),
            ("stage", stages, f"can be created in RAW over {location}, and listed"),
            ("table", tables, "can be created in STAGING"),
        ):
            try:
                for statement in statements:
                    cursor.execute(statement)
            except connector.Error as error:
                yield Finding("FAIL", f"Snowflake: {what}", _words(error), grant)
                with contextlib.suppress(connector.Error):
                    if what == "stage":
                        cursor.execute(f"drop stage if exists {stage}")
            else:
                yield Finding("ok", f"Snowflake: {what}", found)


def _snowflake_login(environment: Environment) -> dict[str, Any]:
    options = {
        "account": "SNOWFLAKE_ACCOUNT",
        "user": "SNOWFLAKE_USER",
        "role": "SNOWFLAKE_ROLE",
        "host": "SNOWFLAKE_HOST",
        "port": "SNOWFLAKE_PORT",
        "protocol": "SNOWFLAKE_PROTOCOL",
        "password": "SNOWFLAKE_PASSWORD",
        "private_key_file": "SNOWFLAKE_PRIVATE_KEY_PATH",
        "private_key_file_pwd": "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE",
    }
    given: dict[str, Any] = {name: environment[v] for name, v in options.items() if environment.get(v)}
    if "port" in given:
        given["port"] = int(given["port"])
    if "private_key_file" in given:
        given.pop("password", None)
        given["authenticator"] = "SNOWFLAKE_JWT"
    telemetry = {"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False}
    return {**given, "login_timeout": 20, "network_timeout": 30, "session_parameters": telemetry}


def _identifier(name: str) -> str:
    """A Snowflake name as the platform writes it: quoted, in upper case."""
    return '"' + name.upper().replace('"', '""') + '"'


def _check_storage(environment: Environment) -> Iterator[Finding]:
    """Dagster's database answers, and its tables exist or can be created."""
    import psycopg

    url = environment["SHOPSTREAM_DAGSTER_POSTGRES_URL"].replace("+psycopg2", "", 1)
    try:
        connection = _connect(url)
    except psycopg.OperationalError as error:
        yield Finding("FAIL", "Dagster storage: login", _words(error), _postgres_advice(_words(error)))
        return
    with connection:
        yield Finding("ok", "Dagster storage: login", masked(url))
        row = connection.execute(
            "select to_regclass('event_logs') is not null, "
            "coalesce(has_schema_privilege(current_schema(), 'create'), false)"
        ).fetchone()
        if not any(row):
            advice = "Grant the URL's role create on schema public."
            yield Finding("FAIL", "Dagster storage: tables", "do not exist and may not be created", advice)
        else:
            yield Finding("ok", "Dagster storage: tables", "exist" if row[0] else "will be created")


SERVICES = (
    _Service(
        "Postgres",
        ("SHOPSTREAM_POSTGRES_DSN", "SHOPSTREAM_POSTGRES_SCHEMA", "SHOPSTREAM_SOURCE_MODE"),
        _check_source,
    ),
    _Service(
        "S3",
        ("SHOPSTREAM_LAKE_BUCKET", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS credentials"),
        _check_lake,
    ),
    _Service(
        "Snowflake",
        (
            "SNOWFLAKE_ACCOUNT",
            "SNOWFLAKE_USER",
            "SNOWFLAKE_ROLE",
            "SNOWFLAKE_DATABASE",
            "SNOWFLAKE_STORAGE_INTEGRATION",
            "SNOWFLAKE_PORT",
            "SNOWFLAKE_PROTOCOL",
            "SNOWFLAKE_PRIVATE_KEY_PATH",
            "SNOWFLAKE credentials",
            "SHOPSTREAM_LAKE_BUCKET",
        ),
        _check_warehouse,
    ),
    _Service("Dagster storage", ("SHOPSTREAM_DAGSTER_POSTGRES_URL",), _check_storage),
)
