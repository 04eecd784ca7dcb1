"""How like a real shop the simulated store is: `python -m benchmarks.likeness [--olist FOLDER]`.

The same figures of two years of the store at scale 1 and of Olist's real orders (Brazil, 2016 to 2018) where their
files are, side by side, and where they differ. Hours and weekdays are those on the customers' own clocks.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from benchmarks.customer_value import DAYS, OLIST, STORES
from shopstream_assets.domains.shopstream.simulator import Simulator
from shopstream_assets.simulation.names import COUNTRIES
from tests.shopstream.shops import eur_per_unit

TABLES = ("users", "products", "orders", "order_items", "exchange_rates")
ZONES = {country: zone for country, _, zone, _ in COUNTRIES}
# Days after the first order within which another one is one more purchase of the same customer.
AGAIN_DAYS = 180
# Apart by more than this factor, or by so much of all orders, figures differ.
FACTOR, APART = 1.5, 0.10
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
QUARTERS = ("0 to 5 h", "6 to 11 h", "12 to 17 h", "18 to 23 h")


def main() -> None:
    """Print the figures side by side, and those that differ."""
    parser = argparse.ArgumentParser(description="How like a real shop the simulated store is.")
    parser.add_argument("--olist", type=Path, default=OLIST, help="folder of Olist's files")
    folder = parser.parse_args().olist
    start, seed = STORES[0]
    store = figures(played(start, seed))
    if not folder.is_dir():
        print(f"Olist's files are not in {folder}: the store alone.\n")
        print(pd.Series(store).to_string(float_format="{:.2f}".format))
        return
    real = figures(olist(folder))
    print(f"| figure | simulated store, {DAYS} days from {start}, seed {seed} | Olist's sample | |")
    print("|---|---:|---:|---|")
    for name, ours in store.items():
        print(f"| {name} | {ours:.2f} | {real[name]:.2f} | {'differs' if differs(name, ours, real[name]) else ''} |")
    for name in ("weekday", "time of day"):
        keys = [key for key in store if key.startswith(f"{name}: ")]
        moved = sum(abs(store[key] - real[key]) for key in keys) / 2
        print(f"\nOf all orders {moved:.0%} would have to change their {name} for the two to be alike.")


def differs(name: str, ours: float, theirs: float) -> bool:
    """Whether the store is unlike the real shop in a figure: shares of all orders by points, the others by factor."""
    if ": " in name:
        return abs(ours - theirs) > APART
    return not 1 / FACTOR <= ours / theirs <= FACTOR


def played(start: dt.date, seed: int) -> Mapping[str, pd.DataFrame]:
    """The store's tables after DAYS days, with the orders' moments on their customers' clocks as `local`."""
    simulator, end = Simulator(start, seed), start + dt.timedelta(days=DAYS)
    rows = {name: simulator.changes(name, start, end).to_pandas() for name in TABLES}
    zones = rows["orders"]["user_id"].map(rows["users"].set_index("id")["country"]).map(ZONES)
    parts = [
        moments.dt.tz_convert(str(zone)).dt.tz_localize(None)
        for zone, moments in rows["orders"]["created_at"].groupby(zones)
    ]
    worth = eur_per_unit(rows["orders"], rows["exchange_rates"])
    return {**rows, "orders": rows["orders"].assign(local=pd.concat(parts), value=_value(rows["orders"]) * worth)}


def olist(folder: Path) -> Mapping[str, pd.DataFrame]:
    """Olist's orders in the store's columns; their times are local as they are."""
    from tests.e2e.olist import Files, tables

    rows = tables(Files.read(folder))
    orders = rows["orders"]
    return {**rows, "orders": orders.assign(local=orders["created_at"].dt.tz_localize(None), value=_value(orders))}


def _value(orders: pd.DataFrame) -> pd.Series[float]:
    return orders["total_amount"].astype(float) - orders["shipping_amount"].astype(float)


def figures(rows: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """What is compared, by name: ratios and shares, for the two shops differ in currency and size."""
    return dict(_figures(rows["orders"], rows["order_items"], rows["products"]))


def _figures(orders: pd.DataFrame, items: pd.DataFrame, products: pd.DataFrame) -> Iterator[tuple[str, float]]:
    value = orders["value"][orders["value"] > 0]
    yield "order value, mean by median", value.mean() / value.median()
    yield "order value, 90th percentile by median", float(value.quantile(0.9)) / value.median()
    yield "order value, standard deviation by mean", value.std() / value.mean()
    lines = items.groupby("order_id").size()
    yield "lines of an order", len(items) / len(lines)
    yield "orders of a single line", (lines == 1).mean()
    sold = items.groupby("product_id").size().sort_values(ascending=False)
    yield "lines of the best-selling tenth of the products sold", sold.head(len(sold) // 10).sum() / len(items)
    category = items["product_id"].map(products.set_index("id")["category"]).value_counts(normalize=True)
    yield "lines of the three largest categories", category.head(3).sum()
    first = orders.groupby("user_id")["created_at"].transform("min")
    seen = orders[first <= orders["created_at"].max() - pd.Timedelta(days=AGAIN_DAYS)]
    later = (seen["created_at"] - first[seen.index]).dt.total_seconds() / 86400
    again = later.between(1, AGAIN_DAYS).groupby(seen["user_id"]).any()
    yield f"customers who buy again within {AGAIN_DAYS} days", again.mean()
    yield "orders cancelled", (orders["status"] == "cancelled").mean()
    days = orders["local"].dt.weekday.value_counts(normalize=True)
    for number, name in enumerate(WEEKDAYS):
        yield f"weekday: {name}", days[number]
    hours = (orders["local"].dt.hour // 6).value_counts(normalize=True)
    for number, name in enumerate(QUARTERS):
        yield f"time of day: {name}", hours[number]


if __name__ == "__main__":
    main()
