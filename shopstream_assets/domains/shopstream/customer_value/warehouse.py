"""Customer value in the warehouse: what a fit reads of core, and the tables that it leaves there.

dbt makes the tables, whose columns its source `fitted` declares (models/fitted.yml). A fit replaces the projections and
adds its own row, in one transaction: readers see one fit or the other.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shopstream_assets.platform.declare.tables import snowflake_name
from shopstream_assets.platform.present import previews
from shopstream_assets.platform.staging.ledger import built_relation

if TYPE_CHECKING:
    import dagster as dg
    import numpy as np
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor

    from shopstream_assets.domains.shopstream.customer_value.backtest import Backtest
    from shopstream_assets.domains.shopstream.customer_value.history import Shop
    from shopstream_assets.domains.shopstream.customer_value.model import Projection
    from shopstream_assets.platform.declare.partitions import Window

# A fit is kept for so many more or fewer buyers than it knew, or such a share of them.
FEW, FEW_OF_ALL = 20, 0.05
# Part of each fit's row: a fit of another version of the model is made again.
MODEL_VERSION = "1"
# The model of dbt that takes the projections.
READER = "mart_customer_ltv"
# A sale that somebody made at some time.
SOLD = "is_sale and customer_id is not null and ordered_at is not null"
EPOCH = "1970-01-01"
ROWS_PER_INSERT = 5_000


@dataclass(frozen=True)
class Declared:
    """A table of fits as dbt declares it; `columns`: name -> type and meaning."""

    relation: str
    description: str
    columns: Mapping[str, tuple[str, str]]

    @classmethod
    def of(cls, manifest: Mapping[str, Any], name: str) -> Declared:
        """From the manifest of the domain's dbt project."""
        (found,) = (
            table
            for table in manifest["sources"].values()
            if table["source_name"] == "fitted" and table["name"] == name.upper()
        )
        return cls(
            ".".join(snowflake_name(found[part]) for part in ("database", "schema", "identifier")),
            found["description"],
            {column: (of["data_type"], of["description"]) for column, of in found["columns"].items()},
        )


@dataclass(frozen=True)
class Fit:
    """One row of CORE.CUSTOMER_VALUE_FITS: a fit as of a day (UTC), and what it expects of all customers together."""

    as_of_date: dt.date
    customers: int
    buyers: int
    log_likelihood: float
    projected_orders: float
    projected_orders_low: float
    projected_orders_high: float
    parameters: Mapping[str, float]

    def knew(self, buyers: int) -> bool:
        """Whether about as many had bought then as have now: a backfill of older days may bring many more."""
        return abs(buyers - self.buyers) <= max(FEW, FEW_OF_ALL * self.buyers)


class CustomerValueTables:
    """What core and the tables of fits hold, through one session."""

    def __init__(
        self, session: SnowflakeConnection, database: str, projections: Declared, fits: Declared, backtests: Declared
    ) -> None:
        self._session = session
        self._core = f"{snowflake_name(database)}.CORE"
        self._built = built_relation(database)
        self._projections, self._fits, self._backtests = projections, fits, backtests

    def sales(self) -> tuple[dt.datetime | None, int]:
        """When the newest sale was placed (UTC, naive; None where there is none), and how many have bought."""
        counted = f"select max(ordered_at), count(distinct customer_id) from {self._core}.FACT_ORDERS where {SOLD}"
        newest, buyers = self._rows(counted)[0]
        return newest, buyers

    def latest_fit(self) -> Fit | None:
        """The latest fit by this version of the model; None where there is none, or a later one by another."""
        rows = self._rows(
            "select as_of_date, customers, buyers, log_likelihood, projected_12m_orders, projected_12m_orders_low, "
            f"projected_12m_orders_high, parameters, model_version from {self._fits.relation} "
            "order by as_of_date desc limit 1"
        )
        if not rows or rows[0][-1] != MODEL_VERSION:
            return None
        as_of_date, customers, buyers, log_likelihood, total, low, high, parameters, _ = rows[0]
        return Fit(as_of_date, customers, buyers, log_likelihood, total, low, high, json.loads(parameters))

    def shop(self) -> Shop:
        """All customers and sales, as arrays; there must be a sale."""
        import numpy as np

        from shopstream_assets.domains.shopstream.customer_value.history import Shop

        customers = self._columns(
            f"select customer_id, {_days('signed_up_at')} from {self._core}.DIM_CUSTOMERS order by customer_id"
        )
        sales = self._columns(
            f"select customer_id, {_days('ordered_at')}, (gross_revenue - discount_amount)::float, net_revenue::float "
            f"from {self._core}.FACT_ORDERS where {SOLD} order by customer_id, ordered_at"
        )
        margin_rate = self._rows(
            f"""
            select sum(net_revenue - cost_of_goods)::float / nullif(sum(net_revenue), 0)::float
            from {self._core}.FACT_ORDER_ITEMS
            where cost_of_goods is not null
            """
        )[0][0]
        ids, signed_up = customers
        who, ordered, amount, kept = sales
        return Shop.of(
            (ids.astype(np.int64), signed_up),
            (who.astype(np.int64), ordered, amount, kept),
            until=float(ordered.max()),
            margin_rate=math.nan if margin_rate is None else float(margin_rate),
        )

    def backtest(self, as_of_date: dt.date) -> Backtest | None:
        """The backtest of a fit; None where its history was too short for any."""
        from shopstream_assets.domains.shopstream.customer_value.backtest import ALL, Backtest, Compared

        rows = self._rows(
            "select rfm_segment, customers, predicted_orders, actual_orders, last_period_orders, flat_rate_orders, "
            f"history_days, horizon_days, standard_error from {self._backtests.relation} where as_of_date = %s::date "
            f"order by rfm_segment <> '{ALL}', rfm_segment",
            (str(as_of_date),),
        )
        if not rows:
            return None
        *_, history_days, days, standard_error = rows[0]
        compared = tuple(
            Compared(segment, customers, predicted, actual, last_period, flat_rate)
            for segment, customers, predicted, actual, last_period, flat_rate, *_ in rows
        )
        return Backtest(history_days, days, compared, standard_error)

    def replace(self, fit: Fit, shop: Shop, projection: Projection, backtest: Backtest | None, window: Window) -> None:
        """Leave a fit, its projections and its backtest, and forget fits as of that day or later ones.

        In the models' ledger the run's days are taken from their reader, in the same transaction: should the run end
        before it is built from this fit, the catch-up sensor asks for it.
        """
        expected = zip(
            shop.customer_ids.tolist(),
            *(
                _finite(values)
                for values in (
                    projection.alive,
                    projection.orders,
                    projection.orders_low,
                    projection.orders_high,
                    projection.revenue,
                    projection.margin,
                    projection.margin_low,
                    projection.margin_high,
                )
            ),
            [str(fit.as_of_date)] * len(shop.customer_ids),
            strict=True,
        )
        compared = [
            (
                str(fit.as_of_date),
                one.segment,
                backtest.history_days,
                backtest.days,
                one.customers,
                one.predicted,
                backtest.standard_error if one is backtest.total else None,
                one.came,
                one.last_period,
                one.flat_rate,
            )
            for one in (backtest.compared if backtest else ())
            if backtest
        ]
        own = (
            str(fit.as_of_date),
            MODEL_VERSION,
            fit.customers,
            fit.buyers,
            fit.log_likelihood,
            fit.projected_orders,
            fit.projected_orders_low,
            fit.projected_orders_high,
            json.dumps(fit.parameters),
        )
        with self._session.cursor() as cursor:
            cursor.execute("begin")
            cursor.execute(f"delete from {self._projections.relation}")
            for table in (self._fits, self._backtests):
                cursor.execute(f"delete from {table.relation} where as_of_date >= %s::date", (str(fit.as_of_date),))
            _insert(cursor, self._projections, list(expected))
            _insert(cursor, self._backtests, compared)
            _insert(cursor, self._fits, [own])
            cursor.execute(
                f"update {self._built} set manifest_hash = 'mixed' "
                "where model_name = %s and partition_date >= %s::date and partition_date < %s::date",
                (READER, str(window.first), str(window.end)),
            )
            cursor.execute("commit")

    def forget(self) -> None:
        """Leave no projection: of a shop that has sold nothing (any more)."""
        with self._session.cursor() as cursor:
            cursor.execute("begin")
            for table in (self._projections, self._fits, self._backtests):
                cursor.execute(f"delete from {table.relation}")
            cursor.execute("commit")

    def count(self, table: Declared) -> int:
        """Rows of one of the tables."""
        return int(self._rows(f"select count(*) from {table.relation}")[0][0])

    def look(self, table: Declared) -> dict[str, dg.MetadataValue]:
        """Ten rows of one of the tables, for its page; nothing where it has none."""
        newest = f"select {', '.join(table.columns)} from {table.relation} order by as_of_date desc"
        with self._session.cursor() as cursor:
            return previews.of_relation(cursor, newest, set(table.columns))

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._session.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()

    def _columns(self, sql: str) -> list[np.ndarray]:
        with self._session.cursor() as cursor:
            cursor.execute(sql)
            table = cursor.fetch_arrow_all(force_return_table=True)
        return [column.to_numpy(zero_copy_only=False) for column in table.columns]


def _days(column: str) -> str:
    """SQL: a moment in days since 1970, to the microsecond."""
    return f"(datediff('microsecond', '{EPOCH}'::timestamp_ntz, {column}) / 86400000000.0)::float"


def _finite(values: np.ndarray) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _insert(cursor: SnowflakeCursor, table: Declared, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows of as many values as the table has columns, in their order."""
    chosen = ", ".join(f"column{n}::{kind}" for n, (kind, _) in enumerate(table.columns.values(), start=1))
    names, one = ", ".join(table.columns), f"({', '.join(['%s'] * len(table.columns))})"
    for first in range(0, len(rows), ROWS_PER_INSERT):
        part = rows[first : first + ROWS_PER_INSERT]
        cursor.execute(
            f"insert into {table.relation} ({names}) select {chosen} from values {', '.join([one] * len(part))}",
            [value for row in part for value in row],
        )
