"""Customers: who signs up, how often they buy and for how long, and how their records change."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from shopstream_assets.domains.shopstream.tables import PLANS, USERS
from shopstream_assets.simulation import arrow
from shopstream_assets.simulation.names import (
    COUNTRY_CODES,
    COUNTRY_SHARES,
    MAIL_DOMAINS,
    name_indices,
    pools,
)
from shopstream_assets.simulation.world import (
    CATALOGUE_READY,
    DAY,
    HOUR,
    IDS_PER_DAY,
    LAST_SIGNUP,
    MINUTE,
    Cohorts,
    Columns,
    Volume,
    World,
    after,
    choose,
    clock,
)

USERS_PER_90_DAYS = 1_000
# A quarter of the reference customers come on day 0 (a store opens with a waiting list): without them the first days'
# orders would all be placed by a dozen people.
FOUNDERS_SHARE = 0.25

PLAN_SHARES = (0.62, 0.23, 0.12, 0.03)
CHANNELS = ("organic_search", "paid_search", "social", "email", "referral", "direct", "affiliate")
CHANNEL_SHARES = (0.29, 0.20, 0.16, 0.08, 0.09, 0.13, 0.05)

# Customers differ in how often they buy (Gamma-distributed) and in how long they stay: a customer's life is exponential
# with a Gamma-distributed rate, that is Lomax (Pareto II), so that a cohort's share still buying after t days is
# (60 / (60 + t)) ** 0.9: 44 % after 90 days. Both are the Pareto/NBD model of Schmittlein, Morrison and Colombo,
# "Counting Your Customers: Who Are They and What Will They Do Next?", Management Science 33(1), 1987. Together they
# let a fifth of the customers place about two thirds of the orders; the cut keeps one customer from ordering hourly.
FREQUENCY_SHAPE = 0.9
FREQUENCY_CUT = 4.0
LIFE_SHAPE = 0.9
LIFE_SCALE_DAYS = 60
# Many people sign up in order to buy.
SIGNUP_DAY_BOOST = 3.0
FREQUENCY_OF_PLAN = np.array([1.0, 1.2, 1.5, 2.0])
FREQUENCY_OF_CHANNEL = np.array([1.0, 0.8, 0.7, 1.3, 1.4, 1.1, 0.8])


class People:
    """The customers of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        founders = FOUNDERS_SHARE * USERS_PER_90_DAYS * world.scale
        self._founders = max(1, round(founders))
        self._volume = Volume(world, "users", USERS_PER_90_DAYS * world.scale - founders)
        self.cohorts = Cohorts(self._signups)

    def count(self, day: int) -> int:
        """Sign-ups of `day`."""
        return self._volume.on(day) + (self._founders if day == 0 else 0)

    def _signups(self, day: int) -> Columns:
        rng = self._world.rng("users", day)
        n = self.count(day)
        created = self._world.midnight(day) + np.sort(clock(rng, n, CATALOGUE_READY, LAST_SIGNUP))
        country = choose(rng, COUNTRY_SHARES, n)
        plan = choose(rng, PLAN_SHARES, n)
        channel = choose(rng, CHANNEL_SHARES, n)
        second = _next_plan(rng, plan)
        third = _next_plan(rng, second)
        frequency = rng.gamma(FREQUENCY_SHAPE, size=n) * FREQUENCY_OF_PLAN[plan] * FREQUENCY_OF_CHANNEL[channel]
        changed = after(rng, created, 0.25, HOUR, 50 * DAY)
        return {
            "id": self._world.ids(day, n),
            "created": created,
            "country": country.astype(np.int8),
            "channel": channel.astype(np.int8),
            "first": name_indices(rng, country).astype(np.int32),
            "last": name_indices(rng, country).astype(np.int32),
            "new_last": name_indices(rng, country).astype(np.int32),
            "domain": rng.integers(len(MAIL_DOMAINS), size=n).astype(np.int8),
            "plans": np.stack((plan, second, third), axis=1).astype(np.int8),
            "plan_changed": changed,
            "plan_changed_again": after(rng, changed, 0.30, 7 * DAY, 90 * DAY),
            "email_changed": after(rng, created, 0.06, DAY, 150 * DAY),
            "renamed": after(rng, created, 0.02, DAY, 150 * DAY),
            "frequency": np.minimum(frequency, FREQUENCY_CUT),
            "leaves": created + (rng.pareto(LIFE_SHAPE, n).clip(max=1e5) * LIFE_SCALE_DAYS * DAY).astype(np.int64),
        }

    def shoppers(self, rng: np.random.Generator, day: int, count: int) -> np.ndarray:
        """`count` customers (rows of `cohorts`, with repeats) who come on `day`, each in proportion to its frequency.

        Customers who have left do not come, unless nobody else is there.
        """
        users = self.cohorts.until(day)
        weight = users["frequency"] * (users["leaves"] >= self._world.midnight(day))
        weight[self.cohorts.count(day - 1) :] *= SIGNUP_DAY_BOOST
        if not weight.any():
            weight = users["frequency"]
        return choose(rng, weight, count)

    def visit_times(self, rng: np.random.Generator, day: int, who: np.ndarray, closing: int) -> np.ndarray:
        """A moment of `day` for each of these customers: by the shop's hours, after sign-up for those of that day."""
        midnight = self._world.midnight(day)
        times = midnight + clock(rng, len(who), closing=closing)
        today = who >= self.cohorts.count(day - 1)
        # At least two minutes of room for the session between sign-up and order.
        earliest = self.cohorts.until(day)["created"][who[today]] + 2 * MINUTE
        times[today] = earliest + (rng.random(len(earliest)) * (midnight + closing - earliest)).astype(np.int64)
        return times

    def changes(self, first: int, last: int) -> pa.Table:
        """Users created or changed on days `first` to `last` excluded, as they stood at the end."""
        users = self.cohorts.until(last - 1)
        low, high = self._world.midnight(first), self._world.midnight(last)
        moments = ("created", "plan_changed", "plan_changed_again", "email_changed", "renamed")
        updated = np.full(len(users["id"]), -1, dtype=np.int64)
        for name in moments:
            np.maximum(updated, users[name], out=updated, where=users[name] < high)
        chosen = np.flatnonzero(updated >= low)
        chosen = chosen[arrow.order(updated[chosen], users["id"][chosen])]
        rows = {name: values[chosen] for name, values in users.items()}
        steps = (rows["plan_changed"] < high).astype(np.int64) + (rows["plan_changed_again"] < high)
        pool = pools(self._world.seed)
        return arrow.table(
            USERS,
            {
                "id": rows["id"],
                "email": emails(self._world.seed, rows, moved=rows["email_changed"] < high),
                "first_name": arrow.picked(pool.first_names, rows["first"]),
                "last_name": arrow.picked(
                    pool.last_names, np.where(rows["renamed"] < high, rows["new_last"], rows["last"])
                ),
                "country": arrow.picked(COUNTRY_CODES, rows["country"]),
                "plan": arrow.picked(PLANS, rows["plans"][np.arange(len(chosen)), steps]),
                "acquisition_channel": arrow.picked(CHANNELS, rows["channel"]),
                "created_at": arrow.timestamps(rows["created"]),
                "updated_at": arrow.timestamps(updated[chosen]),
            },
        )


def emails(seed: int, rows: Columns, moved: np.ndarray | bool = False, mark: str = "") -> pa.Array:
    """Addresses first.last.YYMMDD-sequence@domain, unique by the date and sequence of the row's id.

    Where `moved`, the address is at the next domain. `mark` keeps the addresses of another table apart.
    """
    pool = pools(seed)
    date, sequence = np.divmod(rows["id"], IDS_PER_DAY)
    domain = (rows["domain"].astype(np.int64) + moved) % len(MAIL_DOMAINS)
    return arrow.joined(
        arrow.picked(pool.first_slugs, rows["first"]),
        ".",
        arrow.picked(pool.last_slugs, rows["last"]),
        f".{mark}",
        arrow.text(date % 1_000_000),
        "-",
        arrow.text(sequence),
        "@",
        arrow.picked(MAIL_DOMAINS, domain),
    )


def _next_plan(rng: np.random.Generator, plan: np.ndarray) -> np.ndarray:
    """The plan after a change: four in five move up, the others down; at either end there is one way only."""
    step = np.where(rng.random(len(plan)) < 0.8, 1, -1)
    step = np.where(plan == 0, 1, np.where(plan == len(PLANS) - 1, -1, step))
    return plan + step
