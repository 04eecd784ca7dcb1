"""The simulated store, day by day: the changes that its operational database would have seen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator

import pyarrow as pa

from shopstream_assets.domains.shopstream.simulator import arrow
from shopstream_assets.domains.shopstream.simulator.catalogue import Catalogue
from shopstream_assets.domains.shopstream.simulator.contacts import Contacts
from shopstream_assets.domains.shopstream.simulator.orders import Orders
from shopstream_assets.domains.shopstream.simulator.people import People
from shopstream_assets.domains.shopstream.simulator.sessions import Sessions
from shopstream_assets.domains.shopstream.simulator.world import World
from shopstream_assets.domains.shopstream.tables import CRM_CONTACTS, EVENTS, ORDER_ITEMS, ORDERS, PRODUCTS, USERS
from shopstream_assets.platform.declare.tables import SourceTable

# Changed rows a day at scale 1, a good third above the mean, for the size of a batch.
_BUSY_ROWS_PER_DAY = {"users": 25, "products": 10, "orders": 600, "order_items": 450, "events": 300, "crm_contacts": 20}


class Simulator:
    """A store that opened on `start_date`: a pure function of (start_date, seed, scale), with no database and no clock.

    At scale 1 its first 90 days hold 1,000 users, 400 products, 10,000 orders, about 30,000 order lines, 20,000 web
    events and 500 CRM contacts; volumes grow in proportion to `scale`, products with its square root. Longer windows
    follow the week and the season.

    A row is decided on the day it is created, together with the moments of its later changes, from a random stream of
    its own table and day. So any days may be played in any order, any number of times, alone or as ranges: upserting
    where the cursor is newer ends in the same state. The values are those of one version of numpy and Faker.

    An instance caches what it generated (all users, products and contacts so far, and the orders of 50 days) and is not
    safe for concurrent use; make one per thread.
    """

    def __init__(self, start_date: dt.date, seed: int = 42, scale: float = 1.0) -> None:
        if isinstance(start_date, dt.datetime) or not isinstance(start_date, dt.date):
            raise TypeError(f"start_date must be a datetime.date, not {start_date!r}")
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, not {seed}")
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale must be a positive number, not {scale}")
        self.world = World(start_date, seed, float(scale))
        people = People(self.world)
        catalogue = Catalogue(self.world)
        orders = Orders(self.world, people, catalogue)
        self._changes: dict[str, tuple[SourceTable, Callable[[int, int], pa.Table]]] = {
            "users": (USERS, people.changes),
            "products": (PRODUCTS, catalogue.changes),
            "orders": (ORDERS, orders.changes),
            "order_items": (ORDER_ITEMS, orders.item_changes),
            "events": (EVENTS, Sessions(self.world, people, catalogue, orders).changes),
            "crm_contacts": (CRM_CONTACTS, Contacts(self.world, people).changes),
        }

    def changes(self, table: str, first: dt.date, last_exclusive: dt.date) -> pa.Table:
        """Rows of `table` whose cursor lies in [first, last_exclusive) UTC, each as it stood at the end of that window.

        The schema is the declared one; one row per primary key, sorted by cursor and id. Days before `start_date` are
        empty. Raises KeyError for a table the store does not have.
        """
        if table not in self._changes:
            raise KeyError(f"the simulator plays no table {table!r}; it has {', '.join(self._changes)}")
        declared, changes = self._changes[table]
        low, high = max(0, self.world.day_of(first)), self.world.day_of(last_exclusive)
        return changes(low, high) if low < high else arrow.empty(declared)

    def batches(self, table: str, first: dt.date, last_exclusive: dt.date, rows: int = 500_000) -> Iterator[pa.Table]:
        """The same changes as tables of about `rows` rows, of whole days, in the order of time.

        Memory stays bounded whatever the window and the scale. A row that changes in several batches comes in each, as
        it stood at the batch's end: upsert the batches where the cursor is newer.
        """
        days = max(1, int(rows / (_BUSY_ROWS_PER_DAY.get(table, 1) * self.world.scale)))
        low, high = max(0, self.world.day_of(first)), self.world.day_of(last_exclusive)
        for day in range(low, high, days):
            yield self.changes(table, self.world.date_of(day), self.world.date_of(min(high, day + days)))
