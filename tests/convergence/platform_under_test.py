"""The calls that the machine makes into the platform, all of them: what assets and sensors do, without Dagster's runs.

A new interface of the platform is a change of this module alone.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NoReturn

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from emptied import empty
from interruption import Act, dbt_watched, watched

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.domains.shopstream.sales_comparison import compare_sales
from shopstream_assets.domains.shopstream.tables import TABLES
from shopstream_assets.platform.declare.domain import asset_key
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window, ranges
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake.extraction import extract_to_lake
from shopstream_assets.platform.lake.manifest import published, read_manifests
from shopstream_assets.platform.refresh.behind import behind
from shopstream_assets.platform.refresh.catch_up import keys_of, made_from
from shopstream_assets.platform.refresh.change_sensor import Cursor, look_for_changes
from shopstream_assets.platform.refresh.reconcile import reconcile
from shopstream_assets.platform.staging.change_log import create_staging_table, staging_relation
from shopstream_assets.platform.staging.ledger import create_ledgers
from shopstream_assets.platform.staging.loading import load_from_lake
from shopstream_assets.platform.staging.verification import repeated_keys, staging_differences
from shopstream_assets.platform.transform.build import dbt_arguments, unaccounted
from shopstream_assets.platform.transform.dbt_manifest import built_manifest, parsed_project
from shopstream_assets.platform.transform.dbt_run import FAILURE_EVENTS, run_dbt
from shopstream_assets.platform.transform.relations import relations
from shopstream_assets.platform.transform.translator import Translator

Layer = Literal["lake", "staging", "models"]
LAYERS: tuple[Layer, ...] = ("lake", "staging", "models")
# Whether staging steps and dbt wait for each other, as steps of one pool of Dagster's do.
ONE_WRITER = True
BY_NAME = {table.name: table for table in TABLES}
ALL_TABLES = tuple(BY_NAME)


def _no_simulator(_: object) -> NoReturn:
    raise AssertionError("the machine's shop is live")


DOMAIN = dataclasses.replace(SHOPSTREAM, simulator=_no_simulator)


@dataclass(frozen=True)
class Request:
    """Materialize tables in a layer over a window of days; for models, those that are made from the tables.

    `models` are models to build beyond them, with all that is made from those.
    """

    layer: Layer
    tables: tuple[str, ...]
    window: Window
    models: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.layer} of {', '.join((*self.tables, *self.models))} for {self.window}"


Run = Sequence[Request]
"""Requests of one run: what follows a failed one is not tried."""


class Platform:
    """The platform over one source, bucket and database; remembers what its sensors remember."""

    def __init__(self, services: Services, start: dt.date, with_models: bool) -> None:
        self.services, self.start, self.with_models = services, start, with_models
        self.faults: dict[str, str] = {}
        self._writing = threading.Lock()
        self._remembered = Cursor()

    def materialize(self, request: Request, act: Act, full_refresh: bool = False) -> None:
        """Do what the assets' steps do. Raises Problem where they would fail."""
        if request.layer == "lake":
            services = watched(self.services, act)
            for name in request.tables:
                extract_to_lake(services.source, services.store, BY_NAME[name], request.window, self.start)
        elif request.layer == "staging":
            services = watched(self.services, act)
            for name in request.tables:
                with self._writing if ONE_WRITER else nullcontext():
                    load_from_lake(services.store, services.warehouse, BY_NAME[name], request.window)
        elif self.with_models:
            with self._writing:
                self._build(request, act, full_refresh)

    def ask(self) -> list[Run]:
        """What the sensors would launch now, long after they asked for the last time, and with an audit due.

        That of changes asks first; where it asks for nothing, the one that lets the layers catch up; where that asks
        for nothing either, whole tables are reconciled with the source. What is wrong with single tables is left in
        `faults`.
        """
        now = dt.datetime.now(dt.UTC)
        everything = Window.everything(self.start, now)
        self._remembered.audited_at = None
        self._remembered.rest_until = {}
        for memory in self._remembered.tables.values():
            memory.asked = {}
        found = look_for_changes(
            DOMAIN, self.services.source, self.services.store, self._remembered, everything, now, set
        )
        self.faults = found.faults
        runs: list[Run] = []
        for window in _stretches(found.changes, now):
            tables = tuple(sorted({table for day in window.days for table in found.changes[day]}))
            runs.append([Request(layer, tables, window) for layer in LAYERS])
        return runs or self._catch_up(everything, now) or self._reconcile(everything, now)

    def _reconcile(self, everything: Window, now: dt.datetime) -> list[Run]:
        runs: list[Run] = []
        for table in TABLES:
            found = reconcile(self.services.source, self.services.store, self.services.warehouse, table, everything)
            for window in _stretches(found.days, now):
                runs.append([Request(layer, (table.name,), window) for layer in LAYERS])
        return runs

    def _catch_up(self, everything: Window, now: dt.datetime) -> list[Run]:
        found = behind(
            self.services.store,
            self.services.warehouse,
            TABLES,
            made_from(_graph(), DOMAIN) if self.with_models else {},
            everything,
        )
        wanted = keys_of(found, _graph(), DOMAIN) if found else {}
        runs: list[Run] = []
        for window in _stretches(wanted, now):
            keys = sorted({tuple(key.path) for day in window.days for key in wanted[day]})
            tables = tuple(name for _, layer, name in keys if layer == "staging")
            models = tuple(name for _, layer, name in keys if layer != "staging")
            staging = [Request("staging", tables, window)] if tables else []
            runs.append([*staging, Request("models", tables, window, models)])
        return runs

    def reset_warehouse(self) -> None:
        """An empty database with its four schemas."""
        empty(self.services.warehouse)
        with self.services.warehouse.connection(REPORTING) as session:
            for table in TABLES:
                create_staging_table(session, self.services.warehouse.database, table, ())
            create_ledgers(session, self.services.warehouse.database)

    def staged_state(self, tables: Collection[str]) -> Mapping[str, list[dict[str, Any]]]:
        """The state that staging's log says each table is in: the row of the newest snapshot of every key.

        Raises AssertionError where rows of one key and snapshot differ.
        """
        found = {}
        with self.services.warehouse.connection(REPORTING) as session, session.cursor() as cursor:
            for name in tables:
                table = BY_NAME[name]
                cursor.execute(f"select * from {staging_relation(self.services.warehouse.database, table)}")
                names = [column.name.lower() for column in cursor.description]
                log = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
                found[name] = _state(name, log, [column.name for column in table.columns], table.cursor)
        return found

    def rows(self, relation: str) -> list[dict[str, Any]]:
        """The rows of a table of the warehouse, its column names in lower case."""
        with self.services.warehouse.connection(REPORTING) as session, session.cursor() as cursor:
            cursor.execute(f"select * from {self.services.warehouse.database}.{relation}")
            names = [column.name.lower() for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def execute(self, statement: str) -> None:
        """A statement in the warehouse, on the platform's database."""
        with self.services.warehouse.connection(REPORTING) as session, session.cursor() as cursor:
            cursor.execute(f"use database {self.services.warehouse.database}")
            cursor.execute(statement)

    def source_check(self) -> str | None:
        """What the comparison of the sales mart with the source finds otherwise at rest; None where they agree."""
        found = compare_sales(self.services.source, self.services.store, self.services.warehouse, self.start)
        told = [f"{date}: {found.expected(date)}, the mart {found.mart.get(date)}" for date in found.differing]
        return "; ".join(told) or None

    def staging_checks(self) -> list[str]:
        """What the blocking checks of staging find wrong, over all days."""
        now = dt.datetime.now(dt.UTC)
        window, told = Window.everything(self.start, now), []
        with self.services.warehouse.connection(REPORTING) as session:
            for table in TABLES:
                etags = published(self.services.store, table, window)
                manifests = read_manifests(self.services.store, table, window.days)
                database = self.services.warehouse.database
                differing = staging_differences(session, database, table, window, manifests, etags)
                told += [f"{table.name}: {line}" for line in differing]
                repeated = repeated_keys(session, database, table, window)
                told += [f"{table.name}: {day} repeats keys in {rows} rows" for day, rows in repeated.items()]
        return told

    def _build(self, request: Request, act: Act, full_refresh: bool) -> None:
        warehouse, manifest = self.services.warehouse, built_manifest(DOMAIN)
        selection = [f"source:shopstream.{BY_NAME[name].staging_table}+" for name in request.tables]
        selection += [f"{name}+" for name in request.models]
        if not full_refresh:
            with warehouse.connection(REPORTING) as session, session.cursor() as cursor:
                found = relations(cursor, warehouse.database)
                full_refresh = bool(unaccounted(cursor, warehouse, DOMAIN, manifest, _chosen(request), found))
        failures = []
        with tempfile.TemporaryDirectory(prefix="dbt-") as target, dbt_watched(act):
            arguments = ["--quiet", *dbt_arguments(DOMAIN, selection, request.window, target, full_refresh)]
            # An asset's step never names one; dbt stumbles over them where its first hook was cancelled.
            arguments += ["--exclude-resource-type", "exposure"]
            for event in run_dbt(arguments, parsed_project(DOMAIN).parsed, warehouse):
                if event["info"]["name"] in FAILURE_EVENTS:
                    failures.append(" ".join(event["info"]["msg"].split()))
        if failures:
            raise Problem(" | ".join(failures[:5]), "correct the model or the rows it names.")


@cache
def _graph() -> BaseAssetGraph:
    from shopstream_assets.domains.shopstream.definitions import defs

    return defs.resolve_asset_graph()


def _chosen(request: Request) -> Set[dg.AssetKey]:
    """The assets of the models that a request builds."""
    by_name = {
        node["name"]: Translator(DOMAIN).get_asset_key(node)
        for node in built_manifest(DOMAIN)["nodes"].values()
        if node["resource_type"] == "model"
    }
    staging = {asset_key(DOMAIN.name, "staging", name) for name in request.tables}
    named = dg.AssetSelection.assets(*staging, *(by_name[name] for name in request.models))
    return named.downstream().resolve(_graph()) - staging


def _state(table: str, log: list[dict[str, Any]], columns: list[str], cursor: str | None) -> list[dict[str, Any]]:
    """The state that a log tells."""
    has_snapshots = bool(log) and "_snapshot" in log[0]
    order: Callable[[dict[str, Any]], Any] = (
        (lambda row: row["_snapshot"] or "")
        if has_snapshots
        else (lambda row: (row[cursor or ""], row["_loaded_at"], row["_source_row"], row["_source_file"]))
    )
    newest: dict[Any, list[dict[str, Any]]] = {}
    for row in log:
        known = newest.get(row["id"])
        if known is None or order(row) > order(known[0]):
            newest[row["id"]] = [row]
        elif order(row) == order(known[0]):
            known.append(row)
    state = []
    for key, rows in newest.items():
        told = [{name: row[name] for name in (*columns, *({"_deleted", "_quarantined"} & row.keys()))} for row in rows]
        assert all(one == told[0] for one in told), f"staging of {table} contradicts itself on key {key}: {rows}"
        if not rows[0].get("_deleted") and not rows[0].get("_quarantined"):
            state.append({name: rows[0][name] for name in columns})
    return state


def _stretches(days: Iterable[dt.date], now: dt.datetime) -> list[Window]:
    """Days in a row, as windows."""
    spans = ranges(str(day) for day in sorted(days))
    return [
        Window.seen_at(dt.date.fromisoformat(first), dt.date.fromisoformat(last) + ONE_DAY, now)
        for first, last in spans
    ]
