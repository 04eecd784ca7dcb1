"""Checks of the two Postgres databases: the source, and Dagster's own storage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shopstream_assets.cli.doctor.finding import CONNECT_SECONDS, LOCAL_HINT, Environment, Finding, words
from shopstream_assets.platform.declare.domain import Domain

# As docs/production.md says.
OLDEST = 14


def check_source(domain: Domain, environment: Environment) -> Iterator[Finding]:
    """Postgres answers, and the declared tables can be read with their columns; simulated: or can be created."""
    import psycopg
    from psycopg import sql

    schema = environment[domain.variable("POSTGRES_SCHEMA")]
    try:
        connection = _connect(environment[domain.variable("POSTGRES_DSN")])
    except psycopg.OperationalError as error:
        yield Finding("FAIL", "Postgres: login", words(error), _postgres_advice(words(error)))
        return
    with connection:
        yield _version("Postgres: login", connection)
        readable = 0
        for table in domain.tables:
            columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
            relation = sql.Identifier(schema, table.name)
            try:
                connection.execute(sql.SQL("select {} from {} limit 1").format(columns, relation))
                readable += 1
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
                if environment[domain.variable("SOURCE_MODE")] == "live":
                    variable = domain.variable("POSTGRES_SCHEMA")
                    advice = f"Correct {variable}, or create the table; live mode only reads."
                    yield Finding("FAIL", f"Postgres: {schema}.{table.name}", words(error), advice)
            except psycopg.Error as error:
                advice = f"Grant the DSN's role usage on schema {schema} and select on {schema}.{table.name}."
                if isinstance(error, psycopg.errors.UndefinedColumn):
                    advice = "The table lacks a declared column: add it, or change the table's declaration."
                yield Finding("FAIL", f"Postgres: {schema}.{table.name}", words(error), advice)
        if readable == len(domain.tables):
            yield Finding("ok", "Postgres: tables", f"all {readable} can be read")
        elif environment[domain.variable("SOURCE_MODE")] == "simulated":
            yield _creatable(connection, schema, len(domain.tables) - readable)


def _version(what: str, connection: Any) -> Finding:
    version = connection.info.server_version // 10000
    if version < OLDEST:
        return Finding("warn", what, f"version {version}", f"Upgrade it: {OLDEST} is the oldest that is supported.")
    return Finding("ok", what, f"version {version}")


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


def check_storage(_domain: Domain, environment: Environment) -> Iterator[Finding]:
    """Dagster's database answers, and its tables exist or can be created."""
    import psycopg

    url = environment["SHOPSTREAM_DAGSTER_POSTGRES_URL"].replace("+psycopg2", "", 1)
    try:
        connection = _connect(url)
    except psycopg.OperationalError as error:
        yield Finding("FAIL", "Dagster storage: login", words(error), _postgres_advice(words(error)))
        return
    with connection:
        yield _version("Dagster storage: login", connection)
        row = connection.execute(
            "select to_regclass('event_logs') is not null, "
            "coalesce(has_schema_privilege(current_schema(), 'create'), false)"
        ).fetchone()
        if not any(row):
            advice = "Grant the URL's role create on schema public."
            yield Finding("FAIL", "Dagster storage: tables", "do not exist and may not be created", advice)
        else:
            yield Finding("ok", "Dagster storage: tables", "exist" if row[0] else "will be created")
