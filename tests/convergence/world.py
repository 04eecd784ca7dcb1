"""A shop, the platform over it and its operators: what may happen, as steps that can be written down and replayed.

`rest` is the demand: with every transaction ended and every act finished, automation does what it asks for until it
asks for nothing, and then every layer holds exactly what plain SQL computes from Postgres.
"""

from __future__ import annotations

import datetime as dt
import functools
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec

import oracle
import psycopg
from comparison import wrong_layers
from interruption import PATIENCE, Act, Cancelled, How, Interruption
from kill import Forge
from platform_under_test import ALL_TABLES, LAYERS, ONE_WRITER, Layer, Platform, Request, Run
from small_shop import DAYS, KEYS, SmallShop

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.tables import TABLES
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake.manifest import partition_prefix

# Asking this often for more is no rest.
ROUNDS = 10
Step = tuple[str, tuple[Any, ...], dict[str, Any]]
P = ParamSpec("P")


class NotConverged(AssertionError):
    """A layer differs from what the source says, or automation does not come to rest."""


def step(method: Callable[Concatenate[World, P], None]) -> Callable[Concatenate[World, P], None]:
    """A step of a sequence: it is written down before it is taken."""

    @functools.wraps(method)
    def taken(self: World, *args: P.args, **kwargs: P.kwargs) -> None:
        if not self._inside:
            self.steps.append((method.__name__, args, dict(kwargs)))
        self.is_at_rest = False
        before, self._inside = self._inside, True
        try:
            method(self, *args, **kwargs)
        finally:
            self._inside = before

    return taken


@dataclass
class Held:
    """An act that runs in a thread of its own, and is held."""

    act: Act
    thread: threading.Thread
    requests: Run
    failure: list[BaseException] = field(default_factory=list)


class World:
    """One shop with its platform, from empty services on. Everything is forgotten when it is opened again."""

    def __init__(self, services: Services, with_models: bool = True, forge: Forge | None = None) -> None:
        self.services, self.forge = services, forge
        self.shop = SmallShop(services.source.dsn, services.source.schema_name)
        self.platform = Platform(services, self.shop.start, with_models)
        self.with_models = with_models
        self.steps: list[Step] = []
        self.told: list[str] = []
        # How many acts came to the point where they were to be cancelled, killed or held.
        self.cuts: Counter[How] = Counter()
        self.points = 0
        self.is_at_rest = False
        self._inside = False
        self._held: dict[str, Held] = {}
        self._absent: dict[str, set[Any]] = {table: set() for table in ALL_TABLES}
        self.shop.create()
        self._empty_bucket()
        self.platform.reset_warehouse()

    def close(self) -> None:
        self._let_all_go()
        self.shop.close()

    # The source.

    @step
    def fill(self) -> None:
        """Some rows in each table, over all days."""
        self.shop.fill()

    @step
    def restore(self) -> None:
        """The rows of `fill` and no others."""
        for table in ALL_TABLES:
            self.shop.delete_all_but(table, KEYS[table])
        self.shop.fill()
        self._note_absent(ALL_TABLES)

    @step
    def put(self, table: str, key: int, at: str, variant: int = 0, within: str | None = None) -> None:
        self._change(self.shop.put, table, key, at, variant, within=within)

    @step
    def edit_quietly(self, table: str, key: int, variant: int, within: str | None = None) -> None:
        self._change(self.shop.edit_quietly, table, key, variant, within=within)

    @step
    def move_cursor(self, table: str, key: int, to: str, within: str | None = None) -> None:
        self._change(self.shop.move_cursor, table, key, to, within=within)

    @step
    def change_key(self, table: str, key: int, new: int, at: str | None = None, within: str | None = None) -> None:
        self._change(self.shop.change_key, table, key, new, at, within=within)

    @step
    def delete(self, table: str, key: int, within: str | None = None) -> None:
        self._change(self.shop.delete, table, key, within=within)

    @step
    def delete_day(self, table: str, back: int, within: str | None = None) -> None:
        self._change(self.shop.delete_day, table, back, within=within)

    @step
    def truncate_and_reload(self, table: str, content: str, within: str | None = None) -> None:
        self._change(self.shop.truncate_and_reload, table, content, within=within)

    @step
    def rewrite(self, table: str, way: str) -> None:
        self._change(self.shop.rewrite, table, way)

    @step
    def break_rule(self, table: str, key: int, at: str | None = None, within: str | None = None) -> None:
        self._change(self.shop.break_rule, table, key, at, within=within)

    @step
    def mend(self, table: str, key: int, at: str | None = None, within: str | None = None) -> None:
        self._change(self.shop.mend, table, key, at, within=within)

    @step
    def set_column(
        self, table: str, key: int, column: str, value: Any, at: str | None = None, within: str | None = None
    ) -> None:
        self._change(self.shop.set_column, table, key, column, value, at, within=within)

    @step
    def redate(self, table: str, key: int, created: str, at: str | None = None, within: str | None = None) -> None:
        self._change(self.shop.redate, table, key, created, at, within=within)

    @step
    def begin(self, transaction: str) -> None:
        """Open a transaction in the source."""
        self.shop.begin(transaction)

    @step
    def end(self, transaction: str, commit: bool) -> None:
        """Commit it, or roll it back."""
        self.shop.end(transaction, commit)
        self._note_absent(ALL_TABLES)

    # The operators.

    @step
    def materialize(
        self,
        tables: Collection[str] = ALL_TABLES,
        first: int = DAYS - 1,
        last: int = 0,
        layers: Sequence[Layer] = LAYERS,
        interrupted: tuple[How, int] | None = None,
        held: str | None = None,
        full_refresh: bool = False,
    ) -> None:
        """Materialize tables from the day `first` days ago to the day `last` days ago, in the layers' order given.

        `interrupted` cuts the act at a point (see interruption.py). `held` names an act that goes on in the background
        from the point where it is held, until `release`. A step that fails ends the act; an operator may ask for what
        cannot be.
        """
        run = [Request(layer, tuple(tables), self._window(first, last)) for layer in layers]
        if interrupted and interrupted[0] == "kill":
            self._kill(run, interrupted[1], full_refresh)
            return
        if interrupted and interrupted[0] == "hold":
            self._hold(held or "act", run, Interruption(*interrupted), full_refresh)
            return
        self._attempt(run, Act(Interruption(*interrupted) if interrupted else None), full_refresh)

    @step
    def release(self, held: str) -> None:
        """Let an act go on that is held, and wait for its end."""
        if act := self._held.pop(held, None):
            self._let_go(act)

    @step
    def materialize_twice_at_once(
        self, tables: Collection[str], first: int, last: int, layers: Sequence[Layer] = ("lake", "staging")
    ) -> None:
        """Two operators materialize the same at the same time."""
        run = [Request(layer, tuple(tables), self._window(first, last)) for layer in layers]
        self._make_way(run)
        acts = [self._start(run, Act(), False) for _ in range(2)]
        for act in acts:
            self._join(act)

    @step
    def rewrite_under_extraction(self, table: str, way: str, first: int, last: int) -> None:
        """Materialize in the lake while the table is being rewritten or truncated; that commits only then."""
        run = [Request("lake", (table,), self._window(first, last))]
        self._make_way(run)
        try:
            with self.shop.locked_rewrite(table, way) as is_waited_for:
                started = self._start(run, Act(), False)
                while started.thread.is_alive() and not is_waited_for():
                    started.thread.join(0.01)
        finally:
            self._note_absent([table])
        self._join(started)

    @step
    def lose_object(self, table: str, back: int, what: str) -> None:
        """Delete from the bucket what a partition of the lake consists of: its "manifest" or its "objects"."""
        source = next(each for each in TABLES if each.name == table)
        prefix, day = partition_prefix(source, self.shop.day(back)), str(self.shop.day(back))
        for key in [key for key, *_ in self.services.store.listed(source.lake_prefix) if day in key]:
            if key.endswith(".json") if what == "manifest" else key.startswith(prefix) and key.endswith(".parquet"):
                self.services.store.client.delete_object(Bucket=self.services.store.bucket, Key=key)

    @step
    def rebuild(self) -> None:
        """A full refresh of all models."""
        self._attempt([Request("models", ALL_TABLES, self._window(DAYS - 1, 0))], Act(), True)

    @step
    def tick(self, interrupted: tuple[How, int] | None = None) -> None:
        """Automation asks once, and gets what it asks for; the first of its runs may be cut."""
        for run in self._asked():
            self._attempt(run, Act(Interruption(*interrupted) if interrupted else None), False)
            interrupted = None

    @step
    def rest(self) -> None:
        """Automation comes to rest, and every layer equals what plain SQL computes from the source."""
        self._let_all_go()
        self.shop.end_all()
        self._note_absent(ALL_TABLES)
        failures: list[str] = []
        for _ in range(ROUNDS):
            runs = self._asked()
            if self.platform.faults:
                raise NotConverged(f"tables cannot be looked at: {self.platform.faults}")
            if not runs:
                break
            failures = [told for run in runs if (told := self._attempt(run, Act(), False))]
        else:
            asked = "; ".join(str(request) for run in runs for request in run)
            raise NotConverged(
                f"automation does not come to rest: after {ROUNDS} rounds it asks for {asked}. "
                f"Last failures: {failures or 'none'}"
            )
        self._compare()
        self._absent = {table: set() for table in ALL_TABLES}
        self._note_absent(ALL_TABLES)
        self.is_at_rest = True

    def _compare(self) -> None:
        told = wrong_layers(self.shop, self.platform)
        if told:
            raise NotConverged("at rest:\n  " + "\n  ".join(told))

    def _change(self, operation: Callable[..., None], table: str, *args: Any, **kwargs: Any) -> None:
        operation(table, *args, **kwargs)
        # Also where it names a transaction: one that was never begun has committed at once.
        self._note_absent([table])

    def _note_absent(self, tables: Iterable[str]) -> None:
        """Remember the keys that are not there or may not travel: they may be missing in staging for a while."""
        for table in tables:
            keys = f"{oracle.arrived(self.shop.start)} select id from {table}"
            try:
                here = {key for (key,) in self.shop.rows(keys)}
            except psycopg.errors.LockNotAvailable:
                # An open transaction has truncated it: nobody else can change it, and the end of that one is noted.
                continue
            self._absent[table] |= set(range(200)) - here

    def _asked(self) -> list[Run]:
        return self.platform.ask()

    def _window(self, first: int, last: int) -> Window:
        end = self.shop.day(min(first, last)) + ONE_DAY
        return Window.seen_at(self.shop.day(max(first, last)), end, dt.datetime.now(dt.UTC))

    def _attempt(self, run: Run, act: Act, full_refresh: bool) -> str | None:
        """Carry out a run up to its first failure; returns what failed. What staging held must not vanish by it."""
        self._make_way(run)
        staged = sorted({table for request in run if request.layer == "staging" for table in request.tables})
        before = self.platform.staged_state(staged)
        told: str | None = None
        try:
            for request in run:
                self.platform.materialize(request, act, full_refresh)
        except (Problem, Cancelled) as error:
            told = f"{type(error).__name__}: {error}"
            self.told.append(told)
            if isinstance(error, Cancelled):
                self.cuts["cancel"] += 1
        finally:
            self.points = max(self.points, act.points)
        after = self.platform.staged_state(staged)
        for table in staged:
            vanished = {row["id"] for row in before[table]} - {row["id"] for row in after[table]} - self._absent[table]
            if vanished:
                raise NotConverged(
                    f"keys {sorted(vanished)} of {table} were in staging and have been in the source all the time, but "
                    f"{'; '.join(map(str, run))} made them vanish"
                )
        return told

    def _start(self, run: Run, act: Act, full_refresh: bool) -> Held:
        failure: list[BaseException] = []

        def work() -> None:
            try:
                for request in run:
                    self.platform.materialize(request, act, full_refresh)
            # The thread's own end: what it raised is judged by `_join`.
            except BaseException as error:  # noqa: BLE001
                failure.append(error)
            finally:
                act.held.set()

        thread = threading.Thread(target=work, name="operator", daemon=True)
        thread.start()
        return Held(act, thread, run, failure)

    def _hold(self, name: str, run: Run, interruption: Interruption, full_refresh: bool) -> None:
        if name in self._held:
            self.release(name)
        self._make_way(run)
        started = self._start(run, Act(interruption), full_refresh)
        if not started.act.held.wait(PATIENCE):
            raise TimeoutError(
                f"an act neither came to its point {interruption.at} nor ended: {started.act.passed[-3:]}"
            )
        self.cuts["hold"] += started.act.points > interruption.at
        self._held[name] = started

    def _let_go(self, held: Held) -> None:
        held.act.released.set()
        self._join(held)

    def _join(self, held: Held) -> None:
        held.thread.join(PATIENCE)
        if held.thread.is_alive():
            raise TimeoutError(f"an act does not end: {held.act.passed[-3:]}")
        self.points = max(self.points, held.act.points)
        unexpected = [error for error in held.failure if not isinstance(error, (Problem, Cancelled))]
        if unexpected:
            raise unexpected[0]
        self.told += [str(error) for error in held.failure]

    def _make_way(self, run: Run) -> None:
        """Held acts that would keep a run waiting go on: theirs is the pool, a lock, or the turn of a table."""
        writes = any(request.layer != "lake" for request in run)
        reads = {table for request in run if request.layer == "lake" for table in request.tables}
        for name, held in list(self._held.items()):
            has_pool = ONE_WRITER and any(request.layer != "lake" for request in held.requests)
            has_turn = held.act.reading and reads & {table for request in held.requests for table in request.tables}
            if (writes and (has_pool or held.act.in_transaction)) or has_turn:
                self._held.pop(name)
                self._let_go(held)

    def _let_all_go(self) -> None:
        for name in list(self._held):
            self._let_go(self._held.pop(name))

    def _kill(self, run: Run, at: int, full_refresh: bool) -> None:
        assert self.forge, "a world without a forge has no process to kill"
        self._make_way(run)
        self.cuts["kill"] += self.forge.kill(self.services, self.shop.start, run, at, full_refresh)

    def _empty_bucket(self) -> None:
        store = self.services.store
        keys = [{"Key": key} for key, *_ in store.listed("")]
        for first in range(0, len(keys), 1000):
            store.client.delete_objects(Bucket=store.bucket, Delete={"Objects": keys[first : first + 1000]})  # type: ignore[typeddict-item]


def told_step(taken: Step) -> str:
    """A step as a line of Python."""
    name, args, kwargs = taken
    return f"world.{name}({', '.join([*map(repr, args), *(f'{key}={value!r}' for key, value in kwargs.items())])})"


def take(world: World, taken: Step) -> None:
    name, args, kwargs = taken
    getattr(world, name)(*args, **kwargs)
