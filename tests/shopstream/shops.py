"""Shops as the models of customer value see them: played by the simulator, of Olist's files, or drawn from a model."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from shopstream_assets.domains.shopstream.customer_value.history import Shop
from shopstream_assets.domains.shopstream.customer_value.market import Calendar, Pace
from shopstream_assets.domains.shopstream.simulator import Simulator

SALES = ("paid", "shipped", "delivered", "refunded")
EPOCH = pd.Timestamp("1970-01-01", tz="UTC")


def simulated(start: dt.date, days: int, seed: int = 42) -> Shop:
    """The simulated store at scale 1, as it stands after so many days."""
    simulator, end = Simulator(start_date=start, seed=seed), start + dt.timedelta(days=days)
    orders, lines, users = (
        pd.concat([batch.to_pandas() for batch in simulator.batches(table, start, end)], ignore_index=True)
        .sort_values("updated_at", kind="stable")
        .drop_duplicates("id", keep="last")
        for table in ("orders", "order_items", "users")
    )
    rates = simulator.changes("exchange_rates", start, end).to_pandas()
    worth = eur_per_unit(orders, rates)
    in_eur = {name: orders[name].astype(float) * worth for name in ("total_amount", "shipping_amount")}
    given_back = lines.groupby("order_id")["returned_amount"].sum().astype(float)
    in_eur["given_back"] = given_back.reindex(orders["id"]).to_numpy() * worth
    return of_tables(orders.assign(**in_eur), users)


def eur_per_unit(orders: pd.DataFrame, rates: pd.DataFrame) -> pd.Series[float]:
    """What a unit of each order's currency was worth on its day, by the rows of exchange_rates."""
    known = rates.assign(day=pd.to_datetime(rates["valid_from"]).astype("datetime64[ns]"))
    found = pd.merge_asof(
        orders.assign(day=orders["created_at"].dt.tz_localize(None).dt.normalize().astype("datetime64[ns]"))
        .reset_index()
        .sort_values("day", kind="stable"),
        known[["currency", "day", "eur_per_unit"]].sort_values("day", kind="stable"),
        on="day",
        by="currency",
    ).set_index("index")["eur_per_unit"]
    return found.where(orders["currency"] != "EUR", 1.0).astype(float).reindex(orders.index)


def olist(folder: Path) -> Shop:
    """Olist's orders, as the shop's tables would hold them."""
    from tests.e2e.olist import Files, tables

    rows = tables(Files.read(folder))
    return of_tables(rows["orders"].assign(given_back=0.0), rows["users"])


def of_tables(orders: pd.DataFrame, users: pd.DataFrame) -> Shop:
    """From the rows of orders, with what was given back for lines of each, and of users."""
    sales = orders[orders["status"].isin(SALES)]
    amount = (sales["total_amount"].astype(float) - sales["shipping_amount"].astype(float)).to_numpy()
    ordered = _days(sales["created_at"])
    return Shop.of(
        (users["id"].to_numpy(np.int64), _days(users["created_at"])),
        (
            sales["user_id"].to_numpy(np.int64),
            ordered,
            amount,
            np.where(sales["status"] == "refunded", 0.0, amount - sales["given_back"].to_numpy()),
        ),
        until=float(ordered.max()),
        margin_rate=0.4,
    )


def _days(moments: pd.Series[pd.Timestamp]) -> np.ndarray:
    return ((moments - EPOCH).dt.total_seconds() / 86400).to_numpy()


@dataclass(frozen=True)
class Drawn:
    """Customers drawn from the model itself, over their whole lives: the truth is known.

    `shop`: what is seen of them until `now`; `lives` (n): whether each is still a customer then; `later` (n): what each
    buys in the `days_ahead` that follow.
    """

    shop: Shop
    calendar: Calendar
    lives: np.ndarray
    later: np.ndarray


def drawn(
    parameters: np.ndarray, customers: int, days: float, days_ahead: float, seed: int, wait: float = 0.0
) -> Drawn:
    """Customers of the Pareto/NBD with a pace, who come evenly over `days` and buy first after `wait` days on average.

    `parameters` are those of `Repeats`. Their first purchase is counted to nobody's rate, as in the model.
    """
    rng = np.random.default_rng(seed)
    begin = 18_000.0
    calendar = Calendar(begin, begin + days)
    r, alpha, s, beta, wait_weight = np.exp(parameters[:5])
    pace = Pace(calendar, parameters[5:], days_ahead)
    signed_up = begin + np.sort(rng.random(customers)) * days
    # Everybody seen has bought: the way to the first order is another model's.
    first = np.minimum(signed_up + wait * rng.exponential(size=customers), calendar.now)
    scale = alpha + wait_weight * (pace.until(first) - pace.until(signed_up))
    rate = rng.gamma(r, size=customers) / scale
    death = first + rng.exponential(size=customers) / (rng.gamma(s, size=customers) / beta)
    end = np.minimum(death, calendar.now + days_ahead)
    low, high = pace.until(first), pace.until(end)
    count = rng.poisson(rate * (high - low))
    who = np.repeat(np.arange(customers), count)
    # At the pace of one purchases are even; the table by the day is inverted.
    grid = begin + np.arange(np.ceil(days + days_ahead) + 1)
    bought = np.interp(low[who] + rng.random(len(who)) * (high - low)[who], pace.until(grid), grid)
    buyer, moment = np.concatenate((np.arange(customers), who)), np.concatenate((first, bought))
    seen = moment <= calendar.now
    amount = np.full(int(seen.sum()), 50.0)
    shop = Shop.of(
        (np.arange(customers), signed_up), (buyer[seen], moment[seen], amount, amount), calendar.now, margin_rate=0.4
    )
    return Drawn(shop, calendar, death > calendar.now, np.bincount(buyer[~seen], minlength=customers))
