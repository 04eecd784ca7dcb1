"""The catalogue: products, what they cost, how popular they are, and how prices change."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from shopstream_assets.domains.shopstream.tables import PRODUCTS
from shopstream_assets.simulation import arrow
from shopstream_assets.simulation.world import (
    CATALOGUE_READY,
    DAY,
    NEVER,
    OFFICE_WEEK,
    Cohorts,
    Columns,
    Volume,
    World,
    choose,
    choose_evenly,
    clock,
    latest,
)

PRODUCTS_PER_90_DAYS = 400
# The catalogue a store opens with; the rest of the reference volume is added over the 90 days.
OPENING_SHARE = 0.95


@dataclass(frozen=True)
class Category:
    """What is sold alike: prices are log-normal around the median (EUR), and people buy more of it in its season.

    `refunds`: how often a line of it leads to a refund, as a multiple of the store's mean. `season`: the day of the
    year around which it is wanted most, the days to either side at which that fades (the standard deviation of a bell),
    and how much more of it is wanted at the peak.
    """

    name: str
    prefix: str
    share: float
    median_price: int
    refunds: float
    season: tuple[int, int, float]


# Days of the year.
NEW_YEAR, SPRING, AUTUMN, BLACK_FRIDAY, CHRISTMAS = 15, 125, 270, 331, 350
CATEGORIES = (
    Category("Electronics", "ELE", 0.14, 79, 1.3, (BLACK_FRIDAY, 8, 0.9)),
    Category("Home & Kitchen", "HOM", 0.17, 34, 0.7, (AUTUMN, 45, 0.2)),
    Category("Fashion", "FAS", 0.18, 39, 2.4, (AUTUMN, 25, 0.4)),
    Category("Beauty", "BEA", 0.11, 19, 0.5, (CHRISTMAS, 14, 0.4)),
    Category("Sports", "SPO", 0.11, 45, 0.9, (NEW_YEAR, 25, 0.6)),
    Category("Toys", "TOY", 0.08, 24, 0.6, (CHRISTMAS, 18, 2.0)),
    Category("Books", "BOO", 0.09, 15, 0.3, (CHRISTMAS, 20, 0.5)),
    Category("Garden", "GAR", 0.06, 29, 0.6, (SPRING, 32, 1.8)),
    Category("Grocery", "GRO", 0.06, 9, 0.2, (CHRISTMAS, 12, 0.3)),
)
NOUNS = {
    "Electronics": ("Headphones", "Speaker", "Charger", "Webcam", "Keyboard", "Power Bank"),
    "Home & Kitchen": ("Kettle", "Pan", "Lamp", "Blender", "Storage Box", "Teapot"),
    "Fashion": ("T-Shirt", "Jacket", "Jeans", "Scarf", "Sneakers", "Belt"),
    "Beauty": ("Serum", "Shampoo", "Face Cream", "Perfume", "Lip Balm", "Soap"),
    "Sports": ("Yoga Mat", "Backpack", "Water Bottle", "Dumbbell", "Bike Light", "Tent"),
    "Toys": ("Puzzle", "Board Game", "Plush Bear", "Train Set", "Building Blocks", "Kite"),
    "Books": ("Cookbook", "Novel", "Atlas", "Travel Guide", "Notebook", "Diary"),
    "Garden": ("Planter", "Hose", "Pruner", "Bird Feeder", "Lantern", "Watering Can"),
    "Grocery": ("Coffee", "Olive Oil", "Honey", "Chocolate", "Tea", "Pasta"),
}
ADJECTIVES = ("Classic", "Nordic", "Compact", "Organic", "Premium", "Everyday", "Vintage", "Smart", "Light", "Bold")
LINES = ("Alba", "Breeze", "Cedar", "Dune", "Ember", "Fjord", "Grove", "Halo", "Iris", "Juno", "Kite", "Luna")
PRICE_SIGMA = 0.55

# A product's price moves about every 150 days by some 8 %, and its cost by some 5 %; eight moves cover more than three
# years.
PRICE_MOVES = 8
PRICE_STAYS, PRICE_MOVE_MEAN = DAY, 150 * DAY
PRICE_MOVE_SIGMA, COST_MOVE_SIGMA = 0.08, 0.05
LIFE_LEAST, LIFE_MEAN = 30 * DAY, 1500 * DAY

# Sales per product follow a Pareto law with the exponent log 5 / log 4 at which a fifth of the products makes four
# fifths of the sales (the Pareto principle), cut at 60 times the least popular so that no single draw owns the store.
POPULARITY_EXPONENT = math.log(5) / math.log(4)
POPULARITY_CUT = 60.0


class Catalogue:
    """The products of a world: 400 times the square root of the scale, for a store of a hundred times the orders does
    not sell a hundred times the products.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        total = PRODUCTS_PER_90_DAYS * math.sqrt(world.scale)
        self._opening = max(20, round(total * OPENING_SHARE))
        self._volume = Volume(
            world, "products", total * (1 - OPENING_SHARE), OFFICE_WEEK, lambda days: np.sqrt(world.grown(days))
        )
        self.cohorts = Cohorts(self._launches)

    def _launches(self, day: int) -> Columns:
        rng = self._world.rng("products", day)
        midnight = self._world.midnight(day)
        if day == 0:
            n = self._opening + self._volume.on(0)
            # Catalogued before anyone can order: one product after the other in the first minutes of the world.
            created = midnight + (np.arange(n) + 1) * (CATALOGUE_READY // (n + 1))
        else:
            n = self._volume.on(day)
            created = midnight + np.sort(clock(rng, n))
        ids = self._world.ids(day, n)
        category = choose_evenly(rng, [one.share for one in CATEGORIES], n)
        median = np.array([one.median_price for one in CATEGORIES])[category]
        prices = np.empty((n, PRICE_MOVES + 1), dtype=np.int64)
        prices[:, 0] = _shelf_price(median * rng.lognormal(0, PRICE_SIGMA, n))
        costs = np.empty_like(prices)
        costs[:, 0] = prices[:, 0] * rng.uniform(0.40, 0.75, n)
        of_costs = self._world.rng("costs", day)
        for move in range(PRICE_MOVES):
            costs[:, move + 1] = costs[:, move] * of_costs.lognormal(0, COST_MOVE_SIGMA, n)
            price = _shelf_price(prices[:, move] / 100 * rng.lognormal(0, PRICE_MOVE_SIGMA, n))
            price = np.maximum(price, _shelf_price(costs[:, move + 1] * 1.12 / 100))  # never sold at a loss
            prices[:, move + 1] = np.where(price == prices[:, move], price + 100, price)
        withdrawn = created + LIFE_LEAST + rng.exponential(LIFE_MEAN, n).astype(np.int64)
        waits = PRICE_STAYS + rng.exponential(PRICE_MOVE_MEAN, (n, PRICE_MOVES))
        moves = created[:, None] + np.cumsum(waits.astype(np.int64), axis=1)
        name, sku = _labels(rng, category, ids)
        return {
            "id": ids,
            "created": created,
            "category": category,
            "name": name,
            "sku": sku,
            "prices": prices,
            "costs": costs,
            "price_moves": np.where(moves < withdrawn[:, None], moves, NEVER),
            "withdrawn": withdrawn,
            "popularity": np.minimum(1 + rng.pareto(POPULARITY_EXPONENT, n), POPULARITY_CUT),
        }

    def _wanted(self, day: int) -> np.ndarray:
        """How much each product (row of `cohorts`) is wanted on `day`: 0 where it is not on sale all through it."""
        products = self.cohorts.until(day)
        wanted = products["popularity"] * _in_season(self._world.date_of(day))[products["category"]]
        on_sale = products["withdrawn"] >= self._world.midnight(day + 1)
        if day:
            on_sale[self.cohorts.count(day - 1) :] = False  # a new product is sold from the day after its launch
        return wanted * on_sale if on_sale.any() else wanted

    def sold(self, rng: np.random.Generator, day: int, size: int) -> np.ndarray:
        """`size` products (rows of `cohorts`) in proportion to how much they are wanted on `day`."""
        return choose(rng, self._wanted(day), size)

    def sold_beside(self, rng: np.random.Generator, day: int, products: np.ndarray) -> np.ndarray:
        """For each of these products, one of its category, in proportion to how much it is wanted on `day`."""
        category = self.cohorts.until(day)["category"]
        by_category = np.argsort(category, kind="stable")
        bounds = np.concatenate(([0.0], np.cumsum(self._wanted(day)[by_category])))
        first = np.searchsorted(category[by_category], np.arange(len(CATEGORIES) + 1))
        low, high = bounds[first[category[products]]], bounds[first[category[products] + 1]]
        drawn = np.searchsorted(bounds, low + rng.random(len(products)) * (high - low), side="right") - 1
        # Rounding may reach the next category's first.
        return by_category[np.minimum(drawn, first[category[products] + 1] - 1)]

    def refunds(self, day: int, products: np.ndarray) -> np.ndarray:
        """How often each of these products comes back, as a multiple of the store's mean."""
        return np.array([one.refunds for one in CATEGORIES])[self.cohorts.until(day)["category"][products]]

    def ids(self, day: int, products: np.ndarray) -> np.ndarray:
        """Identifiers of these rows."""
        return self.cohorts.until(day)["id"][products]

    def prices_and_costs(self, day: int, products: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Price and cost in cents of each of these rows at each moment of `day`."""
        catalogue = self.cohorts.until(day)
        moves = (catalogue["price_moves"][products] <= at[:, None]).sum(axis=1)
        return catalogue["prices"][products, moves], catalogue["costs"][products, moves]

    def changes(self, first: int, last: int) -> pa.Table:
        """Products launched, repriced or withdrawn on days `first` to `last` excluded, as they stood at the end."""
        products = self.cohorts.until(last - 1)
        low, high = self._world.midnight(first), self._world.midnight(last)
        moments = np.column_stack((products["created"], products["price_moves"], products["withdrawn"]))
        updated = latest(moments, high)
        chosen = np.flatnonzero(updated >= low)
        chosen = chosen[arrow.order(updated[chosen], products["id"][chosen])]
        rows = {name: values[chosen] for name, values in products.items()}
        moves = (rows["price_moves"] < high).sum(axis=1)
        return arrow.table(
            PRODUCTS,
            {
                "id": rows["id"],
                "sku": rows["sku"],
                "name": rows["name"],
                "category": arrow.picked([one.name for one in CATEGORIES], rows["category"]),
                "price": arrow.money(rows["prices"][np.arange(len(chosen)), moves]),
                "cost": arrow.money(rows["costs"][np.arange(len(chosen)), moves]),
                "is_active": rows["withdrawn"] >= high,
                "created_at": arrow.timestamps(rows["created"]),
                "updated_at": arrow.timestamps(updated[chosen]),
            },
        )


def _in_season(date: dt.date) -> np.ndarray:
    """How much each category is wanted on a day, 1 out of season."""
    peak, width, more = np.array([one.season for one in CATEGORIES]).T
    away = np.abs(date.timetuple().tm_yday - peak)
    return 1 + more * np.exp(-0.5 * (np.minimum(away, 365 - away) / width) ** 2)


def _shelf_price(euros: np.ndarray) -> np.ndarray:
    """Cents, ending in 99 as on a shelf, at least 2.99."""
    return np.maximum(np.ceil(euros), 3).astype(np.int64) * 100 - 1


def _labels(rng: np.random.Generator, category: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Names such as "Nordic Kettle Alba", and SKUs made unique by the id's date and sequence."""
    names, skus = [], []
    adjectives, lines = rng.integers(len(ADJECTIVES), size=len(ids)), rng.integers(len(LINES), size=len(ids))
    for code, key, adjective, line, noun in zip(category, ids, adjectives, lines, rng.random(len(ids)), strict=True):
        nouns = NOUNS[CATEGORIES[code].name]
        names.append(f"{ADJECTIVES[adjective]} {nouns[int(noun * len(nouns))]} {LINES[line]}")
        skus.append(f"{CATEGORIES[code].prefix}-{str(key)[2:8]}-{str(key)[8:].lstrip('0').zfill(4)}")
    return np.array(names, dtype=object), np.array(skus, dtype=object)
