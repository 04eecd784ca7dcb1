"""Marts of both domains whose rows are known: the columns are those that dbt's contracts promise."""

import datetime as dt
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

PROJECTS = Path(__file__).parents[2] / "dbt_project"
TODAY = dt.datetime.now(dt.UTC).date()
# More than two of the periods that pages begin with.
DAYS = [TODAY - dt.timedelta(days=ago) for ago in range(70, 0, -1)]
MONTHS = sorted({day.replace(day=1) for day in DAYS})
# What rows there are of each mart: one for each combination.
ROWS: Mapping[str, Mapping[str, Mapping[str, Sequence[object]]]] = {
    "shopstream": {
        "mart_sales_overview": {
            "order_date": DAYS,
            "shipping_country": ["DE", "FR"],
            "product_category": ["Books", "Toys"],
        },
        "mart_sales_as_booked": {
            "booked_date": DAYS,
            "shipping_country": ["DE", "FR"],
            "product_category": ["Books", "Toys"],
        },
        "mart_session_funnel": {"session_date": DAYS, "device": ["desktop", "mobile"], "referrer": ["direct"]},
        "mart_signup_conversion": {"signup_date": DAYS, "country": ["DE", "FR"], "acquisition_channel": ["email"]},
        "mart_product_performance": {"product_id": range(1, 41), "product_category": ["Books"]},
        "mart_product_months": {"sales_month": MONTHS, "product_id": range(1, 41), "product_category": ["Books"]},
        "mart_customer_ltv": {"customer_id": range(1, 41), "country": ["DE"], "rfm_segment": ["champions"]},
        "mart_customer_retention": {
            "cohort_month": MONTHS,
            "months_since": [0, 1, 2],
            "country": ["DE"],
            "acquisition_channel": ["email"],
        },
        "mart_projection_backtest": {"rfm_segment": ["all", "champions", "loyal"], "as_of_date": DAYS[-3:]},
    },
    "streamvision": {
        "mart_content_performance": {
            "viewing_date": DAYS,
            "content_id": [1, 2],
            "genre": ["Drama"],
            "content_type": ["movie"],
        },
        "mart_viewing_by_country": {"viewing_date": DAYS, "country": ["FR", "US"]},
        "mart_daily_engagement": {"viewing_date": DAYS},
        "mart_streaming_quality": {"viewing_date": DAYS, "resolution": ["HD", "4K"], "device": ["mobile"]},
        "mart_subscription_dynamics": {
            "event_date": DAYS,
            "plan_before": ["none", "basic"],
            "plan_after": ["basic", "none"],
        },
        "mart_search_effectiveness": {"search_date": DAYS, "search_term": ["drama", "western"]},
    },
}


@dataclass(frozen=True)
class Warehouse:
    """The tests' own way to the marts of a domain."""

    execute: Callable[..., list[tuple[Any, ...]]]

    def value(self, sql: str) -> float:
        return float(self.execute(sql)[0][0])

    def build(self, mart: str, at: dt.datetime) -> None:
        """Note that the mart was built."""
        self.execute(
            "insert into core.built_partitions (model_name, table_name, partition_date, manifest_hash, built_at) "
            "values (%s, 'orders', '2026-01-01', 'a', %s)",
            (mart, at),
        )


def _columns(domain: str, mart: str) -> dict[str, str]:
    """Name -> type of each column that the mart's contract promises."""
    declared = yaml.safe_load((PROJECTS / domain / "models" / "marts" / f"{mart}.yml").read_text())["models"][0]
    return {column["name"]: column["data_type"] for column in declared["columns"]}


def _filled(name: str, kind: str, row: Mapping[str, object], number: int) -> object:
    """The value of a column of a row; the same in every run."""
    if name in row:
        return row[name]
    if kind.startswith("boolean"):
        return True
    if kind.startswith("date"):
        return DAYS[number % len(DAYS)]
    if kind.startswith("varchar"):
        return f"{name} {number}"
    drawn = zlib.crc32(f"{name} {number}".encode())
    if name.endswith(("rate", "share")):
        return drawn % 90 / 100
    return drawn % 90 + (1000 if name.startswith(("gross", "signed_up", "sessions")) else 10)


def make(execute: Callable[..., object], domain: str, mart: str) -> None:
    """Create a mart with its rows and comments."""
    columns, dimensions = _columns(domain, mart), ROWS[domain][mart]
    execute(f"create table marts.{mart} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
    keys = [dict(zip(dimensions, values, strict=True)) for values in product(*dimensions.values())]
    rows = [[_filled(name, kind, key, n) for name, kind in columns.items()] for n, key in enumerate(keys)]
    one = f"({', '.join(['%s'] * len(columns))})"
    execute(
        f"insert into marts.{mart} ({', '.join(columns)}) values {', '.join([one] * len(rows))}",
        tuple(value for row in rows for value in row),
    )
    comments = ", ".join(f"column {name} comment 'What {name} is.'" for name in columns)
    execute(f"alter table marts.{mart} modify {comments}")
