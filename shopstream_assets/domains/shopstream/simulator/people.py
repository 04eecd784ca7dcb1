"""Customers: who signs up, how often they buy and for how long, and how their records change."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from shopstream_assets.domains.shopstream.tables import PLANS, USERS
from shopstream_assets.simulation import arrow
from shopstream_assets.simulation.names import (
    COUNTRY_CODES,
    COUNTRY_SHARES,
    COUNTRY_ZONES,
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
    offsets,
)

USERS_PER_90_DAYS = 1_000
# A store is advertised when it opens: so many times as many sign up on its first day, less with each day after it.
LAUNCH, LAUNCH_DAYS = 4.0, 12.0

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
# Many people sign up in order to buy: so many times as often as later on their first day, less with each day after it.
FIRST_DAYS_BOOST, FIRST_DAYS = 3.0, 2.0
# Somebody buys even where all have left, in a tiny world of a few customers: this part of what one of them wants.
LEAST_DEMAND = 0.1
FREQUENCY_OF_PLAN = np.array([1.0, 1.2, 1.5, 2.0])
FREQUENCY_OF_CHANNEL = np.array([1.0, 0.8, 0.7, 1.3, 1.4, 1.1, 0.8])


class People:
    """The customers of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._volume = Volume(world, "users", USERS_PER_90_DAYS * world.scale, moved_by=self._advertised)
        self.cohorts = Cohorts(self._signups)
        self._demand: list[float] = []

    def _advertised(self, days: int) -> np.ndarray:
        return self._world.grown(days) * (1 + (LAUNCH - 1) * np.exp(-np.arange(days) / LAUNCH_DAYS))

    def count(self, day: int) -> int:
        """Sign-ups of `day`: somebody on the first, whom the first orders are placed by."""
        return max(self._volume.on(day), int(day == 0))

    def _signups(self, day: int) -> Columns:
        rng = self._world.rng("users", day)
        n = self.count(day)
        country = choose(rng, COUNTRY_SHARES, n)
        times = clock(rng, n, CATALOGUE_READY, LAST_SIGNUP, offsets(COUNTRY_ZONES, self._world.date_of(day))[country])
        by_time = np.argsort(times, kind="stable")
        country, created = country[by_time], self._world.midnight(day) + times[by_time]
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

    def _eager(self, day: int) -> np.ndarray:
        """How often each customer (row of `cohorts`) comes on `day`, relative to the others; 0 after leaving."""
        users = self.cohorts.until(day)
        age = np.maximum(self._world.midnight(day) - users["created"], 0) / DAY
        boost = 1 + (FIRST_DAYS_BOOST - 1) * np.exp(-age / FIRST_DAYS)
        return users["frequency"] * boost * (users["leaves"] >= self._world.midnight(day))

    def demand(self, days: int) -> np.ndarray:
        """How much is wanted on each of the first `days` days: orders come from the customers who are there then."""
        for day in range(len(self._demand), days):
            self._demand.append(max(self._eager(day).sum(), LEAST_DEMAND))
        return np.array(self._demand[:days])

    def shoppers(self, rng: np.random.Generator, day: int, count: int) -> np.ndarray:
        """`count` customers (rows of `cohorts`, with repeats) who come on `day`, each in proportion to its frequency.

        Customers who have left do not come, unless nobody else is there.
        """
        eager = self._eager(day)
        return choose(rng, eager if eager.any() else self.cohorts.until(day)["frequency"], count)

    def visit_times(self, rng: np.random.Generator, day: int, who: np.ndarray, closing: int) -> np.ndarray:
        """A moment of `day` for each of these customers: when people shop by the clocks of their country, and after
        sign-up for those of that day.
        """
        midnight, users = self._world.midnight(day), self.cohorts.until(day)
        ahead = offsets(COUNTRY_ZONES, self._world.date_of(day))[users["country"][who]]
        times = midnight + clock(rng, len(who), closing=closing, ahead=ahead)
        today = who >= self.cohorts.count(day - 1)
        # At least two minutes of room for the session between sign-up and order.
        earliest = users["created"][who[today]] + 2 * MINUTE
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
