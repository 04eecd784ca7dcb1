"""Whatever the log says, and in whatever order it is built: the models equal a full rebuild, row by row.

`SHOPSTREAM_LOGS=200 pytest tests/dbt/test_any_log.py` tries 200 logs; `SHOPSTREAM_FIRST_LOG` says the first seed.
"""

from __future__ import annotations

import datetime as dt
import os
import random
from typing import TYPE_CHECKING, Any

import pytest
from changing_store import DAYS, KEYS, ChangingStore
from small_store import START

if TYPE_CHECKING:
    from conftest import Warehouse

FIRST, LOGS = int(os.environ.get("SHOPSTREAM_FIRST_LOG", "1")), int(os.environ.get("SHOPSTREAM_LOGS", "1"))
ROUNDS = 4
# What an order comes to.
SOLD = {"orders", "order_items", "exchange_rates"}
TABLES = {
    "dim_customers": {"users", "crm_contacts"},
    "dim_exchange_rates": {"exchange_rates"},
    "dim_products": {"products"},
    "dim_date": {*SOLD, "events", "users", "crm_contacts"},
    "fact_events": {"events"},
    "fact_order_items": SOLD,
    "fact_orders": SOLD,
    "fact_refunds": SOLD,
    "fact_sessions": {"events"},
    "mart_customer_ltv": set(KEYS),
    "mart_customer_retention": {"users", "crm_contacts", "events", *SOLD},
    "mart_product_months": {"products", *SOLD},
    "mart_product_performance": {"products", *SOLD, "events"},
    "mart_sales_overview": {"products", *SOLD},
    "mart_sales_as_booked": {"products", *SOLD},
    "mart_session_funnel": {"events"},
    "mart_signup_conversion": {"users", "crm_contacts", *SOLD},
}


def days(first: int, end: int) -> list[dt.date]:
    return [START + dt.timedelta(days=n) for n in range(first, end)]


def span(draw: random.Random) -> tuple[int, int]:
    first = draw.randrange(DAYS)
    return first, draw.randint(first + 1, DAYS)


def tables(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    return {
        model: warehouse.rows(f"{'MARTS' if model.startswith('mart') else 'CORE'}.{model.upper()}") for model in TABLES
    }


def differing(warehouse: Warehouse) -> dict[dt.date, set[str]]:
    """Day -> models that were not built from what is staged of it: what automation asks for."""
    loaded = warehouse.loaded()
    found: dict[dt.date, set[str]] = {}
    for model, above in TABLES.items():
        built = warehouse.built(model)
        for (table, day), content in loaded.items():
            if table in above and built.get((table, day)) != content:
                found.setdefault(day, set()).add(model)
    return found


@pytest.mark.long
@pytest.mark.parametrize("seed", range(FIRST, FIRST + LOGS))
def test_a_log_of_any_changes_built_in_any_order_gives_what_a_full_rebuild_gives(
    warehouse: Warehouse, seed: int
) -> None:
    store = ChangingStore(seed)
    draw = store.draw
    warehouse.run()
    told = []
    for _ in range(ROUNDS):
        store.change(draw.choice([3, 25]))
        for _ in range(draw.randint(1, 4)):
            table, staged = draw.choice(list(KEYS)), days(*span(draw))
            told.append(f"stage {table} {staged[0]}..{staged[-1]}")
            for day, rows in store.extract(table, staged).items():
                warehouse.publish(table, day, rows)
        chosen = draw.sample(list(TABLES), draw.choice([1, 3, 6, len(TABLES)]))
        window = days(*span(draw))
        whole = ["--full-refresh"] if draw.random() < 0.15 else []
        told.append(f"build {window[0]}..{window[-1]} {whole} {chosen}")
        warehouse.run("--select", *chosen, *whole, window=(window[0], window[-1] + dt.timedelta(days=1)))

    while left := differing(warehouse):
        day = draw.choice(sorted(left))
        told.append(f"build {day} {sorted(left[day])}")
        warehouse.run("--select", *sorted(left[day]), window=(day, day + dt.timedelta(days=1)))
        assert day not in differing(warehouse), (told, day)

    found = tables(warehouse)
    warehouse.run("--full-refresh")
    expected = tables(warehouse)
    for model in TABLES:
        assert found[model] == expected[model], (model, told)
    assert not differing(warehouse), "a full refresh says what it was built from"
    assert not warehouse.execute("select 1 from SHOPSTREAM_DWH.CORE.UNREAD_CHANGES"), "nothing is left unread"
