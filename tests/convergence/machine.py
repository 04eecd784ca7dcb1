"""Hypothesis drives a world: random operations on the source, random acts of operators, and rest as the demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from platform_under_test import ALL_TABLES, Layer
from small_shop import DAYS, KEYS, RELOADS, REWRITES, SPECIAL_MOMENTS, TIMES
from world import World

TABLES = st.sampled_from(ALL_TABLES)
# Orders and their lines are where figures come from.
BUSY = st.sampled_from(("orders", "order_items", "orders", "order_items", *ALL_TABLES))
BACK = st.integers(0, DAYS - 1)
DATED = st.builds(lambda back, time: f"-{back} {time}", BACK, st.sampled_from(TIMES))
MOMENTS = st.one_of(DATED, DATED, DATED, DATED, st.sampled_from(SPECIAL_MOMENTS))
MAYBE_DATED = st.one_of(st.none(), DATED)
VARIANTS = st.integers(0, 7)
WITHIN = st.sampled_from((None, None, None, "late", "later"))
TRANSACTIONS = st.sampled_from(("late", "later"))
# A row of a table: one of those that are there at first, or one more.
ROWS = BUSY.flatmap(lambda table: st.tuples(st.just(table), st.integers(1, KEYS[table] + 2)))
SUBSETS = st.one_of(
    st.just(ALL_TABLES), st.lists(BUSY, min_size=1, max_size=3, unique=True).map(lambda tables: tuple(sorted(tables)))
)
CUTS = st.integers(0, 90)
REDATED = ("users", "orders", "order_items")


class Machine(RuleBasedStateMachine):
    """The rules. A subclass is bound to services by `open_world`.

    `on_failure` keeps a failed world from ending the search: it is told of the failure, and the rest is skipped.
    """

    open_world: ClassVar[Callable[[], World]]
    on_failure: ClassVar[Callable[[World, Exception], None] | None] = None
    on_end: ClassVar[Callable[[World], None] | None] = None
    kills: ClassVar[bool] = False
    layers: ClassVar[Sequence[Layer]] = ("lake", "staging", "models")

    def __init__(self) -> None:
        super().__init__()
        self.world = type(self).open_world()
        self.failed = False

    def do(self, name: str, *args: Any, **kwargs: Any) -> None:
        if self.failed:
            return
        try:
            getattr(self.world, name)(*args, **kwargs)
        except Exception as error:
            self.failed = True
            if (told := type(self).on_failure) is None:
                raise
            told(self.world, error)

    def teardown(self) -> None:
        try:
            self.do("rest")
        finally:
            self.world.close()
            if told := type(self).on_end:
                told(self.world)

    @initialize(is_loaded=st.sampled_from((True, True, False)))
    def open_shop(self, is_loaded: bool) -> None:
        self.do("fill")
        if is_loaded:
            self.do("rest")

    @rule(row=ROWS, at=MOMENTS, variant=VARIANTS, within=WITHIN)
    def put(self, row: tuple[str, int], at: str, variant: int, within: str | None) -> None:
        self.do("put", *row, at=at, variant=variant, within=within)

    @rule(row=ROWS, variant=VARIANTS, within=WITHIN)
    def edit_quietly(self, row: tuple[str, int], variant: int, within: str | None) -> None:
        self.do("edit_quietly", *row, variant=variant, within=within)

    @rule(row=ROWS, to=MOMENTS, within=WITHIN)
    def move_cursor(self, row: tuple[str, int], to: str, within: str | None) -> None:
        self.do("move_cursor", *row, to=to, within=within)

    @rule(row=ROWS, to=st.sampled_from(SPECIAL_MOMENTS))
    def send_cursor_away(self, row: tuple[str, int], to: str) -> None:
        self.do("move_cursor", *row, to=to)

    @rule(row=ROWS, new=st.integers(1, 14), at=MAYBE_DATED, within=WITHIN)
    def change_key(self, row: tuple[str, int], new: int, at: str | None, within: str | None) -> None:
        self.do("change_key", *row, new=new, at=at, within=within)

    @rule(row=ROWS, within=WITHIN)
    def delete(self, row: tuple[str, int], within: str | None) -> None:
        self.do("delete", *row, within=within)

    @rule(table=BUSY, back=BACK, within=WITHIN)
    def delete_day(self, table: str, back: int, within: str | None) -> None:
        self.do("delete_day", table, back=back, within=within)

    @rule(table=BUSY, content=st.sampled_from(RELOADS), within=WITHIN)
    def truncate_and_reload(self, table: str, content: str, within: str | None) -> None:
        self.do("truncate_and_reload", table, content, within=within)

    @rule(table=BUSY, way=st.sampled_from(REWRITES))
    def rewrite(self, table: str, way: str) -> None:
        self.do("rewrite", table, way)

    @rule(row=ROWS, at=MAYBE_DATED, within=WITHIN)
    def break_rule(self, row: tuple[str, int], at: str | None, within: str | None) -> None:
        self.do("break_rule", *row, at=at, within=within)

    @rule(row=ROWS, at=MAYBE_DATED, within=WITHIN)
    def mend(self, row: tuple[str, int], at: str | None, within: str | None) -> None:
        self.do("mend", *row, at=at, within=within)

    @rule(line=st.integers(1, 12), order=st.integers(1, 8), at=MAYBE_DATED)
    def move_line(self, line: int, order: int, at: str | None) -> None:
        self.do("set_column", "order_items", line, "order_id", order, at=at)

    @rule(order=st.integers(1, 8), user=st.integers(1, 6), at=MAYBE_DATED)
    def move_order(self, order: int, user: int, at: str | None) -> None:
        self.do("set_column", "orders", order, "user_id", user, at=at)

    @rule(product=st.integers(1, 6), category=st.sampled_from(("books", "toys", "garden")), at=MAYBE_DATED)
    def recategorize(self, product: int, category: str, at: str | None) -> None:
        self.do("set_column", "products", product, "category", category, at=at)

    @rule(
        table=st.sampled_from(REDATED), key=st.integers(1, 8), created=st.one_of(DATED, st.just("long ago")), at=DATED
    )
    def redate(self, table: str, key: int, created: str, at: str) -> None:
        self.do("redate", table, key, created=created, at=at)

    @rule(order=st.integers(1, 9), at=DATED, variant=VARIANTS)
    def order_with_lines_in_one_transaction(self, order: int, at: str, variant: int) -> None:
        self.do("begin", "both")
        self.do("put", "orders", order, at=at, variant=variant, within="both")
        for line in (order, order + 9):
            self.do("put", "order_items", line, at=at, variant=variant, within="both")
            self.do("set_column", "order_items", line, "order_id", order, within="both")
        self.do("end", "both", commit=True)

    @rule(transaction=TRANSACTIONS)
    def begin(self, transaction: str) -> None:
        self.do("begin", transaction)

    @rule(transaction=TRANSACTIONS, commit=st.sampled_from((True, True, True, False)))
    def end(self, transaction: str, commit: bool) -> None:
        self.do("end", transaction, commit=commit)

    @rule(
        tables=SUBSETS,
        first=BACK,
        last=BACK,
        layers=st.permutations(("lake", "staging", "models")),
        n=st.integers(1, 3),
    )
    def materialize(self, tables: tuple[str, ...], first: int, last: int, layers: list[Layer], n: int) -> None:
        # Most operators take the layers in their order.
        chosen = [layer for layer in self.layers if layer in layers[:n]] if n > 1 else layers[:1]
        self.do("materialize", tables, first=first, last=last, layers=self._possible(chosen))

    @rule(tables=SUBSETS, first=BACK, last=BACK)
    def materialize_all_layers(self, tables: tuple[str, ...], first: int, last: int) -> None:
        self.do("materialize", tables, first=first, last=last, layers=self._possible(self.layers))

    @rule(tables=SUBSETS, first=BACK, last=BACK, layers=st.permutations(("lake", "staging", "models")))
    def materialize_in_any_order(self, tables: tuple[str, ...], first: int, last: int, layers: list[Layer]) -> None:
        self.do("materialize", tables, first=first, last=last, layers=self._possible(layers))

    @rule(tables=SUBSETS, first=BACK, last=BACK, cut=CUTS)
    def materialize_and_cancel(self, tables: tuple[str, ...], first: int, last: int, cut: int) -> None:
        layers = self._possible(self.layers)
        self.do("materialize", tables, first=first, last=last, layers=layers, interrupted=("cancel", cut))

    @precondition(lambda self: type(self).kills)
    @rule(tables=SUBSETS, first=BACK, last=BACK, cut=CUTS)
    def materialize_and_kill(self, tables: tuple[str, ...], first: int, last: int, cut: int) -> None:
        layers = self._possible(self.layers)
        self.do("materialize", tables, first=first, last=last, layers=layers, interrupted=("kill", cut))

    @rule(
        table=BUSY,
        first=BACK,
        last=BACK,
        at=st.integers(0, 40),
        layers=st.sampled_from((("lake",), ("staging",), ("lake", "staging"))),
        name=st.sampled_from(("slow", "slower")),
    )
    def materialize_slowly(
        self, table: str, first: int, last: int, at: int, layers: tuple[Layer, ...], name: str
    ) -> None:
        self.do("materialize", (table,), first=first, last=last, layers=layers, interrupted=("hold", at), held=name)

    @rule(name=st.sampled_from(("slow", "slower")))
    def release(self, name: str) -> None:
        self.do("release", name)

    @rule(tables=SUBSETS, first=BACK, last=BACK)
    def materialize_twice_at_once(self, tables: tuple[str, ...], first: int, last: int) -> None:
        self.do("materialize_twice_at_once", tables, first=first, last=last)

    @rule(table=BUSY, way=st.sampled_from(("alter column", *RELOADS)), first=BACK, last=BACK)
    def rewrite_under_extraction(self, table: str, way: str, first: int, last: int) -> None:
        self.do("rewrite_under_extraction", table, way, first=first, last=last)

    @rule(table=BUSY, back=BACK, what=st.sampled_from(("manifest", "objects")))
    def lose_object(self, table: str, back: int, what: str) -> None:
        self.do("lose_object", table, back=back, what=what)

    @rule(cut=st.one_of(st.none(), CUTS))
    def tick(self, cut: int | None) -> None:
        self.do("tick", interrupted=None if cut is None else ("cancel", cut))

    @precondition(lambda self: "models" in type(self).layers)
    @rule()
    def rebuild(self) -> None:
        self.do("rebuild")

    @rule()
    def rest(self) -> None:
        self.do("rest")

    def _possible(self, layers: Sequence[Layer]) -> list[Layer]:
        return [layer for layer in layers if layer in self.layers] or ["lake"]


class StagingMachine(Machine):
    """The same without dbt: the lake and staging alone, at a tenth of the time."""

    layers = ("lake", "staging")
