"""The calls that the machine makes into the platform, all of them: what assets and sensors do, without Dagster's runs.

A new interface of the platform is a change of this module alone.
"""

from __future__ import annotations

import datetime as dt
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from interruption import Act, dbt_watched, watched

from shopstream_assets.platform.change_sensor import look_for_changes
from shopstream_assets.platform.changes import Cursor
from shopstream_assets.platform.domain import Domain
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.partitions import ONE_DAY, Window
from shopstream_assets.platform.repair import ranges
from shopstream_assets.platform.resources.warehouse import REPORTING
from shopstream_assets.platform.source_assets import extract_to_lake, load_from_lake
from shopstream_assets.platform.staging import create_staging_table, staging_relation
from shopstream_assets.platform.transform import FAILURE_EVENTS, built_manifest, dbt_arguments, run_dbt
from shopstream_assets.shopstream.sales_comparison import compare_sales
from shopstream_assets.shopstream.tables import TABLES
from shopstream_assets.summary import Services

Layer = Literal["lake", "staging", "models"]
LAYERS: tuple[Layer, ...] = ("lake", "staging", "models")
# Whether staging steps and dbt wait for each other, as steps of one pool of Dagster's do.
ONE_WRITER = False
BY_NAME = {table.name: table for table in TABLES}
ALL_TABLES = tuple(BY_NAME)


def _no_simulator(_: object) -> NoReturn:
    raise AssertionError("the machine's shop is live")


DOMAIN = Domain(name="shopstream", tables=TABLES, simulator=_no_simulator)


@dataclass(frozen=True)
class Request:
    """Materialize tables in a layer over a window of days; for models, those that are made from the tables."""

    layer: Layer
    tables: tuple[str, ...]
    window: Window

    def __str__(self) -> str:
        return f"{self.layer} of {', '.join(self.tables)} for {self.window}"


Run = Sequence[Request]
"""Requests of one run: what follows a failed one is not tried."""


class Platform:
    """The platform over one source, bucket and database; remembers what its sensors remember."""

    def __init__(self, services: Services, start: dt.date, with_models: bool) -> None:
        self.services, self.start, self.with_models = services, start, with_models
        self._writing = threading.Lock()
        self._remembered = Cursor()
        self._to_follow: dict[tuple[Layer, str], set[dt.date]] = {}

    def materialize(self, request: Request, act: Act, full_refresh: bool = False) -> None:
        """Do what the assets' steps do. Raises Problem where they would fail."""
        if request.layer == "lake":
            services = watched(self.services, act)
            for name in request.tables:
                extract_to_lake(services.source, services.store, BY_NAME[name], request.window)
        elif request.layer == "staging":
            services = watched(self.services, act)
            for name in request.tables:
                with self._writing if ONE_WRITER else nullcontext():
                    load_from_lake(services.store, services.warehouse, BY_NAME[name], request.window)
        elif self.with_models:
            with self._writing:
                self._build(request, act, full_refresh)

    def done(self, run: Run, requests: Iterable[Request]) -> None:
        """Note which requests of a run were carried out: the automation conditions look at that."""
        targeted = {request.layer for request in run}
        for request in requests:
            following = LAYERS[LAYERS.index(request.layer) + 1 :][:1]
            for layer in set(following) - targeted:
                for table in request.tables:
                    self._to_follow.setdefault((layer, table), set()).update(request.window.days)

    def ask(self) -> list[Run]:
        """What automation would launch now, an hour after it looked for the last time."""
        self._remembered.audited_at = self._remembered.looked_back_at = None
        self._remembered.asked = {}
        now = dt.datetime.now(dt.UTC)
        everything = Window(self.start, now.date() + ONE_DAY)
        changed, absent = look_for_changes(
            DOMAIN, self.services.source, self.services.store, self._remembered, everything, now, set
        )
        assert not absent
        runs: list[Run] = []
        for window in _stretches(changed):
            tables = tuple(sorted({table for day in window.days for table in changed[day]}))
            runs.append([Request(layer, tables, window) for layer in LAYERS])
        for (layer, table), days in self._to_follow.items():
            following = LAYERS[LAYERS.index(layer) :]
            runs += [[Request(each, (table,), window) for each in following] for window in _stretches(days)]
        self._to_follow.clear()
        return runs

    def reset_warehouse(self) -> None:
        """An empty database with its four schemas."""
        with self.services.warehouse.connection(REPORTING) as session, session.cursor() as cursor:
            for schema in ("RAW", "STAGING", "CORE", "MARTS"):
                cursor.execute(f"drop schema if exists {self.services.warehouse.database}.{schema} cascade")
                cursor.execute(f"create schema {self.services.warehouse.database}.{schema}")
            for table in TABLES:
                create_staging_table(session, self.services.warehouse.database, table, ())

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

    def source_check(self) -> str | None:
        """What the comparison of the sales mart with the source finds otherwise at rest; None where they agree."""
        found = compare_sales(self.services.source, self.services.store, self.services.warehouse, self.start)
        told = [f"{date}: {found.expected(date)}, the mart {found.mart.get(date)}" for date in found.differing]
        return "; ".join(told) or None

    def _build(self, request: Request, act: Act, full_refresh: bool) -> None:
        built_manifest()
        selection = [f"source:shopstream.{BY_NAME[name].staging_table}+" for name in request.tables]
        failures = []
        with tempfile.TemporaryDirectory(prefix="dbt-") as target, dbt_watched(act):
            arguments = ["--quiet", *dbt_arguments(selection, request.window, target)]
            for event in run_dbt([*arguments, *(["--full-refresh"] if full_refresh else [])]):
                if event["info"]["name"] in FAILURE_EVENTS:
                    failures.append(" ".join(event["info"]["msg"].split()))
        if failures:
            raise Problem(" | ".join(failures[:5]), "correct the model or the rows it names.")


def _state(table: str, log: list[dict[str, Any]], columns: list[str], cursor: str) -> list[dict[str, Any]]:
    """The state that a log tells."""
    has_snapshots = bool(log) and "_snapshot" in log[0]
    order: Callable[[dict[str, Any]], Any] = (
        (lambda row: row["_snapshot"] or "")
        if has_snapshots
        else (lambda row: (row[cursor], row["_loaded_at"], row["_source_row"], row["_source_file"]))
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


def _stretches(days: Iterable[dt.date]) -> list[Window]:
    """Days in a row, as windows."""
    spans = ranges(str(day) for day in sorted(days))
    return [Window(dt.date.fromisoformat(first), dt.date.fromisoformat(last) + ONE_DAY) for first, last in spans]
