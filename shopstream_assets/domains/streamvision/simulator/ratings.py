"""Ratings: given after a session, by how good the title is and how much of it was watched; some are edited."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from shopstream_assets.domains.streamvision.simulator.calendar import Volume
from shopstream_assets.domains.streamvision.simulator.comments import comments, written
from shopstream_assets.domains.streamvision.simulator.viewing import DAYS_AROUND, Viewing
from shopstream_assets.domains.streamvision.tables import RATINGS
from shopstream_assets.simulation import arrow
from shopstream_assets.simulation.world import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Columns,
    World,
    after,
    concatenated,
    latest,
    rows_of,
)

RATINGS_PER_YEAR = 20_000
# A rating is edited within its first weeks or never.
EDITED, EDITED_WITHIN_DAYS = 0.06, 20


class Ratings:
    """The ratings of a world, by the local day of the session before them."""

    def __init__(self, world: World, viewing: Viewing) -> None:
        self._world, self._viewing = world, viewing
        self._volume = Volume(world, "ratings", RATINGS_PER_YEAR * world.scale)
        self._kept: dict[int, Columns] = {}

    def _given_on(self, day: int) -> Columns:
        if day not in self._kept:
            while len(self._kept) >= 2 * EDITED_WITHIN_DAYS:
                del self._kept[next(iter(self._kept))]
            self._kept[day] = self._make(day)
        return self._kept[day]

    def _make(self, day: int) -> Columns:
        rng = self._world.rng("streamvision/ratings", day)
        sessions, _ = self._viewing.begun_on(day)
        n = min(self._volume.on(day), len(sessions["id"]))
        session = rng.permutation(len(sessions["id"]))[:n]
        rows = rows_of(sessions, session)
        liked = 3.1 + (rows["quality"] - 6.6) * 0.7 + (rows["completion"] / 10_000 - 0.5) * 1.6
        stars = np.clip(np.round(liked + rng.normal(0, 0.9, n)), 1, 5).astype(np.int64)
        edited = np.clip(stars + rng.choice((-1, 1), n), 1, 5)
        created = rows["ended"] + 5 * SECOND + rng.exponential(4 * MINUTE, n).astype(np.int64).clip(max=2 * HOUR)
        changed = after(rng, created, EDITED, HOUR, 6 * DAY)
        return {
            "id": self._world.ids(day, n),
            "user_id": rows["user_id"],
            "content_id": rows["content_id"],
            "stars": np.stack((stars, edited), axis=1),
            "comment": np.stack(
                (comments(rng, rows["country"], stars), comments(rng, rows["country"], edited)), axis=1
            ),
            "moments": np.stack((created, np.minimum(changed, created + (EDITED_WITHIN_DAYS - 4) * DAY)), axis=1),
            "is_edited": changed != np.iinfo(np.int64).max,
        }

    def changes(self, first: int, last: int) -> pa.Table:
        """Ratings given or edited on days `first` to `last` excluded, as they stood at the end."""
        low, high = self._world.midnight(first), self._world.midnight(last)
        found = []
        for day in range(max(0, first - EDITED_WITHIN_DAYS - DAYS_AROUND), last + 1):
            rows = self._given_on(day)
            moments = np.where(
                np.column_stack((np.ones(len(rows["id"]), bool), rows["is_edited"])), rows["moments"], high
            )
            updated = latest(moments, high)
            found.append(rows_of(rows | {"updated": updated}, updated >= low))
        rows = concatenated(found)
        rows = rows_of(rows, arrow.order(rows["updated"], rows["id"]))
        place = np.arange(len(rows["id"]))
        version = (rows["updated"] != rows["moments"][:, 0]).astype(int)
        return arrow.table(
            RATINGS,
            {
                "id": rows["id"],
                "user_id": rows["user_id"],
                "content_id": rows["content_id"],
                "rating": rows["stars"][place, version].astype(np.int16),
                "comment": written(rows["comment"][place, version]),
                "created_at": arrow.timestamps(rows["moments"][:, 0]),
                "updated_at": arrow.timestamps(rows["updated"]),
            },
        )
