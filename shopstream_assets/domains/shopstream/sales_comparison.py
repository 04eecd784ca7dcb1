"""Sales by order date, in Postgres and in the mart, and which of their differences are faults.

Both sides move while the shop is open. A date that agrees is right, whatever moved. One that differs is a fault only
where nothing moved: every day that its orders and lines lie on looks in the source as the lake's manifest says
(`fingerprints`), and the mart was built from that very manifest (CORE.BUILT_PARTITIONS). So the days are looked
at for differing dates alone, in the snapshot in which they differed.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from shopstream_assets.domains.shopstream.tables import EXCHANGE_RATES, ORDER_ITEMS, ORDERS
from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.declare.tables import SourceTable, literal, snowflake_name
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake.manifest import published, readable_manifests
from shopstream_assets.platform.sources.postgres.cursor import within
from shopstream_assets.platform.sources.reading import EMPTY
from shopstream_assets.platform.sources.snapshot import Snapshot
from shopstream_assets.platform.staging.change_log import staging_relation
from shopstream_assets.platform.staging.ledger import built_relation, create_ledgers, loaded_relation, one_state
from shopstream_assets.platform.transform.comparison import settled_days

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

    from shopstream_assets.platform.lake.object_store import ObjectStoreResource
    from shopstream_assets.platform.sources.port import SourceReader
    from shopstream_assets.platform.sources.postgres.reader import PostgresReader
    from shopstream_assets.platform.sources.postgres.reading import PostgresReading
    from shopstream_assets.platform.sources.postgres.resource import PostgresResource
    from shopstream_assets.platform.staging.warehouse import WarehouseResource

TABLES = (ORDERS, ORDER_ITEMS, EXCHANGE_RATES)
MODELS = ("fact_order_items", "fact_orders", "mart_sales_overview")
RELATIONS = ("CORE.FACT_ORDERS", "CORE.FACT_ORDER_ITEMS", "MARTS.MART_SALES_OVERVIEW")

Place = tuple[str, dt.date]
"""A table and a day (UTC): a partition."""


@dataclass(frozen=True)
class Sales:
    """Orders that count as a sale, and their net revenue in EUR; docs/marts.md defines both.

    An amount that is no number (NaN, infinity) adds nothing; an order without a rate for its currency is no sale.
    `lines` counts lines in quarantine, no others.
    """

    orders: int = 0
    revenue: Decimal = Decimal(0)
    lines: int = 0

    def __add__(self, other: Sales) -> Sales:
        return Sales(self.orders + other.orders, self.revenue + other.revenue, self.lines + other.lines)

    def __sub__(self, other: Sales) -> Sales:
        return Sales(self.orders - other.orders, self.revenue - other.revenue)

    def __str__(self) -> str:
        return f"{self.orders} orders and {self.revenue} EUR"


NOTHING = Sales()
Totals = Mapping[dt.date, Sales]


@dataclass(frozen=True)
class Drift:
    """How the days of a table compare with the lake: those that differ, and the newest change of each in the source."""

    days: Mapping[dt.date, dt.datetime | None]


@dataclass(frozen=True)
class Comparison:
    """The two sides by order date. `source` is all of Postgres, so mart + quarantined = source where all is well.

    Of a comparison over a window, these are the orders and lines that changed in it. `faults` differ although nothing
    moved; `moving` differ, with the partitions that the source or a build has moved on from: none, where the warehouse
    as a whole has. `drift` is known of a whole comparison only.
    """

    source: Totals
    quarantined: Totals
    mart: Totals
    faults: Mapping[dt.date, Collection[Place]] = field(default_factory=dict)
    moving: Mapping[dt.date, Collection[Place]] = field(default_factory=dict)
    drift: Mapping[str, Drift] = field(default_factory=dict)

    @property
    def dates(self) -> list[dt.date]:
        """Every date that a side knows, oldest first."""
        return sorted(self.source.keys() | self.mart.keys())

    def expected(self, date: dt.date) -> Sales:
        """What the mart should have."""
        return self.source.get(date, NOTHING) - self.quarantined.get(date, NOTHING)

    @property
    def differing(self) -> list[dt.date]:
        """The dates on which the mart has something else."""
        return [date for date in self.dates if self.mart.get(date, NOTHING) != self.expected(date)]


def compare_sales(
    source: PostgresResource,
    store: ObjectStoreResource,
    warehouse: WarehouseResource,
    start: dt.date,
    window: Window | None = None,
    *,
    zone: str = "UTC",
) -> Comparison:
    """Compare the mart with Postgres: all of it, or what changed on the days of `window`.

    `start` is the first partition; what is dated before it travels nowhere and counts on neither side. `zone` is the
    reporting time zone, whose days are the order dates. Over a window, Postgres finds rows through the cursors' indexes
    and the key of orders alone. Raises Problem where the models were never built or a service does not answer.
    """
    now = dt.datetime.now(dt.UTC)
    everything = Window.everything(start, now)
    with source.snapshot(TABLES) as reader, ExitStack() as stack:
        # Where it stands is asked before anything else can happen.
        snapshot = reader.moment()
        session = stack.enter_context(warehouse.connection(REPORTING))
        _refuse_missing(session, warehouse.database)
        shop = _Shop(reader, reader.plan(EXCHANGE_RATES), reader.plan(ORDER_ITEMS), everything, window, zone)
        mart = _Mart(session, warehouse.database, window)
        found = _compared(shop, mart)
        drift = {}
        if window is None:
            drift = {table.name: _drift(reader, store, table, everything) for table in TABLES}
        if not found.differing:
            return replace(found, drift=drift)
        # Once more, with what tells why: the mart may have been built meanwhile; the source's snapshot is the same.
        again = _compared(shop, mart, found.differing, with_reasons=True)
        lies = shop.places(again.differing, mart.markers)
        for date, table, day in mart.places:
            lies[date].add((table, min(day, everything.last)))
        if abroad := shop.dates_abroad(again.differing):
            # Each rate matters, also one that has left: its day is told by what the mart was built from.
            days = set(reader.fingerprints(EXCHANGE_RATES, everything))
            days |= {day for name, day in mart.built if name == EXCHANGE_RATES.name}
            for date in abroad:
                lies[date] |= {(EXCHANGE_RATES.name, day) for day in days}
        wanted = {place for date in again.differing for place in lies[date]}
        settled = {
            (table.name, day)
            for table in TABLES
            for day in settled_days(
                reader,
                store,
                table,
                {day for name, day in wanted if name == table.name},
                {day: content for (name, day), content in mart.built.items() if name == table.name},
                everything,
            )
        }
    is_adrift = mart.is_torn or _is_newer(mart.newest_snapshot, snapshot)
    moved = {date: lies[date] - settled for date in again.differing}
    compared = set(found.differing)
    return Comparison(
        source=found.source,
        quarantined={**_without(found.quarantined, compared), **again.quarantined},
        mart={**_without(found.mart, compared), **again.mart},
        faults={date: lies[date] for date, places in moved.items() if not (is_adrift or places)},
        moving={date: places for date, places in moved.items() if is_adrift or places},
        drift=drift,
    )


def _compared(
    shop: _Shop, mart: _Mart, dates: Collection[dt.date] | None = None, *, with_reasons: bool = False
) -> Comparison:
    totals = shop.totals(dates)
    mart.read(totals, dates, with_reasons=with_reasons)
    return Comparison(totals, shop.quarantined(mart.markers, dates), mart.totals)


def _without(totals: Totals, dates: Collection[dt.date]) -> dict[dt.date, Sales]:
    return {date: sales for date, sales in totals.items() if date not in dates}


def _is_newer(staged: str | None, snapshot: Snapshot) -> bool:
    """Whether staging has something from a later snapshot than this one; whatever epoch they are of."""
    return staged is not None and staged.partition("/")[2] > snapshot.position(0).partition("/")[2]


def _drift(reader: SourceReader, store: ObjectStoreResource, table: SourceTable, everything: Window) -> Drift:
    """The days on which the source differs from the lake."""
    now = reader.fingerprints(table, everything)
    manifests = readable_manifests(store, table, published(store, table, everything))
    return Drift(
        {
            day: now.get(day, EMPTY).newest
            for day in sorted(now.keys() | manifests.keys())
            if not ((manifest := manifests.get(day)) and manifest.is_of(now.get(day, EMPTY)))
        }
    )


# Of a window no longer than this, looking each order up costs less than reading all orders once.
SOME_DAYS = dt.timedelta(days=31)
# A sale counts from payment on; a refund takes the money back, not the sale.
IS_SALE = "in ('paid', 'shipped', 'delivered', 'refunded')"
IS_PAID = "in ('paid', 'shipped', 'delivered')"
WITH_RATES = "left join rates on rates.currency = o.currency"


@dataclass(frozen=True)
class _Shop:
    """Sales as a snapshot of Postgres has them, of the rows that changed in the window; None is all that travel."""

    reader: PostgresReader
    rates: PostgresReading
    lines: PostgresReading
    everything: Window
    window: Window | None
    zone: str

    @property
    def _date(self) -> str:
        """SQL for an order's date. A moment that is no day of the calendar counts on one that no shop has."""
        return (
            "case when o.created_at >= '0001-01-01' and o.created_at < '10000-01-01' "
            f"then (o.created_at at time zone {literal(self.zone)})::date else date '0001-01-01' end"
        )

    def totals(self, dates: Collection[dt.date] | None) -> dict[dt.date, Sales]:
        """Sales by order date, quarantined ones too."""
        return self._sales(
            f"""
            {self._orders} where {self._on(dates)}
            union all
            {self._lines()} where {self._on(dates)}
            """,
            dates,
        )

    def quarantined(
        self, markers: Collection[tuple[str, int, dt.date]], dates: Collection[dt.date] | None
    ) -> dict[dt.date, Sales]:
        """Of `totals`, what cannot be in the mart: the orders marked, with their lines, and the lines marked."""
        orders, lines = _ids(markers, ORDERS), _ids(markers, ORDER_ITEMS)
        if not orders and not lines:
            return {}
        return self._sales(
            f"""
            {self._orders} where o.id = any(string_to_array($2, ',')::bigint[]) and {self._on(dates)}
            union all
            {self._lines("o.id = any(string_to_array($2, ',')::bigint[])")}
            where (
                    o.id = any(string_to_array($2, ',')::bigint[])
                    or l.id = any(string_to_array($3, ',')::bigint[])
                )
                and {self._on(dates)}
            """,
            dates,
            orders,
            lines,
        )

    def places(
        self, dates: Collection[dt.date], markers: Collection[tuple[str, int, dt.date]]
    ) -> defaultdict[dt.date, set[Place]]:
        """The partitions that the orders and lines of each date lie on; and those that hold the marks of some."""
        found: defaultdict[dt.date, set[Place]] = defaultdict(set)
        last = self.everything.last
        with self.reader.connection.cursor() as cursor:
            cursor.execute(
                f"""
                select {self._date}, 'orders', least((o.updated_at at time zone 'UTC')::date, date '{last}')
                from {self._rows(ORDERS)} as o where {self._on(dates)}
                union
                select {self._date}, which.name, least((which.updated_at at time zone 'UTC')::date, date '{last}')
                from {self._lines_with_orders},
                     lateral (values ('orders', o.updated_at), ('order_items', l.updated_at))
                         as which (name, updated_at)
                where {self._on(dates)}
                """,
                (_csv(dates),),
            )
            for date, table, day in cursor.fetchall():
                found[date].add((table, day))
            marked = defaultdict(set)
            for table, key, day in markers:
                marked[table, key].add(day)
            cursor.execute(
                f"""
                select {self._date}, 'orders', o.id from {self._rows(ORDERS, all_days=True)} as o
                where o.id = any(string_to_array($2, ',')::bigint[]) and {self._on(dates)}
                union all
                select {self._date}, 'order_items', l.id
                from {self._rows(ORDER_ITEMS, all_days=True)} as l
                join {self._rows(ORDERS, all_days=True)} as o on o.id = l.order_id
                where l.id = any(string_to_array($3, ',')::bigint[]) and {self._on(dates)}
                """,
                (_csv(dates), _ids(markers, ORDERS), _ids(markers, ORDER_ITEMS)),
            )
            for date, table, key in cursor.fetchall():
                found[date] |= {(table, day) for day in marked[table, key]}
        return found

    def dates_abroad(self, dates: Collection[dt.date]) -> set[dt.date]:
        """Those of the dates with an order in another currency than EUR."""
        with self.reader.connection.cursor() as cursor:
            cursor.execute(
                f"select distinct {self._date} from {self._rows(ORDERS, all_days=True)} as o "
                f"where o.currency is distinct from 'EUR' and {self._on(dates)}",
                (_csv(dates),),
            )
            return {date for (date,) in cursor.fetchall()}

    @property
    def _rates(self) -> str:
        """(currency, days from which a rate holds, ascending, what a unit is worth in EUR from each), one per currency.

        As arrays, in which a date is looked up by halving: a join by stretches of days would try each with each order.
        """
        return f"""
            select currency, array_agg(valid_from order by valid_from) as valid_from,
                   array_agg(eur_per_unit order by valid_from) as eur_per_unit
            from (
                select distinct on (currency, valid_from) currency, valid_from, eur_per_unit
                from {self.rates.source} as t
                where {self.rates.within(self.everything)} and {self.rates.valid}
                order by currency, valid_from, id desc
            ) as of_each_day
            group by currency
        """

    @property
    def _rate(self) -> str:
        """EUR for one unit of the order's currency; null where there is no rate. Of `o` and `rates`."""
        found = f"rates.eur_per_unit[width_bucket({self._date}, rates.valid_from)]"
        return f"case when o.currency = 'EUR' then 1 else {found} end"

    def _revenue(self, amount: str) -> str:
        """An amount of an order that was paid, in EUR to the cent; else 0."""
        return (
            f"case when o.status {IS_PAID} then coalesce(round(({amount})::numeric * ({self._rate}), 2), 0) else 0 end"
        )

    @property
    def _orders(self) -> str:
        """(date, orders, revenue, lines) of each order, without its lines."""
        return (
            f"select {self._date}, (o.status {IS_SALE} and ({self._rate}) is not null)::int, "
            f"-{self._revenue(_number('o.discount_amount'))}, 0 from {self._rows(ORDERS)} as o {WITH_RATES}"
        )

    def _lines(self, order_counts: str = "true") -> str:
        """(date, 0, revenue, lines) of each line; one whose order is counted itself is no further line."""
        amount = self._revenue(f"l.quantity * {_number('l.unit_price')}")
        # Null of each line where the source has no such column.
        has_returns = "returned_amount" not in self.lines.drift.dropped
        given_back = self._revenue(_number("coalesce(l.returned_amount, 0)")) if has_returns else "0"
        return (
            f"select {self._date}, 0, {amount} - {given_back}, (not ({order_counts}))::int "
            f"from {self._lines_with_orders} {WITH_RATES}"
        )

    @property
    def _lines_with_orders(self) -> str:
        """Lines `l` with their orders `o`: of some days each order by its key, else Postgres would read all orders."""
        orders = self.reader.relation(ORDERS)
        travels = within(ORDERS, self.everything)
        if self.window is None or self.window.end - self.window.first > SOME_DAYS:
            return f"{self._rows(ORDER_ITEMS)} as l join {self._rows(ORDERS, all_days=True)} as o on o.id = l.order_id"
        # The offset keeps the planner from making a join of it.
        one = f"select * from {orders} where id = l.order_id and {travels} offset 0"
        return f"{self._rows(ORDER_ITEMS)} as l cross join lateral ({one}) as o"

    def _rows(self, table: SourceTable, all_days: bool = False) -> str:
        window = self.everything if all_days or self.window is None else self.window
        relation = self.reader.relation(table)
        return f"(select * from {relation} where {within(table, window)})"

    def _on(self, dates: Collection[dt.date] | None) -> str:
        return "$1::text is not null" if dates is None else f"{self._date} = any(string_to_array($1, ',')::date[])"

    def _sales(self, query: str, dates: Collection[dt.date] | None, *keys: str) -> dict[dt.date, Sales]:
        with self.reader.connection.cursor() as cursor:
            cursor.execute(
                f"with rates as materialized ({self._rates}) select day, sum(orders), sum(revenue)::text, sum(lines) "
                f"from ({query}) as s (day, orders, revenue, lines) group by day",
                (_csv(dates or ()), *keys),
            )
            return {
                day: Sales(int(orders), Decimal(revenue), int(lines))
                for day, orders, revenue, lines in cursor.fetchall()
            }


def _number(value: str) -> str:
    """SQL for an amount, 0 where it is none: NaN is greater than every number."""
    return f"case when abs({value}) < 1e30 then {value} else 0 end"


def _csv(dates: Iterable[dt.date]) -> str:
    return ",".join(map(str, dates))


def _ids(markers: Iterable[tuple[str, int, dt.date]], table: SourceTable) -> str:
    return ",".join(sorted({str(key) for name, key, _ in markers if name == table.name}))


class _Mart:
    """Sales as the warehouse has them, of the rows that changed in the window; all of it as of one statement."""

    def __init__(self, session: SnowflakeConnection, database: str, window: Window | None) -> None:
        self.session, self.database, self.window = session, database, window
        self.totals: dict[dt.date, Sales] = {}
        self.markers: list[tuple[str, int, dt.date]] = []
        self.places: list[tuple[dt.date, str, dt.date]] = []
        self.built: dict[Place, str] = {}
        self.newest_snapshot: str | None = None
        self.is_torn = False

    def read(self, source: Totals, dates: Collection[dt.date] | None, *, with_reasons: bool) -> None:
        """Read the figures of `dates`; None: of all, or over a window of those that it touched on either side.

        `with_reasons`: also where the rows of the dates lie, what the mart was built from, and the newest snapshot
        that is staged. `is_torn` is whether facts and mart are of different states, as within a build.
        """
        database = snowflake_name(self.database)
        facts, lines, mart = (f"{database}.{relation}" for relation in RELATIONS)
        wanted = self._wanted(facts, lines, source, dates)
        on = "" if wanted is None else "where order_date in (select order_date from wanted)"
        parts = [
            f"select 'sales' as kind, order_date, null::varchar as name, null::date as day, "
            f"sum(orders)::number(38,0) as orders, sum(net_revenue)::number(38,2) as revenue "
            f"from {mart} {on} group by order_date",
            *(_marked(staging_relation(self.database, table), table.name) for table in TABLES),
        ]
        if self.window is not None:
            parts += self._others(facts, lines, on)
        if with_reasons:
            parts += self._reasons(facts, lines, on)
        with_ = "" if wanted is None else f"with wanted as ({wanted}) "
        self.totals, self.markers, self.places, self.built = {}, [], [], {}
        self.newest_snapshot, self.is_torn = None, False
        with self.session.cursor() as cursor:
            cursor.execute(with_ + " union all ".join(parts))
            for kind, date, name, day, orders, revenue in cursor.fetchall():
                if kind == "sales":
                    self.totals[date] = self.totals.get(date, NOTHING) + Sales(int(orders), Decimal(revenue))
                elif kind == "newest":
                    self.newest_snapshot = name
                elif kind == "lies":
                    self.places.append((date, name, day))
                elif kind.startswith("marked "):
                    self.markers.append((kind.removeprefix("marked "), int(orders), day))
                else:
                    self.built[kind.removeprefix("built "), day] = name
                    self.is_torn |= not name

    def _wanted(self, facts: str, lines: str, source: Totals, dates: Collection[dt.date] | None) -> str | None:
        """Query of the dates to read; None: all."""
        if self.window is None and dates is None:
            return None
        listed = " union ".join(f"select '{date}'::date as order_date" for date in (dates or source))
        if dates is not None:
            return listed
        touched = " union ".join(f"select order_date from {each} where {self._within}" for each in (facts, lines))
        return f"{listed} union {touched}" if listed else touched

    @property
    def _within(self) -> str:
        assert self.window is not None
        return f"updated_at >= '{self.window.first}'::timestamp_ntz" + (
            "" if self.window.open_ended else f" and updated_at < '{self.window.end}'::timestamp_ntz"
        )

    def _others(self, facts: str, lines: str, on: str) -> list[str]:
        """Less what is not of the window: the facts of the dates, but for the orders and lines of the window."""
        also = f"{on} and {self._within}"
        return [
            f"select 'sales', order_date, null, null, {orders}::number(38,0), {revenue}::number(38,2) "
            f"from {relation} {where} group by order_date"
            for relation, where, orders, revenue in (
                (facts, on, "-count_if(is_sale)", "-coalesce(sum(net_revenue), 0)"),
                (facts, also, "count_if(is_sale)", f"coalesce(sum(iff(status {IS_PAID}, -order_discount, 0)), 0)"),
                (lines, also, "0", f"coalesce(sum(iff(order_status {IS_PAID}, line_amount - refunded_amount, 0)), 0)"),
            )
        ]

    def _reasons(self, facts: str, lines: str, on: str) -> list[str]:
        names = ", ".join(f"'{table.name}'" for table in TABLES)
        models = ", ".join(f"'{name}'" for name in MODELS)
        return [
            f"select distinct 'lies', order_date, 'orders', updated_at::date, null::number(38,0), null::number(38,2) "
            f"from {facts} {on}",
            f"select distinct 'lies', order_date, 'order_items', updated_at::date, null::number(38,0), "
            f"null::number(38,2) from {lines} {on}",
            f"select 'built ' || table_name, null::date, {one_state(len(MODELS))}, partition_date, "
            f"null::number(38,0), null::number(38,2) from {built_relation(self.database)} "
            f"where model_name in ({models}) and table_name in ({names}) group by table_name, partition_date",
            f"select 'newest', null::date, max(snapshot), null::date, null::number(38,0), null::number(38,2) "
            f"from {loaded_relation(self.database)} where table_name in ({names})",
        ]


def _marked(relation: str, name: str) -> str:
    """The keys in quarantine, and the days whose partitions say so: of a key's rows, the newest snapshot's count."""
    return (
        f"select 'marked {name}', null::date, null::varchar, _partition_date, id::number(38,0), null::number(38,2) "
        f"from (select id, _partition_date, _quarantined, _deleted from {relation} "
        f"where id in (select id from {relation} where _quarantined) "
        "qualify rank() over (partition by id order by _snapshot desc nulls last) = 1) as newest "
        "where _quarantined and not coalesce(_deleted, false)"
    )


def _refuse_missing(session: SnowflakeConnection, database: str) -> None:
    create_ledgers(session, database)
    with session.cursor() as cursor:
        cursor.execute(
            f"select table_schema || '.' || table_name from {snowflake_name(database)}.information_schema.tables "
            "where table_schema in ('CORE', 'MARTS', 'STAGING')"
        )
        there = {name for (name,) in cursor.fetchall()}
    needed = [*RELATIONS, *(f"STAGING.{table.staging_table.upper()}" for table in TABLES)]
    if missing := [name for name in needed if name not in there]:
        raise NeverBuilt(
            f"{', '.join(missing)} is not there yet: nothing was built that could be compared.",
            "materialize the assets, as by the job refresh_shopstream.",
        )


class NeverBuilt(Problem):
    """There is no mart to compare."""
