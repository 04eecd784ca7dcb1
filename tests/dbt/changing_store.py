"""A store that changes at random, and the staging log that extractions of it leave, as the contract of staging has it.

A partition of the log holds, for every key that it ever held, what the newest snapshot saw of it: the row, though its
cursor may have moved to another day; a tombstone; or a marker of a row that breaks a rule. Older versions may be left.
"""

from __future__ import annotations

import datetime as dt
import random
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from small_store import CONTEXTS, CURSOR, START, Row, at, contact, event, line, order, partition_of, product, rate, user

DAYS = 4
LAST_DAY = START + dt.timedelta(days=DAYS - 1)
KEYS = {"users": 5, "products": 4, "orders": 8, "order_items": 12, "events": 10, "crm_contacts": 4, "exchange_rates": 5}


class ChangingStore:
    """The source: at most KEYS rows a table, few enough that everything meets everything."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.rows: dict[str, dict[int, Row]] = {table: {} for table in KEYS}
        self.bad: set[tuple[str, int]] = set()
        self.snapshot = 0
        self._held: dict[tuple[str, dt.date], set[int]] = defaultdict(set)
        self._staged: dict[tuple[str, dt.date], list[Row]] = {}

    def change(self, times: int) -> None:
        """Insert, update, delete, move or spoil rows."""
        for _ in range(times):
            table = self.draw.choice(["users", "products", "orders", "orders", "order_items", "order_items", *KEYS])
            id = self.draw.randint(1, KEYS[table])
            self.bad.discard((table, id))
            act = self.draw.random()
            if act < 0.2:
                self.rows[table].pop(id, None)
                continue
            self.rows[table][id] = self._row(table, id)
            if act > 0.9:
                self.bad.add((table, id))

    def _row(self, table: str, id: int) -> Row:
        """A row of which everything is drawn anew: also the day it was made, and the day it changed."""
        draw = self.draw
        # Some customers and orders are as old as the windows in which a sign-up leads to an order are long.
        made = draw.randrange(DAYS) if table == "events" else draw.choice([*range(DAYS), *range(DAYS), -6, -29, -89])
        moment = {} if table == "events" else {"updated_at": at(draw.randrange(DAYS), draw.randrange(86_400))}
        user_id, order_id, product_id = draw.randint(1, 5), draw.randint(1, 8), draw.randint(1, 4)
        if table == "users":
            return user(id, made, country=draw.choice(["FR", "DE"]), **moment)
        if table == "products":
            cost = Decimal(draw.choice([400, 500])) / 100
            return product(id, made, category=draw.choice(["books", "games"]), cost=cost, **moment)
        if table == "orders":
            status, discount = draw.choice(["paid", "refunded", "cancelled"]), Decimal(draw.choice([0, 1, 333])) / 100
            said = {"status": status, "discount_amount": discount, "currency": draw.choice(["EUR", "USD", "GBP"])}
            return order(id, made, user_id=user_id, **said, **moment)
        if table == "order_items":
            price, quantity = Decimal(draw.choice([0, 999, 3333])) / 100, draw.randint(1, 3)
            back = draw.choice([None, 0, 1, quantity])
            sold = {"product_id": product_id, "quantity": quantity, "unit_price": price}
            returned = {"returned_quantity": back, "returned_amount": (back or 0) * price}
            own_cost = draw.choice([None, Decimal("1.11")])
            return line(id, order_id, made, **sold, **returned, unit_cost=own_cost, **moment)
        if table == "crm_contacts":
            return contact(id, made, user_id=draw.choice([None, user_id]), company=f"Company {id}", **moment)
        if table == "exchange_rates":
            worth = Decimal(draw.choice([90, 115])) / 100
            return rate(id, made, currency=draw.choice(["USD", "GBP"]), eur_per_unit=worth, **moment)
        kind = draw.choice(["product_view", "add_to_cart", "checkout", "purchase"])
        said = {"session_id": f"s{draw.randint(1, 4)}", "properties": draw.choice(CONTEXTS)}
        return event(id, kind, made, user_id=draw.choice([None, user_id]), **said)

    def extract(self, table: str, days: Iterable[dt.date]) -> dict[dt.date, list[Row]]:
        """The partitions of some days, as of one snapshot."""
        self.snapshot += 1
        found = {}
        for day in days:
            held = self._held[table, day]
            here = {
                id
                for id, row in self.rows[table].items()
                if partition_of(table, row) == day and (table, id) not in self.bad
            }
            held |= here
            log = [self._seen(table, id) for id in sorted(held)]
            if self.draw.random() < 0.5:
                log += [row for row in self._staged.get((table, day), []) if row.get(CURSOR[table])][:3]
            self.draw.shuffle(log)
            self._staged[table, day] = found[day] = log
        return found

    def _seen(self, table: str, id: int) -> Row:
        snapshot = f"{self.snapshot:06}"
        if id not in self.rows[table]:
            return {"id": id, "_snapshot": snapshot, "_deleted": True}
        if (table, id) in self.bad:
            return {"id": id, "_snapshot": snapshot, "_quarantined": True}
        return {**self.rows[table][id], "_snapshot": snapshot}
