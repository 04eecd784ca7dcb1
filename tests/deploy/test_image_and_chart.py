"""The production image and the chart's values agree with the repository and hold no secret."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from account_sql import DEPLOY

from shopstream_assets.platform.declare.registry import domains

ROOT = DEPLOY.parent
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def _versions(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*(?:\[[a-z,]+\])?)==(\S+)", text, re.MULTILINE))


@pytest.fixture(scope="module")
def lock() -> str:
    return (DEPLOY / "requirements.lock").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _name(requirement: str) -> str:
    return re.split(r"[\[=><]", requirement)[0]


def test_the_image_has_the_versions_that_were_tested(lock: str) -> None:
    tested = _versions((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    image = _versions(lock)
    differing = {name: version for name, version in image.items() if tested.get(name, version) != version}
    assert differing == {}, "resolve deploy/requirements.lock again: the command is in deploy/requirements.in"


def test_the_image_has_what_the_project_and_the_launcher_need(lock: str, project: dict[str, Any]) -> None:
    wanted = project["dependencies"] + _requirements_in()
    assert {_name(requirement) for requirement in wanted} - set(_versions(lock)) == set()


def _requirements_in() -> list[str]:
    lines = (DEPLOY / "requirements.in").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_image_has_nothing_of_the_local_stack_or_the_developers(lock: str, project: dict[str, Any]) -> None:
    extras = [_name(item) for group in ("embedded", "dev") for item in project["optional-dependencies"][group]]
    # sqlglot comes with dagster-dbt, fsspec with dagster.
    assert set(_versions(lock)) & set(extras) <= {"sqlglot", "fsspec"}


def test_every_requirement_has_a_hash_and_none_an_address(lock: str) -> None:
    assert "://" not in lock
    requirements = re.split(r"\n(?=[a-z0-9])", lock.strip())
    assert all(re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+ ", text) for text in requirements)
    assert [text for text in requirements if "--hash=sha256:" not in text] == []


def test_the_image_installs_by_hash_builds_the_manifest_and_runs_as_nobody_special(project: dict[str, Any]) -> None:
    assert "--require-hashes" in DOCKERFILE
    assert "RUN python -m shopstream_assets.platform.transform.dbt_manifest\n" in DOCKERFILE
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["10001"]
    [python] = re.findall(r"^FROM python:3\.(\d+)-slim$", DOCKERFILE, re.MULTILINE)
    assert project["requires-python"] == ">=3.11,<3.14"
    assert 11 <= int(python) < 14


def test_what_the_image_copies_is_there_and_is_let_through(project: dict[str, Any]) -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8")
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"\n!{source}\n" in ignored, source


def test_neither_image_nor_chart_holds_a_secret() -> None:
    secret = re.compile(
        r"(PASSWORD|SECRET|PASSPHRASE|PRIVATE_KEY|DSN|ACCESS_KEY|POSTGRES_URL)\w*[ =:]+\S", re.IGNORECASE
    )
    allowed = ("postgresqlPassword: unused", "secretName: ", "{env: ")
    for path in (DEPLOY / "Dockerfile", *sorted((DEPLOY / "kubernetes").iterdir())):
        for line in path.read_text(encoding="utf-8").splitlines():
            code = line.split("#")[0]
            assert not secret.search(code) or any(word in line for word in allowed), f"{path.name}: {line}"


def _yaml(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "kubernetes" / name).read_text(encoding="utf-8"))


def test_the_instance_on_kubernetes_stores_as_the_one_on_the_laptop_does() -> None:
    laptop = yaml.safe_load((ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    cluster = _yaml("dagster.yaml")
    for part in ("run_storage", "event_log_storage", "schedule_storage", "run_retries", "concurrency", "telemetry"):
        assert cluster[part] == laptop[part], part
    assert set(cluster) == set(laptop)
    assert cluster["run_monitoring"]["enabled"]


def test_the_instance_on_kubernetes_reads_documented_variables_only() -> None:
    text = (DEPLOY / "kubernetes" / "dagster.yaml").read_text(encoding="utf-8")
    documented = (ROOT / ".env.example").read_text(encoding="utf-8")
    variables = set(re.findall(r"\{env: (\w+)\}", text))
    assert variables
    assert all(f"{variable}=" in documented for variable in variables)


def test_the_daemons_backfills_wait_for_a_code_location_that_is_being_replaced() -> None:
    waits = {"name": "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR", "value": "1"}
    assert waits in _yaml("values.yaml")["dagsterDaemon"]["env"]


def test_webserver_daemon_and_code_run_one_image_with_the_images_own_instance_file() -> None:
    values = _yaml("values.yaml")
    locations = values["dagster-user-deployments"]["deployments"]
    parts = (values["dagsterWebserver"], values["dagsterDaemon"], *locations)
    assert len({str(part["image"]) for part in parts}) == 1
    assert values["dagsterWebserver"]["image"]["tag"] != "latest"
    launcher = _yaml("dagster.yaml")["run_launcher"]["config"]
    for part in parts:
        assert {"name": "DAGSTER_HOME", "value": launcher["dagster_home"]} in part["env"]
        assert part["securityContext"]["runAsNonRoot"]
    assert launcher["dagster_home"] == f"/opt/shopstream/{(DEPLOY / 'kubernetes').relative_to(ROOT)}"
    assert launcher["service_account_name"] == values["global"]["serviceAccountName"]


def test_the_chart_loads_the_code_locations_of_the_workspace_and_gives_runs_their_settings() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text(encoding="utf-8"))
    modules = [entry["python_module"]["module_name"] for entry in workspace["load_from"]]
    deployments = _yaml("values.yaml")["dagster-user-deployments"]["deployments"]
    assert [code["dagsterApiGrpcArgs"] for code in deployments] == [["--module-name", module] for module in modules]
    assert all(code["includeConfigInLaunchedRuns"]["enabled"] for code in deployments)


def test_a_code_location_gets_the_secrets_of_its_own_domain_alone() -> None:
    deployments = _yaml("values.yaml")["dagster-user-deployments"]["deployments"]
    assert [code["name"] for code in deployments] == [domain.name.replace("_", "-") for domain in domains()]
    for code in deployments:
        assert [secret["name"] for secret in code["envSecrets"]] == ["shopstream-dagster", code["name"]]
        assert [volume["secret"]["secretName"] for volume in code["volumes"]] == [f"{code['name']}-snowflake-key"]


def test_the_webserver_is_not_exposed_and_has_no_credentials_of_the_data() -> None:
    values = _yaml("values.yaml")
    assert values["dagsterWebserver"]["service"]["type"] == "ClusterIP"
    assert not values["ingress"]["enabled"]
    for part in ("dagsterWebserver", "dagsterDaemon"):
        assert values[part]["envSecrets"] == [{"name": "shopstream-dagster"}]
