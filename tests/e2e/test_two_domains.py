"""Two businesses on one stack share nothing but its servers: each has a table `users`, and one breaks alone."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.domains.streamvision.domain import STREAMVISION
from shopstream_assets.embedded import stack
from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.partitions import SPAN_TAGS
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.definitions import domain_definitions
from shopstream_assets.platform.errors import Problem

REPOSITORY = Path(__file__).parents[2]
DOMAIN = Path("shopstream_assets", "domains", "streamvision")
BOTH = (SHOPSTREAM, STREAMVISION)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
SECONDS = 180
TODAY = dt.datetime.now(dt.UTC).date()
# Complete days that both have; the last is refreshed again and again.
DAYS = [(TODAY - dt.timedelta(days=ago)).isoformat() for ago in (2, 1)]

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Street:
    """Both businesses, materialized over `DAYS` on a stack in `folder`."""

    folder: Path
    variables: Mapping[str, str]
    definitions: Mapping[str, dg.Definitions]

    def run(self, domain: Domain, days: Sequence[str], *assets: dg.AssetKey) -> dg.ExecuteInProcessResult:
        """A domain's refresh over days, or of some of its assets alone."""
        job = self.definitions[domain.name].resolve_job_def(domain.refresh_job)
        tags = dict(zip(SPAN_TAGS, (days[0], days[-1]), strict=True))
        with dg.DagsterInstance.get() as instance:
            return job.execute_in_process(
                QUIET, instance=instance, tags=tags, raise_on_error=False, asset_selection=list(assets) or None
            )

    def shopstream_goes_on(self) -> None:
        """A day of ShopStream passes every layer."""
        result = self.run(SHOPSTREAM, DAYS[-1:])
        assert result.success, failures(result)

    def command(self, *words: str, code: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
        """What `shopstream` says, of the code in a folder."""
        paths = {"PYTHONPATH": str(code), "SHOPSTREAM_HOME": str(self.folder), "DAGSTER_HOME": str(code)}
        return subprocess.run(
            [sys.executable, "-c", "from shopstream_assets.cli import main; main()", *words],
            env={**os.environ, **self.variables, **paths, "COLUMNS": "300"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )


def failures(result: dg.ExecuteInProcessResult) -> str:
    found = [(event.step_key, event.step_failure_data.error) for event in result.all_events if event.is_step_failure]
    return "\n".join(f"{step}: {error.to_string()}" for step, error in found if error)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    settings = {
        f"{domain.prefix}_{name}": value
        for domain in BOTH
        for name, value in {"START_DATE": DAYS[0], "SCALE": "0.05", "SOURCE_MODE": "simulated"}.items()
    }
    folder = tmp_path_factory.mktemp("street")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        with stack.running(folder) as variables:
            for name, value in variables.items():
                patch.setenv(name, value)
            made = Street(folder, variables, {domain.name: domain_definitions(domain) for domain in BOTH})
            for domain in BOTH:
                result = made.run(domain, DAYS)
                assert result.success, failures(result)
            yield made


@pytest.fixture(scope="module")
def code(street: Street) -> Path:
    """A checkout of its own, which a test may break; what is parsed already need not be parsed again."""
    made = street.folder / "checkout"
    made.mkdir()
    for name in ("dagster.yaml", "workspace.yaml", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, made)
    for folder in (REPOSITORY / "shopstream_assets", REPOSITORY / "dbt_project", *REPOSITORY.glob("*.egg-info")):
        shutil.copytree(folder, made / folder.name, ignore=shutil.ignore_patterns("__pycache__", ".parsing-*"))
    return made


@contextmanager
def broken(path: Path, text: str) -> Iterator[None]:
    """A file of the checkout, with other text while the block lasts."""
    before = path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def query(domain: Domain, sql: str) -> list[tuple[Any, ...]]:
    """Rows from a domain's own warehouse database."""
    warehouse = Services.of(domain).warehouse
    with warehouse.connection(REPORTING) as session, session.cursor() as cursor:
        cursor.execute(sql.format(database=warehouse.database))
        return [tuple(row) for row in cursor.fetchall()]


def source_users(street: Street, domain: Domain) -> set[tuple[Any, ...]]:
    with psycopg.connect(street.variables[f"{domain.prefix}_POSTGRES_DSN"]) as connection:
        return set(connection.execute("select id, email from users").fetchall())


def staged_users(domain: Domain) -> set[tuple[Any, ...]]:
    return set(query(domain, "select id, email from {database}.STAGING.STG_USERS"))


def test_each_staging_table_of_users_has_the_rows_of_its_own_source(street: Street) -> None:
    of_shop, of_stream = (source_users(street, domain) for domain in BOTH)
    assert of_shop
    assert of_stream
    assert not of_shop & of_stream
    assert staged_users(SHOPSTREAM) == of_shop
    assert staged_users(STREAMVISION) == of_stream


def test_the_objects_of_each_are_in_a_bucket_of_its_own_and_the_ledger_knows_those(street: Street) -> None:
    assert Services.of(SHOPSTREAM).store.bucket != Services.of(STREAMVISION).store.bucket
    hashes: list[set[object]] = []
    for domain in BOTH:
        store = Services.of(domain).store
        tables = {key.split("/")[2] for key, _, _ in store.listed("raw/")}
        assert tables == {table.name for table in domain.tables}
        ledger = query(domain, "select table_name, manifest_hash from {database}.STAGING.LOADED_PARTITIONS")
        assert {name for name, _ in ledger} == {table.name for table in domain.tables}
        assert len([name for name, _ in ledger if name == "users"]) == len(DAYS)
        hashes.append({found for name, found in ledger if name == "users"})
    assert not hashes[0] & hashes[1]


def test_each_has_the_models_of_its_own_project_and_a_dim_date_of_its_own(street: Street) -> None:
    names = []
    for domain in BOTH:
        tables = query(
            domain,
            "select lower(table_name) from {database}.information_schema.tables"
            " where table_schema in ('CORE', 'MARTS') and table_type = 'BASE TABLE'",
        )
        ledgers = {"built_partitions", "unread_changes"}
        made = {name for (name,) in tables} - ledgers
        project = REPOSITORY / "dbt_project" / domain.name / "models"
        assert made == {path.stem for path in project.rglob("*.sql")}
        built = query(domain, "select distinct model_name from {database}.CORE.BUILT_PARTITIONS")
        assert {name for (name,) in built} <= made
        names.append(made)
    assert "dim_date" in names[0] & names[1]


def test_neither_waits_for_the_others_turn_to_write(street: Street) -> None:
    for domain in BOTH:
        graph = street.definitions[domain.name].resolve_asset_graph()
        writers = [graph.assets_def_for_key(asset_key(domain.name, "staging", table.name)) for table in domain.tables]
        writers.append(graph.assets_def_for_key(asset_key(domain.name, "core", "dim_date")))
        assert {writer.op.pool for writer in writers} == {f"{domain.name}_warehouse"}


def test_without_streamvisions_source_shopstream_goes_on_and_doctor_names_streamvision(street: Street) -> None:
    with psycopg.connect(street.variables["SHOPSTREAM_DAGSTER_POSTGRES_URL"].replace("+psycopg2", "")) as admin:
        admin.autocommit = True
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'streamvision'")
        admin.execute("alter database streamvision rename to elsewhere")
        try:
            street.shopstream_goes_on()
            told = street.command("doctor", "--domain", "all")
        finally:
            admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'elsewhere'")
            admin.execute("alter database elsewhere rename to streamvision")
    assert told.returncode == 1
    shop, stream = told.stdout.split("StreamVision:\n")
    assert shop.startswith("ShopStream:\n")
    assert "FAIL" not in shop
    assert [line for line in stream.splitlines() if line.startswith("FAIL") and "Postgres" in line], stream


def test_with_a_corrupt_manifest_of_streamvision_its_users_stop_and_those_of_shopstream_go_on(street: Street) -> None:
    key = f"raw/postgres/users/_manifests/dt={DAYS[-1]}.json"
    store = Services.of(STREAMVISION).store
    before = store.get(key)
    store.put(key, b'{"hash": ', "application/json")
    try:
        result = street.run(STREAMVISION, DAYS[-1:], asset_key("streamvision", "staging", "users"))
        street.shopstream_goes_on()
    finally:
        store.put(key, before, "application/json")
    assert not result.success
    assert "users" in failures(result)
    assert "manifest" in failures(result)


def test_with_a_broken_model_of_streamvision_shopstream_loads_and_goes_on(street: Street, code: Path) -> None:
    project = code / "dbt_project" / "streamvision"
    with broken(project / "models" / "core" / "dim_content.sql", "select * from {{ ref('nowhere') }}"):
        with pytest.raises(Problem, match=r"(?s)dbt cannot parse the project .*streamvision: .*nowhere"):
            domain_definitions(replace(STREAMVISION, dbt_project=project))
        domain_definitions(replace(SHOPSTREAM, dbt_project=code / "dbt_project" / "shopstream"))
        street.shopstream_goes_on()


def test_where_streamvisions_code_does_not_load_demo_completes_shopstream_and_names_streamvision(
    street: Street, code: Path
) -> None:
    mart = asset_key("shopstream", "marts", "mart_sales_overview")
    with dg.DagsterInstance.get() as instance:
        # So that there is something to do.
        instance.wipe_assets([mart])
        with broken(code / DOMAIN / "definitions.py", "raise RuntimeError('no licence')\n"):
            told = street.command("demo", "--domain", "all", code=code)
        assert instance.get_materialized_partitions(mart) == set(DAYS), told.stdout + told.stderr
    assert told.returncode == 1
    assert "ShopStream: every table in every layer" in told.stdout
    error = told.stderr.splitlines()[-1]
    assert error.startswith("Error: streamvision: the code location streamvision does not load: ")
    assert "RuntimeError: no licence" in error
    assert "definitions.py, line 1" in error
    assert "Traceback" not in told.stderr


def test_a_domain_that_cannot_be_declared_is_named_beside_the_services(street: Street, code: Path) -> None:
    with broken(code / DOMAIN / "domain.py", "raise RuntimeError('no licence')\n"):
        told = street.command("stack", "status", code=code)
    assert told.returncode == 0, told.stderr
    [line] = [line for line in told.stdout.splitlines() if line.startswith("streamvision")]
    assert "left out" in line
    assert "RuntimeError: no licence" in line
