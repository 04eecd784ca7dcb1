"""Web events: the sessions of visitors and customers, from the first page to the purchase.

Tracking needs consent, and only a sample of the visits is tracked: about 5,800 sessions and 20,000 events beside 10,000
orders. Hence most orders have no purchase event, but every purchase event has its order.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from shopstream_assets.domains.shopstream.simulator.calendar import events
from shopstream_assets.domains.shopstream.simulator.catalogue import CATEGORIES, Catalogue
from shopstream_assets.domains.shopstream.simulator.orders import Orders
from shopstream_assets.domains.shopstream.simulator.people import CHANNEL_SHARES, USERS_PER_90_DAYS, People
from shopstream_assets.domains.shopstream.tables import EVENTS
from shopstream_assets.simulation import arrow
from shopstream_assets.simulation.names import COUNTRY_SHARES, COUNTRY_ZONES
from shopstream_assets.simulation.world import (
    CATALOGUE_READY,
    DAY,
    LAST_SESSION,
    SECOND,
    Columns,
    Volume,
    World,
    choose,
    choose_evenly,
    clock,
    concatenated,
    offsets,
)

EVENTS_PER_90_DAYS = 20_000

# What a session does, and how often: p page view, v product view, c add to cart, k checkout, b purchase.
# 7.0 % of the sessions add to the cart (add-to-cart rate, over all sessions), 70 % of those carts are abandoned (about
# the mean that the Baymard Institute draws from some fifty studies): 2.1 % of the sessions convert.
SESSION_MIX = (
    (0.340, "p"),
    (0.140, "pp"),
    (0.150, "pv"),
    (0.110, "pvpv"),
    (0.090, "ppvvpv"),
    (0.060, "pvvpvvpvp"),
    (0.040, "ppvpvvvpvpvv"),
    (0.020, "pvc"),
    (0.014, "pvpvcp"),
    (0.015, "ppvck"),
    (0.012, "pvckb"),
    (0.009, "ppvpvcpkb"),
)
_SHARES = np.array([share for share, _ in SESSION_MIX])
_LENGTHS = np.array([len(steps) for _, steps in SESSION_MIX])
_OFFSETS = np.cumsum(_LENGTHS) - _LENGTHS
_STEPS = np.array(["svpckb".index(step) for _, steps in SESSION_MIX for step in steps])
_SIGNUP, _VIEW, _PAGE, _CART, _CHECKOUT, _PURCHASE = range(6)
_TYPES = ("signup", "product_view", "page_view", "add_to_cart", "checkout", "purchase")
_BUYS = np.array(["b" in steps for _, steps in SESSION_MIX])
_ABANDONED_AT_CHECKOUT = next(i for i, (_, steps) in enumerate(SESSION_MIX) if "k" in steps and "b" not in steps)
# Position, within its session, of the product view that an add-to-cart follows up; -1 in sessions without a cart.
_CARTED_VIEW = np.array([steps.rindex("v", 0, steps.index("c")) if "c" in steps else -1 for _, steps in SESSION_MIX])

SESSIONS_PER_90_DAYS = (EVENTS_PER_90_DAYS - USERS_PER_90_DAYS) / float(_SHARES @ _LENGTHS)
# Visitors who are not recognised, among the sessions that neither sign up nor buy: half of all sessions.
ANONYMOUS = 0.5 * SESSIONS_PER_90_DAYS / (SESSIONS_PER_90_DAYS * (1 - _SHARES[_BUYS].sum()) - USERS_PER_90_DAYS)

DEVICES, DEVICE_SHARES = ("mobile", "desktop", "tablet"), (0.58, 0.36, 0.06)
# In the order of the acquisition channels: a customer's first session comes from the channel that won the customer.
REFERRERS = ("google.com", "ads.google.com", "instagram.com", "newsletter", "friend", "direct", "partner-blog")
PLACES = ("/", "/search", "/sale", *(f"/category/{one.name.lower().split()[0]}" for one in CATEGORIES))
PATHS = (*PLACES, "/products/", "/signup", "/checkout", "/checkout/thanks")
_CONTEXTS = [f'{{"device": "{d}", "referrer": "{r}", "page": "' for d in DEVICES for r in REFERRERS]


class Sessions:
    """The tracked web sessions of a world.

    Every sign-up opens a session, in which its `signup` event comes first, at the user's created_at. A buying session
    belongs to an order of the day: it ends with the purchase one second after the order is placed, and the product it
    puts into the cart is the order's first line. A session never crosses midnight.
    """

    def __init__(self, world: World, people: People, catalogue: Catalogue, orders: Orders) -> None:
        self._world = world
        self._people = people
        self._catalogue = catalogue
        self._orders = orders
        visits = (SESSIONS_PER_90_DAYS - USERS_PER_90_DAYS) * world.scale
        self._volume = Volume(world, "sessions", visits, moved_by=lambda days: world.grown(days) * events(world, days))

    def changes(self, first: int, last: int) -> pa.Table:
        """Events that occurred on days `first` to `last` excluded."""
        rows = concatenated([self._make(day) for day in range(first, last)])
        is_product = rows["path"] == PATHS.index("/products/")
        page = arrow.picked([*PATHS, ""], rows["path"])
        product = arrow.either(is_product, arrow.text(rows["product_id"]), arrow.picked([""], rows["path"] * 0))
        return arrow.table(
            EVENTS,
            {
                "id": rows["id"],
                "user_id": arrow.nullable(rows["user_id"]),
                "session_id": arrow.fixed_width(rows["session_id"]),
                "event_type": arrow.picked(_TYPES, rows["type"]),
                "product_id": arrow.nullable(rows["product_id"]),
                "order_id": arrow.nullable(rows["order_id"]),
                "properties": arrow.joined(arrow.picked(_CONTEXTS, rows["context"]), page, product, '"}'),
                "occurred_at": arrow.timestamps(rows["occurred"]),
            },
        )

    def _make(self, day: int) -> Columns:
        rng = self._world.rng("events", day)
        visits = self._visits(rng, day)
        steps = self._steps(rng, day, visits)
        signups = self._signup_events(visits)
        rows = concatenated([signups, steps])
        by_time = np.lexsort((rows["session"], rows["occurred"]))
        session = rows.pop("session")[by_time]
        rows = {name: values[by_time] for name, values in rows.items()}
        return rows | {
            "id": self._world.ids(day, len(session)),
            "user_id": visits["user_id"][session],
            "session_id": visits["session_id"][session],
            "context": visits["context"][session],
        }

    def _visits(self, rng: np.random.Generator, day: int) -> Columns:
        """One row per session: first those that buy, then the other visits, then those that begin with a sign-up.

        `start` and `end` bound its steps in time; a buying session is anchored at its end, the others at their start.
        """
        midnight = self._world.midnight(day)
        users = self._people.cohorts.until(day)
        orders = self._orders.created_on(day).orders
        known, signups = self._people.cohorts.count(day - 1), self._people.count(day)
        n = self._volume.on(day) + signups
        kind = choose_evenly(rng, _SHARES, n)
        buys = np.flatnonzero(_BUYS[kind])
        buyers = buys[: min(len(orders["id"]), n - signups)]
        kind[buys[len(buyers) :]] = _ABANDONED_AT_CHECKOUT  # more purchases than orders: only in very small worlds
        kind = np.concatenate((kind[buyers], np.delete(kind, buyers)))
        bought = rng.permutation(len(orders["id"]))[: len(buyers)]
        others = n - signups - len(buyers)

        who = np.concatenate(
            (orders["user"][bought], self._people.shoppers(rng, day, others), known + np.arange(signups))
        )
        anonymous = np.zeros(n, dtype=bool)
        anonymous[len(buyers) : len(buyers) + others] = rng.random(others) < ANONYMOUS
        from_where = offsets(COUNTRY_ZONES, self._world.date_of(day))[choose(rng, COUNTRY_SHARES, n)]
        start = midnight + clock(rng, n, closing=LAST_SESSION, ahead=from_where)
        recognised = np.flatnonzero(~anonymous)
        start[recognised] = self._people.visit_times(rng, day, who[recognised], LAST_SESSION)
        start[n - signups :] = users["created"][known:]
        earliest = np.maximum(midnight + CATALOGUE_READY, users["created"][who] + SECOND)
        end = np.full(n, midnight + DAY - SECOND)
        start[: len(buyers)] = earliest[: len(buyers)]
        end[: len(buyers)] = orders["created"][bought] + SECOND

        referrer = choose(rng, CHANNEL_SHARES, n)
        referrer[n - signups :] = users["channel"][known:]
        order_id, product_id = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        order_id[: len(buyers)] = orders["id"][bought]
        product_id[: len(buyers)] = self._first_products(day, bought)
        return {
            "kind": kind,
            "start": start,
            "end": end,
            "user_id": np.where(anonymous, 0, users["id"][who]),
            "order_id": order_id,
            "product_id": product_id,
            "signup": np.arange(n) >= n - signups,
            "context": choose(rng, DEVICE_SHARES, n) * len(REFERRERS) + referrer,
            "session_id": _uuids(rng, n),
        }

    def _first_products(self, day: int, orders: np.ndarray) -> np.ndarray:
        items = self._orders.created_on(day).items
        return self._catalogue.ids(day, items["product"][np.searchsorted(items["order"], orders)])

    def _steps(self, rng: np.random.Generator, day: int, visits: Columns) -> Columns:
        """The events of the sessions after a sign-up, session by session."""
        kind = visits["kind"]
        length = _LENGTHS[kind]
        begin = np.cumsum(length) - length
        session = np.repeat(np.arange(len(kind)), length)
        n = len(session)
        step = _STEPS[np.arange(n) - begin[session] + _OFFSETS[kind][session]]

        seen = np.where(step == _VIEW, self._catalogue.ids(day, self._catalogue.sold(rng, day, n)), 0)
        with_cart = np.flatnonzero(_CARTED_VIEW[kind] >= 0)
        carted_view = begin[with_cart] + _CARTED_VIEW[kind[with_cart]]
        ordered = visits["product_id"][with_cart]
        seen[carted_view] = np.where(ordered != 0, ordered, seen[carted_view])
        carted = np.zeros(len(kind), dtype=np.int64)
        carted[with_cart] = seen[carted_view]
        product_id = np.where(step == _CART, carted[session], seen)

        place = rng.integers(len(PLACES), size=n)
        path = np.select(
            [step == _PAGE, step <= _CART, step == _CHECKOUT],
            [place, len(PLACES), len(PLACES) + 2],
            default=len(PLACES) + 3,
        )
        return {
            "session": session,
            "type": step,
            "product_id": product_id,
            "order_id": np.where(step == _PURCHASE, visits["order_id"][session], 0),
            "path": path,
            "occurred": _moments(rng, visits, session, begin, length),
        }

    @staticmethod
    def _signup_events(visits: Columns) -> Columns:
        session = np.flatnonzero(visits["signup"])
        none = np.zeros(len(session), dtype=np.int64)
        return {
            "session": session,
            "type": none + _SIGNUP,
            "product_id": none,
            "order_id": none,
            "path": none + PATHS.index("/signup"),
            "occurred": visits["start"][session],
        }


def _moments(
    rng: np.random.Generator, visits: Columns, session: np.ndarray, begin: np.ndarray, length: np.ndarray
) -> np.ndarray:
    """When each step occurs: log-normal pauses (median 25 s), shortened where start and end leave less room."""
    pause = np.clip(rng.lognormal(np.log(25 * SECOND), 0.9, len(session)), SECOND, 300 * SECOND)
    running = np.cumsum(pause)
    elapsed = running - (running[begin] - pause[begin])[session]
    lasting = elapsed[begin + length - 1]
    room = (visits["end"] - visits["start"]).astype(float)
    pace = np.minimum(1.0, room / lasting)
    from_start = visits["start"][session] + (elapsed * pace[session]).astype(np.int64)
    from_end = visits["end"][session] - ((lasting[session] - elapsed) * pace[session]).astype(np.int64)
    return np.where(visits["order_id"][session] != 0, from_end, from_start)


def _uuids(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random UUIDs (version 4) as an array of 36-byte strings."""
    raw = rng.integers(0, 256, size=(count, 16), dtype=np.uint8)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    letters = digits[np.stack((raw >> 4, raw & 15), axis=2).reshape(count, 32)]
    written = np.full((count, 36), ord("-"), dtype=np.uint8)
    written[:, [i for i in range(36) if i not in (8, 13, 18, 23)]] = letters
    return written.view("S36").reshape(count)
