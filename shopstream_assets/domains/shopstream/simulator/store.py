"""The simulated store, day by day: the changes that its operational database would have seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from shopstream_assets.domains.shopstream.simulator.catalogue import Catalogue
from shopstream_assets.domains.shopstream.simulator.contacts import Contacts
from shopstream_assets.domains.shopstream.simulator.currencies import Currencies
from shopstream_assets.domains.shopstream.simulator.orders import Orders
from shopstream_assets.domains.shopstream.simulator.people import People
from shopstream_assets.domains.shopstream.simulator.sessions import Sessions
from shopstream_assets.domains.shopstream.tables import (
    CRM_CONTACTS,
    EVENTS,
    EXCHANGE_RATES,
    ORDER_ITEMS,
    ORDERS,
    PRODUCTS,
    USERS,
)
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.simulation.simulated_source import Changes, SimulatedSource


class Simulator(SimulatedSource):
    """A store that opened on `start_date`.

    At scale 1 its first 90 days hold 1,000 users, 400 products, 10,000 orders, about 30,000 order lines, 20,000 web
    events and 500 CRM contacts; volumes grow in proportion to `scale`, products with its square root. Later days follow
    the customers there are, the week, the season and the world's growth. Kept are all users, products and contacts so
    far, and the orders of 50 days.
    """

    busy_rows_per_day: ClassVar[Mapping[str, int]] = {
        "users": 25,
        "products": 10,
        # As many customers as come in two years order twice as much as those of the first quarter.
        "orders": 1_400,
        "order_items": 1_000,
        "events": 300,
        "crm_contacts": 20,
        "exchange_rates": 4,
    }

    def tables(self) -> Mapping[SourceTable, Changes]:
        """The store's seven tables."""
        people = People(self.world)
        catalogue = Catalogue(self.world)
        currencies = Currencies(self.world)
        orders = Orders(self.world, people, catalogue, currencies)
        return {
            USERS: people.changes,
            PRODUCTS: catalogue.changes,
            ORDERS: orders.changes,
            ORDER_ITEMS: orders.item_changes,
            EVENTS: Sessions(self.world, people, catalogue, orders).changes,
            CRM_CONTACTS: Contacts(self.world, people).changes,
            EXCHANGE_RATES: currencies.changes,
        }
