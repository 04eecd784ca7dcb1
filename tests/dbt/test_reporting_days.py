"""Dates in facts and marts are days of the reporting time zone, also where its clocks change."""

from __future__ import annotations

import datetime as dt
import random
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from small_store import START, Row, event, line, log_of, order, user

if TYPE_CHECKING:
    from conftest import Warehouse

SPRING, AUTUMN = dt.date(2026, 3, 29), dt.date(2026, 10, 25)


def moments(seed: int) -> list[dt.datetime]:
    """UTC, naive: around the midnights before and after the days on which Berlin's clocks change, and at random."""
    draw = random.Random(seed)
    second = dt.timedelta(seconds=1)
    found = [
        dt.datetime.combine(day + dt.timedelta(days=days), dt.time(hour)) - second * before
        for day in (SPRING, AUTUMN)
        for days in (-1, 0)
        for hour in (22, 23)
        for before in (0, 1)
    ]
    drawn = (dt.timedelta(seconds=draw.randrange(300 * 86_400)) for _ in range(20))
    return [*found, *(dt.datetime.combine(START, dt.time()) + each for each in drawn)]


@pytest.mark.parametrize(
    "zone",
    [
        "Europe/Berlin",
        pytest.param("America/Los_Angeles", marks=pytest.mark.long),
        pytest.param("Pacific/Kiritimati", marks=pytest.mark.long),
    ],
)
def test_every_date_is_the_day_that_the_zones_own_calendar_has(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("SHOPSTREAM_REPORTING_TIME_ZONE", zone)
    at = dict(enumerate(moments(1), 1))
    times: dict[int, Row] = {key: {"created_at": moment, "updated_at": moment} for key, moment in at.items()}
    warehouse.stage(
        log_of(
            {
                "users": [user(key, **values) for key, values in times.items()],
                "orders": [order(key, user_id=key, status="refunded", **values) for key, values in times.items()],
                "order_items": [line(key, key, **values) for key, values in times.items()],
                "events": [
                    event(key, "product_view", 0, user_id=key, session_id=str(key), occurred_at=moment)
                    for key, moment in at.items()
                ],
            }
        )
    )
    warehouse.run()

    utc, local = dt.UTC, ZoneInfo(zone)
    days = {key: moment.replace(tzinfo=utc).astimezone(local).date() for key, moment in at.items()}
    assert any(days[key] != moment.date() for key, moment in at.items())

    def dates(model: str, key: str, date: str) -> dict[int, dt.date]:
        return {int(row[key]): row[date] for row in warehouse.records(model)}

    assert dates("CORE.DIM_CUSTOMERS", "customer_id", "signup_date") == days
    assert dates("CORE.FACT_ORDERS", "order_id", "order_date") == days
    assert dates("CORE.FACT_ORDER_ITEMS", "order_id", "order_date") == days
    assert dates("CORE.FACT_REFUNDS", "order_id", "refunded_date") == days
    assert dates("CORE.FACT_EVENTS", "event_id", "event_date") == days
    assert dates("CORE.FACT_SESSIONS", "session_id", "session_date") == days
    sold = {row["order_date"] for row in warehouse.records("MARTS.MART_SALES_OVERVIEW")}
    assert sold == set(days.values())


@pytest.mark.long
def test_an_order_within_ninety_days_over_a_change_of_clocks_counts_in_a_windowed_run_too(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOPSTREAM_REPORTING_TIME_ZONE", "Europe/Berlin")
    joined = dt.datetime(2026, 3, 1, 22, 30)
    ordered = joined + dt.timedelta(days=90) - dt.timedelta(seconds=1)
    later = ordered + dt.timedelta(days=30)
    users = [user(key, created_at=moment, updated_at=moment) for key, moment in ((1, joined), (2, later))]
    warehouse.stage(log_of({"users": users}))
    warehouse.run()

    warehouse.publish("orders", ordered.date(), [order(1, created_at=ordered, updated_at=ordered)])
    warehouse.publish("order_items", ordered.date(), [line(1, 1, created_at=ordered, updated_at=ordered)])
    warehouse.run("--select", "tag:partitioned", window=(ordered.date(), ordered.date() + dt.timedelta(days=1)))

    [order_date] = {row["order_date"] for row in warehouse.records("CORE.FACT_ORDERS")}
    assert (order_date - dt.date(2026, 3, 1)).days == 91, "half past midnight, in summer"
    [cohort] = [row for row in warehouse.records("MARTS.MART_SIGNUP_CONVERSION") if row["signup_date"].month == 3]
    assert cohort["ordered_within_90d"] == 1
