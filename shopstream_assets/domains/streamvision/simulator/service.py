"""The simulated service, day by day: the changes that its operational database would have seen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator

import pyarrow as pa

from shopstream_assets.domains.streamvision.simulator.catalogue import Catalogue
from shopstream_assets.domains.streamvision.simulator.members import Members
from shopstream_assets.domains.streamvision.simulator.ratings import Ratings
from shopstream_assets.domains.streamvision.simulator.searches import Searches
from shopstream_assets.domains.streamvision.simulator.viewing import Viewing
from shopstream_assets.domains.streamvision.tables import (
    CONTENT,
    EPISODE_VIEWING,
    EPISODES,
    RATINGS,
    SEARCH_QUERIES,
    SUBSCRIPTION_EVENTS,
    USERS,
    VIEWING_SESSIONS,
)
from shopstream_assets.platform.tables import SourceTable
from shopstream_assets.shopstream.simulator import arrow
from shopstream_assets.shopstream.simulator.world import World

# Changed rows a day at scale 1, a good third above the mean, for the size of a batch.
_BUSY_ROWS_PER_DAY = {"users": 200, "content": 20, "episodes": 20, "viewing_sessions": 400, "search_queries": 100}


class Simulator:
    """A service that opened on `start_date`: a pure function of (start_date, seed, scale), with no database, no clock.

    At scale 1 its first year holds 10,000 users, 2,000 titles with some 5,000 episodes, 100,000 viewing sessions with
    some 30,000 viewings of episodes, 20,000 ratings, some 12,000 subscription events and 25,000 searches. Volumes grow
    in proportion to `scale`, titles with its square root.

    A row is decided on its day, together with the moments of its later changes, from a random stream of its own table
    and day; so any days may be played in any order, any number of times, alone or as ranges. Viewers live by their own
    clocks: what begins on one local day is spread over up to three days of UTC, and each day of UTC gathers its rows
    from the local days around it.

    An instance caches what it generated (all users, titles and episodes so far, and 45 days of sessions) and is not
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
        members, catalogue = Members(self.world), Catalogue(self.world)
        viewing = Viewing(self.world, members, catalogue)
        self._changes: dict[str, tuple[SourceTable, Callable[[int, int], pa.Table]]] = {
            "users": (USERS, members.changes),
            "content": (CONTENT, catalogue.changes),
            "episodes": (EPISODES, catalogue.episode_changes),
            "viewing_sessions": (VIEWING_SESSIONS, viewing.changes),
            "episode_viewing": (EPISODE_VIEWING, viewing.episode_changes),
            "ratings": (RATINGS, Ratings(self.world, viewing).changes),
            "subscription_events": (SUBSCRIPTION_EVENTS, members.event_changes),
            "search_queries": (SEARCH_QUERIES, Searches(self.world, members, catalogue).changes),
        }

    def changes(self, table: str, first: dt.date, last_exclusive: dt.date) -> pa.Table:
        """Rows of `table` whose cursor lies in [first, last_exclusive) UTC, each as it stood at the end of that window.

        The schema is the declared one; one row per primary key, sorted by cursor and id. Days before `start_date` are
        empty. Raises KeyError for a table the service does not have.
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
        days = max(1, int(rows / (_BUSY_ROWS_PER_DAY.get(table, 100) * self.world.scale)))
        low, high = max(0, self.world.day_of(first)), self.world.day_of(last_exclusive)
        for day in range(low, high, days):
            yield self.changes(table, self.world.date_of(day), self.world.date_of(min(high, day + days)))
