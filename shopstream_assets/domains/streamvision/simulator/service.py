"""The simulated service, day by day: the changes that its operational database would have seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

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
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.simulation.simulated_source import Changes, SimulatedSource


class Simulator(SimulatedSource):
    """A service that opened on `start_date`.

    At scale 1 its first year holds 10,000 users, 2,000 titles with some 5,000 episodes, 100,000 viewing sessions with
    some 30,000 viewings of episodes, 20,000 ratings, some 12,000 subscription events and 25,000 searches. Volumes grow
    in proportion to `scale`, titles with its square root.

    Viewers live by their own clocks: what begins on one local day is spread over up to three days of UTC, and each day
    of UTC gathers its rows from the local days around it. Kept are all users, titles and episodes so far, and 45 days
    of sessions.
    """

    busy_rows_per_day: ClassVar[Mapping[str, int]] = {
        "users": 200,
        "content": 20,
        "episodes": 20,
        "viewing_sessions": 400,
        "search_queries": 100,
    }

    def tables(self) -> Mapping[SourceTable, Changes]:
        """The service's eight tables."""
        members, catalogue = Members(self.world), Catalogue(self.world)
        viewing = Viewing(self.world, members, catalogue)
        return {
            USERS: members.changes,
            CONTENT: catalogue.changes,
            EPISODES: catalogue.episode_changes,
            VIEWING_SESSIONS: viewing.changes,
            EPISODE_VIEWING: viewing.episode_changes,
            RATINGS: Ratings(self.world, viewing).changes,
            SUBSCRIPTION_EVENTS: members.event_changes,
            SEARCH_QUERIES: Searches(self.world, members, catalogue).changes,
        }
