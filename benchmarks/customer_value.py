"""How well customer value is projected: `python -m benchmarks.customer_value [--olist FOLDER]`.

The backtest of the fit, on the simulated store after two years (three stores: other days and seeds) and on Olist's real
orders where their files are: fitted to all but the last third of the history, compared with what came then.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import time
from collections.abc import Callable
from pathlib import Path

from shopstream_assets.domains.shopstream.customer_value.backtest import backtest
from shopstream_assets.domains.shopstream.customer_value.history import Shop
from tests.shopstream import shops

OLIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "olist"
STORES = ((dt.date(2024, 6, 1), 42), (dt.date(2024, 1, 15), 42), (dt.date(2023, 10, 1), 7))
DAYS = 730


def main() -> None:
    """Print a table for each shop, and what it cost."""
    parser = argparse.ArgumentParser(description="How well customer value is projected.")
    parser.add_argument("--olist", type=Path, default=OLIST, help="folder of Olist's files")
    folder = parser.parse_args().olist
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for start, seed in STORES:
        show(f"Simulated store of {start}, seed {seed}", lambda: shops.simulated(start, DAYS, seed))  # noqa: B023
    if folder.is_dir():
        show("Olist", lambda: shops.olist(folder))
    else:
        print(f"\nOlist: its files are not in {folder}")


def show(name: str, load: Callable[[], Shop]) -> None:
    """Print the backtest of one shop."""
    shop = load()
    begun = time.perf_counter()
    found = backtest(shop)
    seconds = time.perf_counter() - begun
    assert found is not None
    print(f"\n{name}: the last {found.days:.0f} of {found.history_days:.0f} days ({seconds:.1f} s)\n")
    print("| customers | number | came | predicted | error | last period again | flat rate each |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for one in found.compared:
        error = one.error(one.predicted)
        print(
            f"| {one.segment} | {one.customers:,} | {one.came:,} | {one.predicted:,.0f} | "
            f"{'–' if error is None else f'{error:+.1%}'} | {one.last_period:,.0f} | {one.flat_rate:,.0f} |"
        )
    print(f"\nStandard error of the prediction: {found.standard_error:,.0f}. {'; '.join(found.faults) or 'Passed'}.")


if __name__ == "__main__":
    main()
