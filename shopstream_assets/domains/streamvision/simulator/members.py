"""Users: who joins, what they subscribe to and when that changes, how much they watch, and when they leave."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shopstream_assets.domains.streamvision.simulator.calendar import (
    CATALOGUE_READY,
    CODES,
    FIRST_USERS_READY,
    JOINING_WEEK,
    LOCALE,
    OPENING,
    SHARES,
    Volume,
    spread,
)
from shopstream_assets.domains.streamvision.tables import (
    AGE_GROUPS,
    DEVICES,
    EVENT_TYPES,
    FREE,
    PAID_PLANS,
    SUBSCRIPTION_EVENTS,
    USERS,
)
from shopstream_assets.simulation import arrow
from shopstream_assets.simulation.names import MAIL_DOMAINS, NAMES_PER_LOCALE, pools
from shopstream_assets.simulation.world import (
    DAY,
    HOUR,
    IDS_PER_DAY,
    MINUTE,
    NEVER,
    Cohorts,
    Columns,
    World,
    after,
    choose,
    latest,
)

USERS_PER_YEAR = 10_000
# A service opens with those who had waited for it.
FOUNDERS_SHARE = 0.30
PRICES = np.array([0, 5_99, 11_99, 17_99])  # cents a month, of free and the paid plans
FIRST_PLAN_SHARES = (0.36, 0.40, 0.24)
PAYMENT_METHODS = ("card", "paypal", "direct_debit", "apple_pay", "gift_card")
PAYMENT_SHARES = (0.54, 0.22, 0.13, 0.09, 0.02)
AGE_SHARES = (0.17, 0.27, 0.22, 0.16, 0.11, 0.07)
DEVICE_SHARES = (0.46, 0.28, 0.15, 0.11)

# Of the users, those who subscribe within the hour (more of those who had waited for the service to open), and later.
SUBSCRIBES_WHO_WAITED, SUBSCRIBES_AT_ONCE, SUBSCRIBES_LATER = 0.68, 0.345, 0.10
# A subscription is renewed every half year, unless something else happens in between.
TERM = 182 * DAY
CANCELS, UPGRADES, DOWNGRADES, COMES_BACK = 0.25, 0.12, 0.07, 0.25
# Steps of a subscription's life: enough for three years and more, after which it stays as it is.
STEPS = 14
NEW, UPGRADE, DOWNGRADE, RENEWAL, CANCEL = range(len(EVENT_TYPES))
# Identifiers of a user's events: room for the steps and the one that closes the account.
EVENTS_PER_USER = 16
CLOSES = 0.09
LOGINS = 4


class Members:
    """The users of a world, each with all events of the subscription, decided on the day of joining."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._founders = max(1, round(FOUNDERS_SHARE * USERS_PER_YEAR * world.scale))
        per_year = USERS_PER_YEAR * world.scale - self._founders
        self._volume = Volume(world, "users", max(per_year, 0.0), JOINING_WEEK)
        self.cohorts = Cohorts(self._joining)

    def _joining(self, day: int) -> Columns:
        rng = self._world.rng("streamvision/users", day)
        midnight, n = self._world.midnight(day), self._volume.on(day)
        created = spread(rng, n, OPENING, 23 * HOUR)
        if day == 0:
            created = np.concatenate((spread(rng, self._founders, CATALOGUE_READY, FIRST_USERS_READY), created))
            n = len(created)
        created = midnight + created
        country, moved_to = choose(rng, SHARES, n), choose(rng, SHARES, n)
        closed = after(rng, created, CLOSES, 20 * DAY, 300 * DAY)
        names = {name: _names(rng, country) for name in ("first", "last", "new_last")}
        logins = created[:, None] + np.cumsum(rng.exponential(70 * DAY, (n, LOGINS)) + DAY, axis=1).astype(np.int64)
        age = choose(rng, AGE_SHARES, n)
        return {
            "id": self._world.ids(day, n),
            "created": created,
            "country": country.astype(np.int8),
            "moved_to": moved_to.astype(np.int8),
            **{name: values.astype(np.int32) for name, values in names.items()},
            "domain": rng.integers(len(MAIL_DOMAINS), size=n).astype(np.int8),
            "age": age.astype(np.int8),
            "payment": choose(rng, PAYMENT_SHARES, n).astype(np.int8),
            "device": choose(rng, DEVICE_SHARES, n).astype(np.int8),
            "moved": _before(after(rng, created, 0.05, 5 * DAY, 200 * DAY), closed),
            "renamed": _before(after(rng, created, 0.03, DAY, 200 * DAY), closed),
            "logins": _before(logins, closed[:, None]),
            "closed": closed,
            "weight": np.minimum(rng.gamma(0.8, size=n), 5.0) + 0.02,
            **_subscription(rng, created, closed, day),
        }

    def viewers(self, rng: np.random.Generator, day: int, count: int) -> np.ndarray:
        """`count` users (rows of `cohorts`, with repeats) who come on `day`, each by how much they watch.

        One without a subscription comes a fifth as often. Nobody comes any more on the last two days of an account.
        """
        users = self.cohorts.until(day)
        midnight = self._world.midnight(day)
        paying = self.plans(users, np.full(len(users["id"]), midnight + DAY // 2)) > 0
        weight = users["weight"] * (users["closed"] >= midnight + 2 * DAY) * np.where(paying, 1.0, 0.2)
        return choose(rng, weight if weight.any() else users["weight"], count)

    @staticmethod
    def plans(users: Columns, at: np.ndarray) -> np.ndarray:
        """The plan of each of these users at a moment: 0 is free, then the paid ones."""
        happened = (users["events_at"] <= at[:, None]).sum(axis=1)
        return np.where(happened, users["to_plan"][np.arange(len(at)), happened - 1], 0)

    @staticmethod
    def countries(users: Columns, at: np.ndarray) -> np.ndarray:
        """The country of residence of each of these users at a moment."""
        return np.where(users["moved"] <= at, users["moved_to"], users["country"]).astype(np.int64)

    def changes(self, first: int, last: int) -> pa.Table:
        """Users who joined or changed on days `first` to `last` excluded, as they stood at the end."""
        users = self.cohorts.until(last - 1)
        low, high = self._world.midnight(first), self._world.midnight(last)
        moments = [users[name][:, None] for name in ("created", "moved", "renamed", "closed")]
        updated = latest(np.concatenate([*moments, users["logins"], users["changed_at"]], axis=1), high)
        chosen = np.flatnonzero(updated >= low)
        chosen = chosen[arrow.order(updated[chosen], users["id"][chosen])]
        rows = {name: values[chosen] for name, values in users.items()}
        at = np.full(len(chosen), high - 1)
        began = latest(np.where(rows["type"] == NEW, rows["events_at"], NEVER), high)
        ended = latest(np.where(rows["type"] == CANCEL, rows["events_at"], NEVER), high)
        pool, seed = pools(self._world.seed), self._world.seed
        last_name = np.where(rows["renamed"] < high, rows["new_last"], rows["last"])
        return arrow.table(
            USERS,
            {
                "id": rows["id"],
                "email": _addresses(seed, rows),
                "username": _handles(seed, rows),
                "first_name": arrow.picked(pool.first_names, rows["first"]),
                "last_name": arrow.picked(pool.last_names, last_name),
                "country": arrow.picked(CODES, self.countries(rows, at)),
                "age_group": arrow.picked(AGE_GROUPS, rows["age"]),
                "subscription_plan": arrow.picked((FREE, *PAID_PLANS), self.plans(rows, at)),
                "subscription_start": _dates(began, began >= 0),
                "subscription_end": _dates(ended, ended > began),
                "created_at": arrow.timestamps(rows["created"]),
                "last_login": arrow.timestamps(np.maximum(rows["created"], latest(rows["logins"], high))),
                "is_active": rows["closed"] >= high,
                "payment_method": pc.if_else(
                    pa.array(began >= 0), arrow.picked(PAYMENT_METHODS, rows["payment"]), pa.scalar(None, pa.string())
                ),
                "device_preference": arrow.picked(DEVICES, rows["device"]),
                "updated_at": arrow.timestamps(updated[chosen]),
            },
        )

    def event_changes(self, first: int, last: int) -> pa.Table:
        """Subscription events of days `first` to `last` excluded."""
        users = self.cohorts.until(last - 1)
        at = users["events_at"]
        who, step = np.nonzero((at >= self._world.midnight(first)) & (at < self._world.midnight(last)))
        moment, id = at[who, step], users["id"][who] * EVENTS_PER_USER + step
        by_time = arrow.order(moment, id)
        who, step, moment, id = who[by_time], step[by_time], moment[by_time], id[by_time]
        to_plan = users["to_plan"][who, step].astype(np.int64)
        from_plan = np.where(step, users["to_plan"][who, step - 1], 0).astype(np.int64)
        return arrow.table(
            SUBSCRIPTION_EVENTS,
            {
                "id": id,
                "user_id": users["id"][who],
                "event_type": arrow.picked(EVENT_TYPES, users["type"][who, step]),
                "from_plan": _plan_names(from_plan),
                "to_plan": _plan_names(to_plan),
                "amount": arrow.money(PRICES[to_plan]),
                "occurred_at": arrow.timestamps(moment),
            },
        )


def _subscription(rng: np.random.Generator, created: np.ndarray, closed: np.ndarray, day: int) -> Columns:
    """All events of the users' subscriptions: (users, steps) matrices of moments, types and the plans after them.

    `changed_at` are the moments that change the user's row, which a renewal does not.
    """
    n = len(created)
    soon = created + rng.integers(2 * MINUTE, 50 * MINUTE, size=n)
    later = created + DAY + rng.exponential(45 * DAY, n).astype(np.int64)
    drawn = rng.random(n)
    at_once = SUBSCRIBES_WHO_WAITED if day == 0 else SUBSCRIBES_AT_ONCE
    moment = np.where(drawn < at_once, soon, np.where(drawn < at_once + SUBSCRIBES_LATER, later, NEVER))
    plan = choose(rng, FIRST_PLAN_SHARES, n) + 1
    moments, kinds, plans = [moment], [np.full(n, NEW)], [plan]
    for _ in range(STEPS - 2):
        fate, within, back = rng.random(n), rng.random(n), rng.random(n)
        pause = 20 * DAY + rng.exponential(60 * DAY, n).astype(np.int64)
        new_plan = choose(rng, FIRST_PLAN_SHARES, n) + 1
        gone = kinds[-1] == CANCEL
        up = (fate >= CANCELS) & (fate < CANCELS + UPGRADES) & (plan < len(PAID_PLANS))
        down = (fate >= CANCELS + UPGRADES) & (fate < CANCELS + UPGRADES + DOWNGRADES) & (plan > 1)
        kind = np.select([gone, fate < CANCELS, up, down], [NEW, CANCEL, UPGRADE, DOWNGRADE], default=RENEWAL)
        wait = np.where(kind == RENEWAL, TERM, DAY + (within * (TERM - DAY)).astype(np.int64))
        wait = np.where(gone, pause, wait)
        ended = (moments[-1] == NEVER) | (gone & (back >= COMES_BACK))
        moment = np.where(ended, NEVER, np.where(ended, 0, moments[-1]) + wait)
        plan = np.select(
            [kind == NEW, kind == CANCEL, kind == UPGRADE, kind == DOWNGRADE],
            [new_plan, 0, plan + 1, plan - 1],
            default=plan,
        )
        moments.append(moment)
        kinds.append(kind)
        plans.append(plan)
    at, kind, to_plan = (np.stack((*parts, parts[-1]), axis=1) for parts in (moments, kinds, plans))
    at[:, -1] = NEVER
    # Who closes the account cancels with it.
    at[at >= closed[:, None]] = NEVER
    happened = (at != NEVER).sum(axis=1)
    users = np.arange(n)
    paying = (happened > 0) & (to_plan[users, happened - 1] > 0) & (closed != NEVER)
    at[users[paying], happened[paying]] = closed[paying]
    kind[users[paying], happened[paying]] = CANCEL
    to_plan[users[paying], happened[paying]] = 0
    return {
        "events_at": at,
        "type": kind.astype(np.int8),
        "to_plan": to_plan.astype(np.int8),
        "changed_at": np.where(kind == RENEWAL, NEVER, at),
    }


def _before(moments: np.ndarray, end: np.ndarray) -> np.ndarray:
    return np.where(moments < end, moments, NEVER)


def _names(rng: np.random.Generator, country: np.ndarray) -> np.ndarray:
    return LOCALE[country] * NAMES_PER_LOCALE + rng.integers(NAMES_PER_LOCALE, size=len(country))


def _plan_names(plans: np.ndarray) -> pa.Array:
    return pc.if_else(pa.array(plans > 0), arrow.picked((FREE, *PAID_PLANS), plans), pa.scalar(None, pa.string()))


def _dates(moments: np.ndarray, known: np.ndarray) -> pa.Array:
    return pa.array((moments // DAY).astype(np.int32), pa.int32(), mask=~known).cast(pa.date32())


def _handles(seed: int, rows: Columns) -> pa.Array:
    """Public names such as ada_lovelace260301_17, unique by the date and sequence of the user's id."""
    pool = pools(seed)
    date, sequence = np.divmod(rows["id"], IDS_PER_DAY)
    first = arrow.picked(pool.first_slugs, rows["first"])
    last = arrow.picked(pool.last_slugs, rows["last"])
    return arrow.joined(first, "_", last, arrow.text(date % 1_000_000), "_", arrow.text(sequence))


def _addresses(seed: int, rows: Columns) -> pa.Array:
    return arrow.joined(_handles(seed, rows), "@", arrow.picked(MAIL_DOMAINS, rows["domain"].astype(np.int64)))
