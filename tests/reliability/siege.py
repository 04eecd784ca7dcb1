"""One installation over a small shop, under writers, operators and kills; and the demand once they leave it alone."""

from __future__ import annotations

import datetime as dt
import os
import random
import re
import time
import urllib.error
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import psutil
import psycopg
from comparison import wrong_layers
from cut_line import CutLine
from dagster_process import FINISHED, Overdue, wait_for
from installation import BACKEND, COMMAND, KILLED, POSTGRES, RUN, WAREHOUSE, DidNotStart, Installation
from kills import Figures
from platform_under_test import ALL_TABLES, BY_NAME, Platform
from small_shop import DAYS, KEYS, SPECIAL_MOMENTS, TIMES, SmallShop

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.embedded import postgres, state, warehouse
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake.manifest import read_manifests
from shopstream_assets.platform.lake.verification import lake_differences
from shopstream_assets.platform.operate.failed_runs import failed_runs
from shopstream_assets.platform.operate.repair import days_by_asset

BUSY = ("orders", "order_items", *ALL_TABLES)
# Sensors that ask for days look every 5 and every 30 s, and the daemon for backfills every 30 s.
SENSORS_SECONDS = 75
# To ask what they will ask for reads every layer, on the cores that they need too.
LOOK_EVERY = 10
# A sensor asks for the same again after 10, 20, ... minutes, at most after 6 hours: nobody waits for that here.
SKIPPED = dt.timedelta(hours=7)
SKIPS = 6
# Runs that end again and again are no rest either: for so many times the patience.
OVERDUE = 3
MEMORIES = ("shopstream_changes", "shopstream_catch_up", "shopstream_days_to_repair", "shopstream_freshness")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)")
BACKFILLS_UNDER_WAY = ("REQUESTED", "CANCELING", "FAILING")
# What a client meets while the server is killed, or is on its way up.
AWAY = (psycopg.OperationalError, psycopg.InterfaceError)
PAGE_AWAY = (urllib.error.URLError, OSError, RuntimeError)

How = Literal["by itself", "by itself, at a later request", "after one command", "not recovered"]


@dataclass(frozen=True)
class Rest:
    """How a round came to rest: its seconds do not count waits of the sensors that were skipped."""

    how: How
    seconds: float
    waits: int
    commands: int
    restarts: int


class Siege:
    """An installation that is at rest whenever a round begins."""

    def __init__(self, installation: Installation, lines: Mapping[str, CutLine], patience: float) -> None:
        self.installation, self.page, self.lines, self.patience = installation, installation.page, lines, patience
        self.acts: list[str] = []
        self._today = dt.datetime.now(dt.UTC).date()
        self._start = self._today - ONE_DAY * (DAYS - 1)
        self._shop: SmallShop | None = None
        self._began = time.monotonic()
        self._restarts = 0
        self._ended = 0
        self._last: Rest | None = None
        self._killed: Counter[str] = Counter()
        self._bag: list[str] = []
        self._relations: set[tuple[str, str]] = set()
        self._settled: set[str] = set()

    @classmethod
    @contextmanager
    def laid(cls, folder: Path, patience: float) -> Iterator[Siege]:
        """A new installation over a filled shop, at rest; stopped after the block."""
        first = dt.datetime.now(dt.UTC).date() - ONE_DAY * (DAYS - 1)
        settings = {f"{name}_START_DATE": first.isoformat() for name in ("SHOPSTREAM", "STREAMVISION")}
        with ExitStack() as stack:

            def line_to(service: str) -> CutLine:
                return stack.enter_context(CutLine(lambda: _memory(installation).ports[service]).carrying())

            lines = {POSTGRES: line_to(postgres.NAME), WAREHOUSE: line_to(warehouse.NAME)}
            # The platform's way to the warehouse, not ours, goes over the line.
            settings |= {"SHOPSTREAM_SOURCE_MODE": "live", "SHOPSTREAM_SNOWFLAKE_PORT": str(lines[WAREHOUSE].port)}
            installation = Installation(folder, settings)
            stack.callback(installation.stop)
            os.environ.update(installation.start_services())
            siege = cls(installation, lines, patience)
            stack.callback(siege.close)
            siege._begin()
            yield siege

    def _begin(self) -> None:
        self._lead_over_the_line()
        self.shop.create()
        self.shop.fill()
        self.installation.start()
        self.page.switch_off_sensors("streamvision")
        services = Services.of(SHOPSTREAM)
        self.platform = Platform(services, self._start, with_models=True)
        rest = self.rest()
        if rest.how == "not recovered" or (wrong := list(self.wrong(rest, begun=time.time()))):
            raise AssertionError(f"the shop does not come to rest before anything is killed: {rest} {wrong}")
        self._relations = self._warehouse_tables()

    def _lead_over_the_line(self) -> None:
        """The platform's way to the shop, not ours, goes over the line: its port wins over the one before it."""
        memory = _memory(self.installation)
        memory.businesses["shopstream"].source_database += f"?port={self.lines[POSTGRES].port}"
        state.remember(self.installation.home, memory)
        self.installation.variables()

    def close(self) -> None:
        if self._shop is not None:
            self._shop.close()

    @property
    def shop(self) -> SmallShop:
        """The shop, on a connection that is open unless its server has died since."""
        if self._shop is None:
            dsn = os.environ["SHOPSTREAM_POSTGRES_DSN"].partition("?")[0]
            self._shop = SmallShop(dsn, "public", self._today)
        return self._shop

    def summary(self) -> str:
        """What became of the last round."""
        killed = ", ".join(f"{name} {count}" for name, count in self._killed.items())
        return f"killed {killed}; {self._last}"

    # A round.

    def round(self, chance: random.Random, kills: int, figures: Figures) -> list[str]:
        """Kill as many processes, at work; returns what is wrong at rest after that, a sentence each."""
        self.acts, self._restarts, self._began, begun = [], 0, time.monotonic(), time.time()
        self._killed, self._last = Counter(), None
        try:
            self._attack(chance, kills, figures)
            wrong = self._left_alone(figures, begun)
        except DidNotStart as error:
            wrong = [str(error)]
        figures.recovered["not recovered" if wrong or not self._last else self._last.how] += 1
        figures.acts["restarts of the command by its operator"] += self._restarts
        return wrong

    def _attack(self, chance: random.Random, kills: int, figures: Figures) -> None:
        for _ in range(chance.randint(3, 10)):
            self._change(chance)
        self._operate(chance, figures)
        while kills:
            # Into every moment of a run, which takes some ten seconds.
            time.sleep(chance.uniform(0, 7))
            for _ in range(chance.randint(0, 3)):
                self._change(chance)
            act = chance.random()
            if act < 0.25:
                self._operate(chance, figures)
            elif act < 0.35:
                self._cancel(chance, figures)
            elif act < 0.5:
                self._trouble_the_line(chance, figures)
            role = self._drawn(chance)
            if self._kill(role, chance):
                figures.kills[role] += 1
                self._killed[role] += 1
                kills -= 1

    def _left_alone(self, figures: Figures, begun: float) -> list[str]:
        self._note("left alone")
        self._last = rest = self.rest()
        # Its server may have died since it was last used.
        self.close()
        self._shop = None
        figures.seconds.append(rest.seconds)
        figures.acts["waits of sensors skipped"] += rest.waits
        wrong = [] if rest.how == "not recovered" else list(self.wrong(rest, begun))
        if rest.how == "not recovered":
            wrong = ["no rest: " + "; ".join(self._busy() or self._asked() or ["it has come since"])]
        self._count_ends(figures, begun)
        return wrong

    def _drawn(self, chance: random.Random) -> str:
        """A role; each before any comes again."""
        if not self._bag:
            self._bag = list(KILLED)
            chance.shuffle(self._bag)
        return self._bag.pop()

    def _note(self, act: str) -> None:
        self.acts.append(f"{time.monotonic() - self._began:6.1f} s  {act}")
        # Beside the logs, for whoever wonders what it waits for.
        with (self.installation.logs / "acts.log").open("a") as file:
            file.write(f"{dt.datetime.now(dt.UTC):%H:%M:%S}  {act}\n")

    # Writers.

    def _change(self, chance: random.Random) -> None:
        """One commit."""
        name, table, args = drawn_change(chance)
        try:
            getattr(self.shop, name)(table, *args)
            self._note(f"{name} {table} {args}")
        except AWAY as error:
            self._shop = None
            self._note(f"{name} {table} {args}: not done, {type(error).__name__}")

    # Operators.

    def _operate(self, chance: random.Random, figures: Figures) -> None:
        """A backfill, or one run, of some assets for some days, as the page asks for it."""
        layer = chance.choice((None, None, "lake", "staging", "core", "marts"))
        table = chance.choice((None, None, *ALL_TABLES))
        days = [str(self._start + ONE_DAY * n) for n in range((dt.datetime.now(dt.UTC).date() - self._start).days + 1)]
        chosen = sorted(chance.sample(days, chance.randint(1, len(days))))
        single = chance.random() < 0.5
        try:
            assets = [path for path in self.page.assets() if path[0] == "shopstream" and path[1] != "operations"]
            if layer:
                assets = [path for path in assets if path[1] == layer]
            elif table:
                # Without a gap: what lies behind one Dagster never asks for, and says that the backfill completed.
                built = ("core", "models", "marts")
                assets = [path for path in assets if path[1] in built or path[2] == table]
            if single:
                told = self.page.launch(assets, chosen[0], chosen[-1])
                figures.acts["runs launched"] += 1
            else:
                told = self.page.backfill(assets, chosen)
                figures.acts["backfills launched"] += 1
            what = f"{'run' if single else 'backfill'} {told}: {layer or table or 'everything'} {chosen}"
            self._note(what)
        except PAGE_AWAY as error:
            self._note(f"the page does not answer: {str(error)[:100]}")

    def _cancel(self, chance: random.Random, figures: Figures) -> None:
        try:
            open_runs = [run for run in self.page.runs() if run["status"] not in FINISHED]
            if open_runs:
                run = chance.choice(open_runs)
                self.page.terminate(run["runId"])
                figures.acts["runs terminated"] += 1
                self._note(f"terminate run {run['runId']} ({run['status']})")
        except PAGE_AWAY as error:
            self._note(f"not terminated: {str(error)[:200]}")

    def _trouble_the_line(self, chance: random.Random, figures: Figures) -> None:
        how, seconds = chance.choice(("cut", "held, then cut", "held")), chance.uniform(1, 12)
        whose = chance.choice((POSTGRES, WAREHOUSE))
        line = self.lines[whose]
        self._note(f"the line to {whose} is {how}" + ("" if how == "cut" else f" after {seconds:.0f} s"))
        figures.acts[f"connections to {whose} {how}"] += 1
        if how != "cut":
            line.hold()
            time.sleep(seconds)
        if how != "held":
            line.cut()
        line.release()

    # Kills.

    def _kill(self, role: str, chance: random.Random) -> bool:
        """Kill a process of a role, as soon as there is one; whether there was."""
        after = chance.uniform(0, 6)
        try:
            victims = wait_for(lambda: self._up().get(role), role, 60 if role == RUN else 30)
            if role == RUN:
                time.sleep(after)
                victims = self.installation.processes()[role]
            victim: psutil.Process = chance.choice(sorted(victims, key=lambda each: each.pid))
            told = " ".join(victim.cmdline())[:60] if role == BACKEND else ""
            self.installation.kill(victim)
        except (Overdue, psutil.NoSuchProcess, ProcessLookupError, IndexError):
            self._note(f"{role}: there is none to kill")
            return False
        self._note(f"kill -9 {role} ({victim.pid}) {told}")
        if role == COMMAND:
            time.sleep(chance.uniform(0, 10))
            self._up()
        return True

    def _up(self) -> dict[str, list[psutil.Process]]:
        """The processes; an operator starts the command again that has ended."""
        if not self.installation.runs():
            self._note(f"the operator starts the command again; it said: {self.installation.said()[-200:]!r}")
            self._restarts += 1
            self.installation.start()
        return self.installation.processes()

    # Rest.

    def rest(self) -> Rest:
        """Wait until nothing is under way and nothing is asked for."""
        begun, waits, commands = time.monotonic(), 0, 0
        skipped, audited, ended, moved_at = 0.0, False, self._ended, begun
        idle_since: float | None = None
        look_at = begun
        how: How = "by itself"
        while True:
            now = time.monotonic()
            if self._busy():
                idle_since, look_at = None, now
            elif not audited:
                # What was deleted is looked for once an hour: let that be now.
                audited = self._skip_waits(("shopstream_changes",))
            else:
                idle_since = idle_since or now
                if now >= look_at:
                    if not self._asked() and not self._busy():
                        return Rest(how, time.monotonic() - begun - skipped, waits, commands, self._restarts)
                    look_at = time.monotonic() + LOOK_EVERY
                if now - idle_since > SENSORS_SECONDS and waits < SKIPS:
                    self._note(f"nobody asks for {self._asked()[:3]}: the sensors' waits are skipped")
                    skipped += now - idle_since
                    waits, idle_since = waits + 1, None
                    how = "by itself, at a later request"
                    self._skip_waits(MEMORIES)
            if ended != self._ended:
                # On a busy machine a backfill takes its time; it is not stuck as long as its runs end.
                ended, moved_at = self._ended, now
            is_stuck = now - moved_at > self.patience or now - begun > OVERDUE * self.patience * (1 + commands)
            if is_stuck or (waits >= SKIPS and idle_since and now - idle_since > SENSORS_SECONDS):
                if commands:
                    return Rest("not recovered", now - begun, waits, commands, self._restarts)
                commands, how = 1, "after one command"
                self._note(f"not at rest: {(self._busy() or self._asked())[:5]}")
                self._repair()
                moved_at = time.monotonic()
            time.sleep(2)

    def _busy(self) -> list[str]:
        """What is under way."""
        try:
            self._up()
            found = self.page.runs()
            under_way = [run for run in found if run["status"] not in FINISHED]
            self._ended = len(found) - len(under_way)
            runs = [f"run {run['runId']} is {run['status']}" for run in under_way]
            backfills = [
                f"backfill {each['id']} is {each['status']}"
                for each in self._backfills()
                if each["status"] in BACKFILLS_UNDER_WAY
            ]
            return runs + backfills
        except PAGE_AWAY as error:
            return [f"the page does not answer: {str(error)[:200]}"]

    def _asked(self) -> list[str]:
        """What the sensors will ask for, sooner or later."""
        try:
            asked = [str(request) for run in self.platform.ask() for request in run]
            if self.platform.faults:
                return [f"{table}: {fault}" for table, fault in self.platform.faults.items()]
            return asked or list(self._listed())
        except (Problem, *AWAY, OSError) as error:
            return [f"cannot be told: {type(error).__name__}: {error}"[:500]]

    def _listed(self) -> Iterator[str]:
        """The days to repair."""
        with dg.DagsterInstance.get() as instance:
            from platform_under_test import _graph

            for key, days in days_by_asset(instance, _graph(), dt.datetime.now(dt.UTC)).items():
                if days.to_repair or days.running:
                    yield f"{key.to_user_string()} lists {days.to_repair}, under way {days.running}"

    def _skip_waits(self, names: Sequence[str]) -> bool:
        """Let the sensors take for long ago whatever they remember; whether the page could be asked."""
        query = (
            "query($s: RepositorySelector!) { sensorsOrError(repositorySelector: $s) { ... on Sensors { results {"
            " name sensorState { typeSpecificData { ... on SensorData { lastCursor } } } } } } }"
        )
        where = {"repositoryLocationName": "shopstream", "repositoryName": "__repository__"}
        store = (
            "mutation($s: SensorSelector!, $c: String) { setSensorCursor(sensorSelector: $s, cursor: $c) {"
            " __typename } }"
        )
        try:
            for sensor in self.page.ask(query, s=where)["sensorsOrError"]["results"]:
                data = sensor["sensorState"]["typeSpecificData"] or {}
                cursor = data.get("lastCursor")
                if sensor["name"] in names and cursor:
                    earlier = TIMESTAMP.sub(lambda found: _earlier(found.group()), cursor)
                    self.page.ask(store, s={**where, "sensorName": sensor["name"]}, c=earlier)
        except PAGE_AWAY:
            return False
        return True

    def _repair(self) -> None:
        """What docs/backfills.md has an operator type: everything, for all days."""
        today = dt.datetime.now(dt.UTC).date()
        select = ["--select", "*", "--partition-range", f"{self._start}...{today}"]
        told = self.installation.type_dagster("asset", "materialize", "-m", SHOPSTREAM.module, *select)
        self._note(f"dagster asset materialize {' '.join(select)}: {told.returncode} {told.stderr[-300:]!r}")

    # The demand.

    def wrong(self, rest: Rest, begun: float) -> Iterator[str]:
        """What is not as it must be at rest. `begun` is when the round did (seconds of the epoch)."""
        try:
            yield from wrong_layers(self.shop, self.platform)
        except AssertionError as error:
            yield str(error)
        yield from self.wrong_lake()
        yield from self._wrong_dagster(begun)
        if self._relations:
            yield from (
                f"{'.'.join(name)} is left in the warehouse" for name in self._warehouse_tables() - self._relations
            )
        for query, what in (
            ("select pid from pg_locks where locktype = 'advisory'", "advisory locks are held"),
            (
                "select pid from pg_stat_activity where datname = 'shop' and state like 'idle in transaction%'",
                "transactions are open in the shop",
            ),
        ):
            if found := self.shop.rows(query):
                yield f"{what} by {found}"
        # A run's process ends a moment after Dagster knows of its end.
        with suppress(Overdue):
            wait_for(lambda: not list(self.installation.left_over()), "nothing to be left", 30)
        yield from self.installation.left_over()

    def wrong_lake(self) -> Iterator[str]:
        store = self.platform.services.store
        now = dt.datetime.now(dt.UTC)
        window = Window(self._start, now.date() + ONE_DAY)
        for table in BY_NAME.values():
            manifests = [found for found in read_manifests(store, table, window.days).values() if found]
            yield from (f"lake of {table.name}: {told}" for told in lake_differences(store, manifests))

    def _wrong_dagster(self, begun: float) -> Iterator[str]:
        with dg.DagsterInstance.get() as instance:
            slots = instance.event_log_storage
            for pool in ("shopstream_warehouse", "streamvision_warehouse"):
                with suppress(Overdue):
                    wait_for(lambda pool=pool: not slots.get_concurrency_info(pool).claimed_slots, "the slot", 30)
                info = slots.get_concurrency_info(pool)
                if info.claimed_slots or info.pending_steps:
                    yield f"pool {pool} is taken by {info.claimed_slots}, waited for by {info.pending_steps}"
            for each in self._backfills():
                if each["id"] not in self._settled:
                    yield from self._lie(instance, each)
                    self._settled.add(each["id"])

    def _lie(self, instance: dg.DagsterInstance, backfill: dict[str, Any]) -> Iterator[str]:
        """How a backfill ended otherwise than it says."""
        runs = self.page.runs(dagster__backfill=backfill["id"])
        told = f"backfill {backfill['id']} is {backfill['status']}"
        if backfill["status"] == "COMPLETED_SUCCESS":
            since = float(backfill["timestamp"])
            for path in backfill["assetSelection"]:
                key = dg.AssetKey(path["path"])
                done: set[str] = set()
                for day in backfill["partitionNames"] or []:
                    records = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[day], after_timestamp=since)
                    if instance.fetch_materializations(records, limit=1).records:
                        done.add(day)
                if missing := set(backfill["partitionNames"] or []) - done:
                    yield f"{told}, and {key.to_user_string()} was not materialized by it for {sorted(missing)}"
        elif backfill["status"] in ("FAILED", "COMPLETED_FAILED", "CANCELED"):
            attempts = {run["tags"].get("dagster/root_run_id", run["runId"]): run["status"] for run in runs}
            if runs and all(status == "SUCCESS" for status in attempts.values()):
                yield f"{told}, and all of its runs succeeded"
            if not runs:
                yield f"{told}, and had no run: {backfill['error']}"

    def _backfills(self) -> list[dict[str, Any]]:
        query = (
            "{ partitionBackfillsOrError(limit: 200) { ... on PartitionBackfills { results { id status timestamp"
            " partitionNames assetSelection { path } error { message } } } } }"
        )
        found: list[dict[str, Any]] = self.page.ask(query)["partitionBackfillsOrError"]["results"]
        return found

    def _count_ends(self, figures: Figures, begun: float) -> None:
        with suppress(*PAGE_AWAY):
            figures.backfills.update(each["status"] for each in self._backfills() if each["timestamp"] >= begun)
            figures.runs.update(run["status"] for run in self.page.runs() if run["creationTime"] >= begun)
            with dg.DagsterInstance.get() as instance:
                left = failed_runs(instance, dt.datetime.now(dt.UTC), "shopstream")
            figures.acts["failed runs that `shopstream status` lists at the end"] = len(left)

    def _warehouse_tables(self) -> set[tuple[str, str]]:
        warehouse = self.platform.services.warehouse
        with warehouse.connection(REPORTING) as session, session.cursor() as cursor:
            cursor.execute(
                f"select table_schema, table_name from {warehouse.database}.information_schema.tables "
                "where table_schema in ('RAW', 'STAGING', 'CORE', 'MARTS')"
            )
            return {(str(schema), str(name)) for schema, name in cursor.fetchall()}


def drawn_change(chance: random.Random) -> tuple[str, str, tuple[Any, ...]]:
    """Something that a writer does in one commit: the method of SmallShop, its table, and the rest."""
    table = chance.choice(BUSY)
    key, variant = chance.randint(1, KEYS[table] + 2), chance.randrange(8)
    dated = f"-{chance.randrange(DAYS)} {chance.choice(TIMES)}"
    at = chance.choice((dated, dated, dated, "-0 00:00", chance.choice(SPECIAL_MOMENTS)))
    name, args = chance.choice(
        (
            ("put", (key, at, variant)),
            ("put", (key, at, variant)),
            ("put", (key, dated, variant)),
            ("edit_quietly", (key, variant)),
            ("move_cursor", (key, at)),
            ("delete", (key,)),
            ("change_key", (key, chance.randint(1, 14), chance.choice((None, dated)))),
            ("break_rule", (key, dated)),
            ("mend", (key, dated)),
            ("truncate_and_reload", (chance.choice(("the same rows", "new content", "every other row")),)),
        )
    )
    return name, table, args


def _earlier(timestamp: str) -> str:
    return (dt.datetime.fromisoformat(timestamp.replace("Z", "+00:00")) - SKIPPED).isoformat().replace("+00:00", "Z")


def _memory(installation: Installation) -> state.Memory:
    memory = state.recall(installation.home)
    assert memory is not None
    return memory
