"""What a business is called follows from its name, and two of them share nothing but the stack."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest

from shopstream_assets.cli.each import for_each
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.embedded import state
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.environment import (
    domain_settings,
    lake_bucket,
    storage_integration,
    variable_of,
    warehouse_database,
)
from shopstream_assets.platform.declare.headline import Headline
from shopstream_assets.platform.declare.registry import domain_named, domains
from shopstream_assets.platform.definitions import resources
from shopstream_assets.platform.errors import Problem


def of(name: str, **changes: object) -> Domain:
    return Domain(name, (), simulator=lambda _: pytest.fail("nothing is simulated"), **changes)  # type: ignore[arg-type]


AIRLINE = of("air_line")


def test_a_package_of_its_own_says_where_definitions_and_models_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "company_rail").mkdir()
    (tmp_path / "company_rail" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    rail = of("rail", package="company_rail")
    assert rail.module == "company_rail.definitions"
    assert rail.project() == tmp_path / "company_rail" / "dbt_project"


def test_everything_of_a_domain_is_named_after_it() -> None:
    assert (AIRLINE.title, AIRLINE.prefix, AIRLINE.pool) == ("Air Line", "AIR_LINE", "air_line_warehouse")
    assert (AIRLINE.database, AIRLINE.bucket, AIRLINE.integration) == (
        "AIR_LINE_WH",
        "air-line-data-raw",
        "AIR_LINE_LAKE",
    )
    assert AIRLINE.module == "shopstream_assets.domains.air_line.definitions"
    assert AIRLINE.project().parts[-2:] == ("dbt_project", "air_line")


def test_shopstream_keeps_its_names_and_variables() -> None:
    assert (SHOPSTREAM.database, SHOPSTREAM.bucket) == ("SHOPSTREAM_DWH", "shopstream-data-raw")
    environment = {
        "SNOWFLAKE_DATABASE": "D",
        "SNOWFLAKE_STORAGE_INTEGRATION": "I",
        "SHOPSTREAM_LAKE_BUCKET": "b",
    }
    assert warehouse_database(SHOPSTREAM, environment) == "D"
    assert storage_integration(SHOPSTREAM, environment) == "I"
    assert lake_bucket(SHOPSTREAM, environment) == "b"


def test_what_is_said_of_shopstream_says_nothing_of_another() -> None:
    environment = {
        "SNOWFLAKE_DATABASE": "SHOPSTREAM_DWH",
        "SNOWFLAKE_STORAGE_INTEGRATION": "SHOPSTREAM_LAKE",
        "SHOPSTREAM_LAKE_BUCKET": "shopstream",
    }
    assert warehouse_database(AIRLINE, environment) == "AIR_LINE_WH"
    assert storage_integration(AIRLINE, environment) == "AIR_LINE_LAKE"
    assert lake_bucket(AIRLINE, environment) == "air-line-data-raw"


def test_an_account_is_shared_and_a_role_of_ones_own_wins() -> None:
    environment = {"SNOWFLAKE_ROLE": "ALL", "AIR_LINE_SNOWFLAKE_ROLE": "AIRLINE"}
    assert variable_of(AIRLINE, "SNOWFLAKE_ROLE", environment) == "AIR_LINE_SNOWFLAKE_ROLE"
    assert variable_of(SHOPSTREAM, "SNOWFLAKE_ROLE", environment) == "SNOWFLAKE_ROLE"


def test_the_connections_of_two_domains_lead_to_different_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNOWFLAKE_DATABASE", "SHOPSTREAM_DWH")
    monkeypatch.setenv("SHOPSTREAM_LAKE_BUCKET", "shopstream")
    monkeypatch.delenv("AIR_LINE_LAKE_BUCKET", raising=False)
    ours, theirs = resources(SHOPSTREAM), resources(AIRLINE)
    assert ours["warehouse"].database == dg.EnvVar("SNOWFLAKE_DATABASE")
    assert theirs["warehouse"].database == "AIR_LINE_WH"
    assert ours["store"].bucket == dg.EnvVar("SHOPSTREAM_LAKE_BUCKET")
    assert theirs["store"].bucket == "air-line-data-raw"
    assert theirs["source"].dsn == dg.EnvVar("AIR_LINE_POSTGRES_DSN")
    assert theirs["warehouse"].query_tag == "air_line"


def test_a_start_date_that_a_domain_declares_is_for_where_nothing_else_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    airline = of("airline", start_date=dt.date(2025, 1, 1))
    monkeypatch.setenv("AIRLINE_SOURCE_MODE", "live")
    assert domain_settings(airline).start_date == dt.date(2025, 1, 1)
    monkeypatch.setenv("AIRLINE_START_DATE", "2025-06-01")
    assert domain_settings(airline).start_date == dt.date(2025, 6, 1)


@pytest.mark.parametrize("name", ["", "Airline", "air-line", "air__line", "_air", "1air"])
def test_a_name_that_no_asset_or_variable_could_bear_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a name is letters, digits and single underscores"):
        of(name)


def test_the_stack_gives_each_domain_a_source_a_bucket_and_a_database_of_its_own(tmp_path: Path) -> None:
    memory = state.Memory(ports={"postgres": 1, "aws": 2, "snowflake": 3})
    state.welcome(memory, [SHOPSTREAM, AIRLINE], {"AIR_LINE_SCALE": "0.5"})
    found = state.environment(state.home(tmp_path), memory)
    assert found["SHOPSTREAM_POSTGRES_DSN"].endswith("/shop")
    assert found["AIR_LINE_POSTGRES_DSN"].endswith("/air_line")
    assert (found["SHOPSTREAM_LAKE_BUCKET"], found["AIR_LINE_LAKE_BUCKET"]) == (
        "shopstream-data-raw",
        "air-line-data-raw",
    )
    assert (found["SNOWFLAKE_DATABASE"], found["AIR_LINE_SNOWFLAKE_DATABASE"]) == ("SHOPSTREAM_DWH", "AIR_LINE_WH")
    assert (found["SHOPSTREAM_SCALE"], found["AIR_LINE_SCALE"]) == ("1", "0.5")


def installed(folder: Path, named: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of a company's own, as pip leaves it: its metadata and its module."""
    (folder / "company-1.0.dist-info").mkdir()
    (folder / "company-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: company\nVersion: 1.0\n")
    (folder / "company-1.0.dist-info" / "entry_points.txt").write_text(f"[shopstream.domains]\n{named}\n")
    (folder / "company_domain.py").write_text(module)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "company_domain", raising=False)


DECLARED = """
from shopstream_assets.platform.declare.domain import Domain
AIRLINE = Domain("airline", (), simulator=print, module="company_domain")
"""


def test_a_domain_of_another_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "airline = company_domain:AIRLINE", DECLARED, monkeypatch)
    assert domain_named("airline").module == "company_domain"
    assert {"airline", "shopstream"} <= {domain.name for domain in domains()}


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("airline = company_domain:NOWHERE", "the domain airline cannot be loaded from company_domain:NOWHERE"),
        ("airline = company_gone:AIRLINE", "the domain airline cannot be loaded from company_gone:AIRLINE"),
        ("airline = company_domain:Domain", "which is no Domain of that name"),
        ("other = company_domain:AIRLINE", "no domain is called 'airline'; installed are: other, shopstream"),
    ],
)
def test_a_domain_that_cannot_be_had_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, told: str
) -> None:
    installed(tmp_path, named, DECLARED, monkeypatch)
    with pytest.raises(Problem) as caught:
        domain_named("airline")
    assert told in str(caught.value)
    assert "Next: " in str(caught.value)


@pytest.mark.parametrize(
    ("form", "value", "written"),
    [
        ("{:,.2f} EUR", 1234.5, "1,234.50 EUR"),
        ("{:,.2f} EUR", None, "0.00 EUR"),
        ("{:.1%}", 0.1234, "12.3%"),
        ("{:.1%}", None, "-"),
        ("{}", "DE", "DE"),
        ("{}", None, "-"),
    ],
)
def test_a_headline_is_written_in_its_form(form: str, value: object, written: str) -> None:
    assert Headline("x", "select 1", form).written(value) == written


def test_one_domain_that_cannot_be_loaded_keeps_no_other_from_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shopstream_assets.embedded import stack

    installed(tmp_path, "airline = company_domain:AIRLINE", "raise RuntimeError('no licence')", monkeypatch)
    told: list[str] = []
    assert "shopstream" in [domain.name for domain in stack._installed(told.append)]
    assert len(told) == 1
    assert told[0].startswith("The domain airline is left out: the domain airline cannot be loaded from company_domain")
    assert "RuntimeError: no licence" in told[0]


def test_what_is_done_for_several_domains_is_done_for_those_that_are_well_and_the_other_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "airline = company_domain:AIRLINE", "raise RuntimeError('no licence')", monkeypatch)
    done: list[str] = []

    def act(domain: Domain) -> None:
        if domain.name == "streamvision":
            raise ConnectionError("nobody answers")
        done.append(domain.name)

    failed = for_each(["airline", "streamvision", "shopstream"], act)
    assert done == ["shopstream"]
    assert [told.partition(":")[0] for told in failed] == ["airline", "streamvision"]
    assert "RuntimeError: no licence" in failed[0]
    with pytest.raises(Problem, match="no licence"):
        for_each(["airline"], act)


def test_domains_that_are_named_in_code_are_known_to_pip(local_stack: Mapping[str, str]) -> None:
    folder = Path(__file__).parents[2] / "shopstream_assets" / "domains"
    named = {path.parent.name for path in folder.glob("*/definitions.py")}
    assert named == {domain.name for domain in domains()}
    for name in named:
        assert domain_named(name).variable("POSTGRES_DSN") in local_stack
