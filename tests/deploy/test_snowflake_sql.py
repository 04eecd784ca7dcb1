"""The account-level SQL. There is no account here: it is parsed, and its meaning is compared with the code."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
import sqlglot
import yaml  # type: ignore[import-untyped]
from account_sql import DEPLOY, Grants, Statement, add_up, parse_all, scripts
from sqlglot import exp

from shopstream_assets.cli.generate.staging_tables import tag_statements
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.registry import domains
from shopstream_assets.platform.declare.settings import LOADING, REPORTING, SCHEMAS, WAREHOUSES
from shopstream_assets.platform.declare.tables import BIGINT, DATE, TIMESTAMP, Column, SourceTable
from shopstream_assets.platform.definitions import SNOWFLAKE
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.staging import change_log

ROOT = DEPLOY.parent
# What sqlglot knows by its first word only; whatever else it cannot read is a mistake until it is added here.
UNPARSED = re.compile(
    r"create (role|schema|user|resource monitor|masking policy|compute pool) if not exists |"
    r"(create or replace|alter) streamlit |remove |"
    r"grant role |grant select on (all|future) tables |grant usage on compute pool |"
    r"alter warehouse \w+ set resource_monitor = |alter tag \S+ set masking policy |"
    r'alter table \S+ modify column "\w+" set tag '
)


def _example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.lstrip("# ").split("=", 1) for line in lines if re.match(r"(# )?[A-Z_]+=", line))


def _login(domain: Domain, name: str) -> str:
    """What the example says of the domain's own user or role."""
    example = _example()
    return example.get(domain.variable(f"SNOWFLAKE_{name}")) or example[f"SNOWFLAKE_{name}"]


def _profile(domain: Domain) -> dict[str, Any]:
    profiles = yaml.safe_load((domain.project() / "profiles.yml").read_text(encoding="utf-8"))
    return profiles[domain.name]["outputs"]["warehouse"]


def _created(statements: list[Statement], kind: str) -> list[Statement]:
    return [s for s in statements if s.text.lower().startswith(f"create {kind} if not exists ")]


def _name(statement: Statement, kind: str) -> str:
    return statement.text[len(f"create {kind} if not exists ") :].split()[0]


def test_dbt_logs_in_by_the_variables_that_the_platform_does(domain: Domain) -> None:
    """Those of the domain alone come before those of all."""

    def rendered(template: str, environment: dict[str, str]) -> str:
        jinja = jinja2.Environment()
        jinja.filters["as_number"] = int
        return jinja.from_string(template).render(env_var=lambda name, otherwise: environment.get(name, otherwise))

    for field, variable in SNOWFLAKE.items():
        template = _profile(domain)[field]
        assert rendered(template, {variable: "1"}) == "1"
        assert rendered(template, {variable: "1", domain.variable(variable): "2"}) == "2", field


def test_the_scripts_are_numbered_in_the_order_in_which_they_run(domain: Domain) -> None:
    found = [script.name[:2] for script in scripts(domain.name)]
    assert found == [f"{n:02}" for n in range(1, 9)]


def test_every_statement_is_parsed_or_of_a_kind_that_sqlglot_is_known_not_to_read(statements: list[Statement]) -> None:
    strange = [s for s in statements if isinstance(s.parsed, exp.Command) and not UNPARSED.match(s.text)]
    assert [(s.script, s.text) for s in strange] == []


def test_every_statement_names_the_role_that_runs_it(statements: list[Statement]) -> None:
    assert all(statement.role for statement in statements)


def test_every_script_may_be_run_again(statements: list[Statement]) -> None:
    """Whatever is created is left alone where it exists; nothing but the app, a copy of files, is replaced."""
    for statement in statements:
        words = statement.text.lower().split()
        assert words[0] in ("use", "create", "grant", "alter", "describe", "put", "remove"), statement.text
        if words[0] == "create" and "streamlit" not in words[:4]:
            assert " if not exists " in statement.text, statement.text
            assert "or replace" not in statement.text, statement.text


def test_the_account_administrator_does_only_what_no_other_role_may(statements: list[Statement]) -> None:
    allowed = re.compile(
        r"use role |create (resource monitor|storage integration|tag|masking policy|compute pool) |"
        r"describe integration |"
        r"alter (warehouse \w+ set resource_monitor|tag \S+ set masking policy|table \S+ modify column \S+ set tag)"
    )
    done = [statement.text for statement in statements if statement.role == "ACCOUNTADMIN"]
    assert [text for text in done if not allowed.match(text)] == []


def test_nothing_is_granted_to_public_or_with_the_right_to_grant_on(statements: list[Statement]) -> None:
    for statement in statements:
        assert not re.search(r"\bto (role )?public\b|with grant option|grant (all|ownership)\b", statement.text.lower())


def test_every_warehouse_is_small_sleeps_has_timeouts_and_a_monitor(statements: list[Statement]) -> None:
    created = {_name(statement, "warehouse"): statement.text for statement in _created(statements, "warehouse")}
    monitored = {s.text.split()[2] for s in statements if s.text.startswith("alter warehouse ")}
    assert set(created) == monitored == set(WAREHOUSES)
    for text in created.values():
        for setting in ("warehouse_size = 'XSMALL'", "auto_suspend = 60", "auto_resume = true"):
            assert setting in text
        assert "initially_suspended = true" in text
        assert re.search(r"statement_timeout_in_seconds = [1-9]\d*", text)
        assert re.search(r"statement_queued_timeout_in_seconds = [1-9]\d*", text)


def test_names_are_those_of_the_settings_the_profile_and_the_doctor(
    domain: Domain, statements: list[Statement]
) -> None:
    example = _example()
    assert [_name(s, "database") for s in _created(statements, "database")] == [example[domain.database_variable]]
    assert f"env_var('{domain.database_variable}', '{domain.database}')" in _profile(domain)["database"]
    assert [_name(s, "user") for s in _created(statements, "user")] == [_login(domain, "USER")]
    integrations = [_name(s, "storage integration") for s in _created(statements, "storage integration")]
    assert integrations == [example[domain.integration_variable]]
    assert _login(domain, "ROLE") in [_name(s, "role") for s in _created(statements, "role")]
    schemas = [_name(s, "schema") for s in _created(statements, "schema")]
    assert schemas == [f"{domain.database}.{schema}" for schema in (*SCHEMAS, "GOVERNANCE", "DASHBOARDS")]
    used = {LOADING, REPORTING, _profile(domain)["warehouse"]}
    assert used <= {_name(s, "warehouse") for s in _created(statements, "warehouse")}


@pytest.mark.parametrize("field", SNOWFLAKE)
def test_dbt_logs_in_as_the_domain_that_has_a_login_of_its_own_and_else_as_all_do(domain: Domain, field: str) -> None:
    """As the platform's own sessions do; ShopStream's login has the names without a prefix."""
    template = jinja2.Environment()
    template.filters["as_number"] = int
    entry = template.from_string(_profile(domain)[field])

    def found(said: dict[str, str]) -> str:
        return entry.render(env_var=lambda name, default="": said.get(name, default))

    shared = {SNOWFLAKE[field]: "1"}
    assert found(shared) == "1"
    if domain.database_variable == domain.variable("SNOWFLAKE_DATABASE"):
        own = domain.variable(SNOWFLAKE[field])
        assert found({**shared, own: "2"}) == "2"
        assert found({**shared, own: ""}) == "1"


def test_the_platforms_user_is_a_service_with_a_key_the_platforms_role_and_for_the_dashboards_that_of_reports(
    domain: Domain, statements: list[Statement], grants: Grants
) -> None:
    [user] = _created(statements, "user")
    assert "type = service" in user.text
    assert "rsa_public_key = '<% public_key %>'" in user.text
    assert "password" not in user.text
    assert grants.roles[_login(domain, "USER")] == {_login(domain, "ROLE"), f"{domain.prefix}_REPORTER"}


def _needs(sql: str) -> set[tuple[str, str]]:
    """What a role must hold to run one of the platform's create statements."""
    [parsed] = sqlglot.parse(sql, dialect="snowflake")
    assert isinstance(parsed, exp.Create)
    table = parsed.find(exp.Table)
    assert table is not None
    needs = {
        ("usage", f"database {table.catalog}"),
        ("usage", f"schema {table.catalog}.{table.db}"),
        (f"create {str(parsed.kind).lower()}", f"schema {table.catalog}.{table.db}"),
    }
    if match := re.search(r'storage_integration = "(\w+)"', sql):
        needs.add(("usage", f"integration {match[1]}"))
    return needs


class Recorder:
    """A session that takes down what it is told."""

    def __init__(self) -> None:
        self.description: list[Any] = []
        self.executed: list[str] = []

    def cursor(self) -> Recorder:
        return self

    def execute(self, sql: str, parameters: Any = None) -> None:
        self.executed.append(sql)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: object) -> None:
        return None


def test_what_the_loader_creates_is_granted_to_the_platform_and_to_the_loader_alone(
    domain: Domain, grants: Grants
) -> None:
    session: Any = Recorder()
    change_log.create_stage(session, domain.database, "bucket", _example()[domain.integration_variable])
    change_log.create_staging_table(session, domain.database, domain.tables[0], ())
    creates = [sql for sql in session.executed if sql.startswith("create ")]
    assert len(creates) == 2
    needed = set().union(*map(_needs, creates)) | {("usage", f"warehouse {LOADING}")}
    for role in (f"{domain.prefix}_LOADER", f"{domain.prefix}_TRANSFORMER"):
        assert needed - grants.of(role) == set(), role


def test_what_dbt_creates_and_reads_is_granted_to_the_platform(domain: Domain, grants: Grants) -> None:
    project = yaml.safe_load((domain.project() / "dbt_project.yml").read_text(encoding="utf-8"))
    layers = [
        found
        for found in project["models"][domain.name].values()
        if "+schema" in (found if isinstance(found, dict) else {})
    ]
    schemas = {layer["+schema"] for layer in layers} | {_profile(domain)["schema"]}
    assert schemas == {"CORE", "MARTS"}
    needed = {("usage", f"database {domain.database}"), ("usage", f"schema {domain.database}.STAGING")}
    needed |= {
        ("select", f"future tables in {domain.database}.STAGING"),
        ("usage", f"warehouse {_profile(domain)['warehouse']}"),
    }
    needed |= {("usage", f"warehouse {REPORTING}")}
    for schema in schemas:
        # Views: dbt merges from a temporary one.
        for privilege in ("usage", "create table", "create view"):
            needed.add((privilege, f"schema {domain.database}.{schema}"))
    assert needed - grants.of(_login(domain, "ROLE")) == set()


def test_no_role_may_create_schemas_or_databases_or_users(domain: Domain, grants: Grants) -> None:
    privileges = {role: {privilege for privilege, _ in grants.of(role)} for role in grants.held}
    # Only the owner of the app may create one; administrators may what the roles granted to them may.
    apps = {"usage", "select", "read", "create streamlit"}
    assert privileges.pop(f"{domain.prefix}_DASHBOARDS") == apps
    assert set().union(*privileges.values()) == {"usage", "select", "create stage", "create table", "create view"}


def test_a_reporter_reads_facts_and_marts_but_not_staging(domain: Domain, grants: Grants) -> None:
    may = grants.of(f"{domain.prefix}_REPORTER")
    for schema in ("CORE", "MARTS"):
        assert {
            ("select", f"all tables in {domain.database}.{schema}"),
            ("select", f"future tables in {domain.database}.{schema}"),
        } <= may
    assert not [what for _, what in may if "STAGING" in what or "RAW" in what]
    assert {privilege for privilege, _ in may} == {"usage", "select"}


def test_the_app_reads_as_a_role_that_may_read_what_reporters_may_and_they_may_open_it(
    domain: Domain, statements: list[Statement], grants: Grants
) -> None:
    [app] = [statement for statement in statements if statement.text.startswith("create or replace streamlit ")]
    owner, name = f"{domain.prefix}_DASHBOARDS", f"{domain.database}.DASHBOARDS.PAGES"
    assert (app.role, app.text.split()[4]) == (owner, name)
    assert grants.roles[owner] == {f"{domain.prefix}_REPORTER"}
    reporters = grants.of(f"{domain.prefix}_REPORTER")
    assert {what for _, what in reporters} >= {f"streamlit {name}", f"schema {domain.database}.DASHBOARDS"}
    assert f"warehouse {REPORTING}" in {what for _, what in reporters}
    assert f"query_warehouse = {REPORTING} " in app.text
    live = f"alter streamlit {name} add live version from last"
    assert [statement.role for statement in statements if statement.text == live] == [owner]
    main_file = re.search(r"main_file = '(.+?)'", app.text)
    assert main_file
    assert (DEPLOY / "snowflake" / main_file[1]).is_file()


def test_only_its_holders_inherit_the_right_to_read_personal_data(domain: Domain, grants: Grants) -> None:
    assert [to for to, granted in grants.roles.items() if f"{domain.prefix}_PII_READER" in granted] == []


def _tagged(domain: Domain, statements: list[Statement]) -> set[tuple[str, str]]:
    tag = re.compile(rf'alter table "{domain.database}".STAGING."(\w+)" modify column "(\w+)" set tag (\S+) = \'true\'')
    found = [tag.fullmatch(s.text) for s in statements if s.text.startswith("alter table ")]
    assert all(found)
    assert {match[3] for match in found if match} == {f"{domain.database}.GOVERNANCE.PII"}
    return {(match[1], match[2]) for match in found if match}


def test_the_masked_columns_are_exactly_those_declared_as_personal_data(
    domain: Domain, statements: list[Statement]
) -> None:
    declared = {
        (table.staging_table, column.name.upper()) for table in domain.tables for column in table.columns if column.pii
    }
    assert declared
    assert _tagged(domain, statements) == declared


def test_the_tag_masks_text_for_all_but_the_readers_of_personal_data(
    domain: Domain, statements: list[Statement]
) -> None:
    [policy] = _created(statements, "masking policy")
    assert "(content varchar) returns varchar" in policy.text
    assert re.findall(r"is_role_in_session\('(\w+)'\)", policy.text) == [f"{domain.prefix}_PII_READER"]
    [attached] = [s for s in statements if s.text.startswith("alter tag ")]
    assert attached.text.split()[2] == _name(_created(statements, "tag")[0], "tag")
    assert _name(policy, "masking policy") in attached.text


def test_personal_data_of_a_type_without_a_masking_policy_is_an_error(domain: Domain) -> None:
    columns = (
        Column("id", BIGINT, "Key."),
        Column("born", DATE, "Birthday.", pii=True),
        Column("updated_at", TIMESTAMP, "Changed."),
    )
    table = SourceTable(name="people", grain="One row per person.", description="", owner="team:x", columns=columns)
    with pytest.raises(Problem, match=r"people.born is personal data of type date, which has no masking policy"):
        tag_statements(dataclasses.replace(domain, tables=(table,)))


def test_personal_data_stays_in_staging(domain: Domain) -> None:
    """No model of core or marts has a column named like one that is declared as personal data."""
    personal = {column.name for table in domain.tables for column in table.columns if column.pii}
    models: list[Path] = sorted((domain.project() / "models").rglob("*/*.yml"))
    assert models
    for path in models:
        for model in yaml.safe_load(path.read_text(encoding="utf-8")).get("models", []):
            found = {column["name"].lower() for column in model["columns"]} & personal
            assert not found, f"{path.name}: tag them in deploy/snowflake as well: {found}"


def test_snowflake_reads_the_bucket_of_the_stage_but_not_its_quarantine(
    domain: Domain, statements: list[Statement]
) -> None:
    session: Any = Recorder()
    change_log.create_stage(session, domain.database, "<% lake_bucket %>", domain.integration)
    [location] = re.findall(r"url = '(.+?)'", session.executed[0])
    [integration] = _created(statements, "storage integration")
    assert f"storage_allowed_locations = ('{location}')" in integration.text
    assert f"storage_blocked_locations = ('{location}quarantine/')" in integration.text
    assert {table.quarantine_prefix.split("/")[0] for table in domain.tables} == {"quarantine"}


def test_the_placeholders_are_the_ones_that_the_documentation_fills_in(
    domain: Domain, statements: list[Statement]
) -> None:
    placeholders = {name for s in statements for name in re.findall(r"<% (\w+) %>", s.text)}
    assert placeholders == {"lake_bucket", "lake_reader_role_arn", "public_key"}
    manual = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    for name in placeholders:
        assert f'-D "{name}=' in manual
    for script in scripts(domain.name):
        path = str(script.relative_to(ROOT))
        assert f"-f {path.replace(f'/{domain.name}/', '/$DOMAIN/')}" in manual


def test_no_role_or_user_of_a_domain_reaches_what_is_anothers() -> None:
    held = {domain.name: add_up(parse_all(domain.name)) for domain in domains()}
    owned = {domain.name: (domain.database, domain.integration) for domain in domains()}
    assert len(owned) > 1
    for name, grants in held.items():
        for role in {*grants.held, *grants.roles}:
            for privilege, what in grants.of(role):
                others = {thing for other, things in owned.items() if other != name for thing in things}
                assert not others & set(re.split(r"[ .]", what)), f"{role}: {privilege} on {what}"
    roles = [role for grants in held.values() for role in grants.held]
    assert len(roles) == len(set(roles))
