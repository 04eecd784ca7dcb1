"""Days unlike the others: promotions, and those on which hardly anybody gets through to browse or to order."""

from __future__ import annotations

import datetime as dt

import numpy as np

from shopstream_assets.simulation.world import World

# First and last day of the winter and of the summer sale, and what they add to the volume; what the week of Black
# Friday adds is part of every year's season.
SALES = (((1, 8), (1, 17)), ((7, 1), (7, 12)))
MORE_IN_SALES = 1.25
# One day in each quarter of a year, from the second month on: orders and visits that are left.
OUTAGE_EVERY, OUTAGE_LEAVES = 91, 0.35


def is_promotion(date: dt.date) -> bool:
    """Whether prices are reduced on that day."""
    return _is_sale(date) or _is_cyber_week(date)


def _is_sale(date: dt.date) -> bool:
    return any(first <= (date.month, date.day) <= last for first, last in SALES)


def _is_cyber_week(date: dt.date) -> bool:
    # Black Friday is the day after November's fourth Thursday.
    november = dt.date(date.year, 11, 1)
    black_friday = november + dt.timedelta(days=(3 - november.weekday()) % 7 + 22)
    return -4 <= (date - black_friday).days <= 3


def events(world: World, days: int) -> np.ndarray:
    """What promotions and outages make of the volume of each of the first `days` days: 1 on any other."""
    dates = [world.date_of(day) for day in range(days)]
    moved = np.array([MORE_IN_SALES if _is_sale(date) else 1.0 for date in dates])
    for quarter in range(days // OUTAGE_EVERY + 1):
        day = quarter * OUTAGE_EVERY + int(world.rng("outage", quarter).integers(30, OUTAGE_EVERY))
        if day < days:
            moved[day] *= OUTAGE_LEAVES
    return moved
