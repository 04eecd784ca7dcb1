"""What a business hands to the platform: data, not code paths. Every name that tells it from others is here."""

from __future__ import annotations

import datetime as dt
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from shopstream_assets.platform.declare.chart import Chart
from shopstream_assets.platform.declare.headline import Headline
from shopstream_assets.platform.declare.page import Page
from shopstream_assets.platform.declare.report import ReportPage
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.simulator import Simulator
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.hosting.pools import warehouse_pool

if TYPE_CHECKING:
    import dagster as dg

REPOSITORY = Path(__file__).parents[3]
# The layers of every domain, in the order in which a row passes them.
LAYERS = ("postgres", "lake", "staging", "core", "models", "marts")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
# A table whose assets Dagster can name: steps are called after them.
TABLE_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class Domain:
    """A business on the platform. Only `name`, `tables` and `simulator` must be given; the rest follows from the name.

    - `name`: begins its asset keys, jobs, sensors, steps and pools, and names its dbt project and the dbt
      source of its staging tables: letters, digits and single underscores, in lower case.
    - `tables`: its source tables. Two domains may have tables of one name.
    - `simulator`: makes the source that `simulated` mode plays.
    - `title`: its name as people write it ("ShopStream").
    - `short`: begins its groups ("<short>_lake"), whose boxes in Dagster's graph clip what is longer than 17 letters
      ("<name>").
    - `package`: the Python package that holds it ("shopstream_assets.domains.<name>"); of a package of your own, say
      `__package__`. From it follow the next two.
    - `module`: the module of its definitions, a code location ("<package>.definitions").
    - `dbt_project`: the folder of its dbt project, which has its name: `dbt_project` in a package of your own, or
      dbt_project/<name> of this repository.
    - `prefix`: begins its environment variables, without an underscore at the end ("SHOPSTREAM").
    - `database`: its warehouse database, where the variable `database_variable` says nothing ("<NAME>_WH").
    - `database_variable`: that variable ("<PREFIX>_SNOWFLAKE_DATABASE").
    - `bucket`: its bucket of the lake, where <PREFIX>_LAKE_BUCKET says nothing ("<name>-data-raw").
    - `integration`: the storage integration that reads it, where `integration_variable` says nothing ("<NAME>_LAKE").
    - `integration_variable`: that variable ("<PREFIX>_SNOWFLAKE_STORAGE_INTEGRATION").
    - `source_database`: the database of the local stack's PostgreSQL that its simulated source is played into
      ("<name>").
    - `start_date`: its first partition (UTC day), where <PREFIX>_START_DATE says nothing; None: that must say it.
    - `headlines`: figures of its marts that a demo ends with.
    - `charts`: what is drawn for the dbt models of that name.
    - `pages`: its pages of the dashboards, in the order in which they are listed.
    - `report`: the pages of its Power BI report, which show metrics of its dbt project.
    """

    name: str
    tables: tuple[SourceTable, ...]
    simulator: Callable[[DomainSettings], Simulator]
    title: str = ""
    short: str = ""
    package: str = ""
    module: str = ""
    prefix: str = ""
    database: str = ""
    database_variable: str = ""
    bucket: str = ""
    integration: str = ""
    integration_variable: str = ""
    source_database: str = ""
    dbt_project: Path | None = None
    start_date: dt.date | None = None
    headlines: tuple[Headline, ...] = ()
    charts: Mapping[str, Chart] = field(default_factory=dict)
    pages: tuple[Page, ...] = ()
    report: tuple[ReportPage, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"domain {self.name!r}: a name is letters, digits and single underscores in lower case, as 'shop_2'"
            )
        names = [table.name for table in self.tables]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"domain {self.name}: declared twice: {', '.join(repeated)}")
        if odd := [name for name in names if not TABLE_NAME.fullmatch(name)]:
            raise ValueError(
                f"domain {self.name}: assets are named after tables, by letters, digits and underscores: "
                f"{', '.join(map(repr, odd))} cannot be; declare a view of another name that selects from it"
            )
        staged = [table.staging_table for table in self.tables]
        if repeated := sorted({name for name in staged if staged.count(name) > 1}):
            raise ValueError(f"domain {self.name}: two tables would be {', '.join(repeated)} in staging")
        capitals = self.name.upper()
        prefix = self.prefix or capitals
        package = self.package or f"shopstream_assets.domains.{self.name}"
        follows = {
            "title": self.name.replace("_", " ").title(),
            "short": self.name,
            "package": package,
            "module": f"{package}.definitions",
            "prefix": prefix,
            "database": f"{capitals}_WH",
            "database_variable": f"{prefix}_SNOWFLAKE_DATABASE",
            "bucket": f"{self.name.replace('_', '-')}-data-raw",
            "integration": f"{capitals}_LAKE",
            "integration_variable": f"{prefix}_SNOWFLAKE_STORAGE_INTEGRATION",
            "source_database": self.name,
            "dbt_project": _folder_of(self.package) / "dbt_project"
            if self.package
            else REPOSITORY / "dbt_project" / self.name,
        }
        for attribute, value in follows.items():
            if not getattr(self, attribute):
                object.__setattr__(self, attribute, value)

    def group(self, layer: str) -> str:
        """The group of its assets of a layer."""
        return f"{self.short}_{layer}"

    @property
    def pool(self) -> str:
        """The pool that its staging and dbt steps share: one of them runs at a time."""
        return warehouse_pool(self.name)

    @property
    def query_tag(self) -> str:
        """The tag of its queries in the warehouse; dbt's have `_dbt` behind it."""
        return self.name

    @property
    def refresh_job(self) -> str:
        """Name of the job that brings every layer up to date."""
        return f"refresh_{self.name}"

    def materialize_command(self, selection: str, first: str, last: str) -> str:
        """Shell command that materializes a selection of its assets for the days from `first` to `last`."""
        chosen = f"--select {shlex.quote(selection)} --partition-range {first}...{last}"
        return f"dagster asset materialize -m {self.module} {chosen}"

    def all_from(self, table: str) -> str:
        """Selection of a table in the lake with all that follows from it, but for pages: nothing materializes these."""
        return f'key:"{self.name}/lake/{table}"+ and not group:"{self.group("dashboards")}"'

    def variable(self, name: str) -> str:
        """The environment variable that says something of this domain alone: START_DATE -> SHOPSTREAM_START_DATE."""
        return f"{self.prefix}_{name}"

    def project(self) -> Path:
        """The folder of its dbt project."""
        assert self.dbt_project is not None
        return self.dbt_project


def _folder_of(package: str) -> Path:
    """Where a package lies; raises ModuleNotFoundError where there is none."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"no package is called {package!r}", name=package)
    return Path(found.submodule_search_locations[0])


def asset_key(domain: str, layer: str, table: str) -> dg.AssetKey:
    """Key of a table in a layer: domain/layer/table."""
    # Dagster takes a second to import: the command line asks a domain for its names alone.
    import dagster as dg

    return dg.AssetKey([domain, layer, table])
