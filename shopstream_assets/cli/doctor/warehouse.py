"""Checks of Snowflake: login, objects, and the right to make what the platform makes."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

from shopstream_assets.cli.doctor.finding import LOCAL_HINT, Environment, Finding, words
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.environment import (
    lake_bucket,
    storage_integration,
    variable_of,
    warehouse_database,
)
from shopstream_assets.platform.declare.settings import SCHEMAS, WAREHOUSES


def check_warehouse(domain: Domain, environment: Environment) -> Iterator[Finding]:
    """Snowflake lets us in, its objects exist, and the two things the platform creates can be created."""
    import warnings

    with warnings.catch_warnings():
        # The connector complains of a newer urllib3 at import.
        warnings.simplefilter("ignore")
        import snowflake.connector as connector
    named = warehouse_database(domain, environment)
    database = _identifier(named)
    try:
        session = connector.connect(**_snowflake_login(domain, environment))
    except (connector.Error, ValueError, TypeError) as error:
        advice = (
            "Correct account, user and credentials; a network policy of the account may also refuse this address. "
            f"{LOCAL_HINT}"
        )
        yield Finding("FAIL", "Snowflake: login", words(error), advice)
        return
    probe = f"_DOCTOR_{uuid.uuid4().hex.upper()}"
    integration = _identifier(storage_integration(domain, environment))
    location = f"s3://{lake_bucket(domain, environment)}/_doctor/"
    stage = f"{database}.RAW.{probe}"
    user, role = (environment[variable_of(domain, name, environment)] for name in ("SNOWFLAKE_USER", "SNOWFLAKE_ROLE"))
    grant = f"deploy/snowflake creates it and grants it to {role}."
    stages = [
        f"create stage {stage} url = '{location}' storage_integration = {integration}",
        f"list @{stage}",
        f"drop stage {stage}",
    ]
    table = f"{database}.STAGING.{probe}"
    tables = [f"create temporary table {table} (x number(38,0))", f"drop table {table}"]
    with session, session.cursor() as cursor:
        yield Finding("ok", "Snowflake: login", f"as {user}")
        for what, statements, found in (
            *((f"warehouse {name}", [f"use warehouse {name}"], "usable") for name in WAREHOUSES),
            (f"database {named}", [f"use database {database}"], "usable"),
            *((f"schema {name}", [f"use schema {database}.{name}"], "usable") for name in SCHEMAS),
            ("stage", stages, f"can be created in RAW over {location}, and listed"),
            ("table", tables, "can be created in STAGING"),
        ):
            try:
                for statement in statements:
                    cursor.execute(statement)
            except connector.Error as error:
                yield Finding("FAIL", f"Snowflake: {what}", words(error), grant)
                with contextlib.suppress(connector.Error):
                    if what == "stage":
                        cursor.execute(f"drop stage if exists {stage}")
            else:
                yield Finding("ok", f"Snowflake: {what}", found)


def _snowflake_login(domain: Domain, environment: Environment) -> dict[str, Any]:
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
    own = {name: variable_of(domain, variable, environment) for name, variable in options.items()}
    given: dict[str, Any] = {name: environment[v] for name, v in own.items() if environment.get(v)}
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
