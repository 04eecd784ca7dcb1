"""Viewing sessions: who watches what, for how long, on which device, in which quality; and their episodes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from shopstream_assets.domains.streamvision.simulator.calendar import CODES, OPENING, SHARES, Volume, evenings
from shopstream_assets.domains.streamvision.simulator.catalogue import SERIES, Catalogue
from shopstream_assets.domains.streamvision.simulator.members import Members
from shopstream_assets.domains.streamvision.tables import DEVICES, EPISODE_VIEWING, RESOLUTIONS, VIEWING_SESSIONS
from shopstream_assets.simulation import arrow
from shopstream_assets.simulation.world import (
    HOUR,
    MINUTE,
    SECOND,
    Columns,
    World,
    choose,
    concatenated,
    rows_of,
)

SESSIONS_PER_YEAR = 100_000
TRAVELLING = 0.03
DEVICE_KEPT = 0.7
DEVICE_SHARES = (0.44, 0.30, 0.14, 0.12)
# Wanted on each device, of RESOLUTIONS; the plan sets the limit: free and basic watch in HD, premium in 4K.
WANTED = np.array(
    [[0.04, 0.16, 0.48, 0.32], [0.26, 0.46, 0.24, 0.04], [0.08, 0.34, 0.48, 0.10], [0.14, 0.42, 0.38, 0.06]]
)
BEST_OF_PLAN = np.array([1, 1, 2, 3])
BITRATE = np.array([1_400, 3_600, 6_800, 17_500])
# The picture stands still so many times an hour: worse on the way, in high resolution, and when everyone watches.
STALLS_OF_DEVICE = np.array([0.7, 1.9, 1.0, 1.4])
STALLS_OF_RESOLUTION = np.array([0.6, 0.9, 1.2, 2.1])
PEAK_HOURS, STALLS_AT_PEAK = (19, 22), 1.8
# Of those who begin, the share that watches to the end; the others stop anywhere, most of them early.
FINISHED = 0.46
# Episodes begun in one sitting, and the share of the sessions that take up a series where it begins.
EPISODE_SHARES = (0.71, 0.20, 0.07, 0.02)
FROM_THE_START = 0.4
COMPLETED = 0.9
# How many days before and after its local day a session can lie in UTC: clocks differ by half a day, it may be long,
# and a user may have joined after the hour that was drawn.
DAYS_AROUND = 2


class Viewing:
    """The sessions of a world, by the local day on which they begin. The days last asked for are kept."""

    _KEPT_DAYS = 45

    def __init__(self, world: World, members: Members, catalogue: Catalogue) -> None:
        self._world, self._members, self._catalogue = world, members, catalogue
        self._volume = Volume(world, "viewing_sessions", SESSIONS_PER_YEAR * world.scale)
        self._kept: dict[int, tuple[Columns, Columns]] = {}

    def begun_on(self, day: int) -> tuple[Columns, Columns]:
        """The sessions that begin on the local day `day`, and the viewings of episodes in them."""
        if day not in self._kept:
            while len(self._kept) >= self._KEPT_DAYS:
                del self._kept[next(iter(self._kept))]
            self._kept[day] = self._make(day)
        return self._kept[day]

    def _make(self, day: int) -> tuple[Columns, Columns]:
        rng = self._world.rng("streamvision/viewing_sessions", day)
        n = self._volume.on(day)
        who = self._members.viewers(rng, day, n)
        users = rows_of(self._members.cohorts.until(day), who)
        noon = np.full(n, self._world.midnight(day) + 12 * HOUR)
        country = self._members.countries(users, noon)
        country = np.where(rng.random(n) < TRAVELLING, choose(rng, SHARES, n), country)
        started, hour = evenings(rng, self._world, day, country)
        earliest = np.maximum(users["created"] + 2 * MINUTE, self._world.midnight(0) + OPENING)
        started = np.where(started < earliest, earliest + (rng.random(n) * 3 * HOUR).astype(np.int64), started)
        title = self._catalogue.watched(rng, day, country)
        titles = rows_of(self._catalogue.titles.until(day), title)

        device = np.where(rng.random(n) < DEVICE_KEPT, users["device"], choose(rng, DEVICE_SHARES, n)).astype(np.int64)
        wanted = (rng.random(n)[:, None] >= np.cumsum(WANTED[device], axis=1)[:, :-1]).sum(axis=1)
        resolution = np.minimum(wanted, BEST_OF_PLAN[self._members.plans(users, started)])
        finishes = rng.random(n) < FINISHED
        reached = np.where(finishes, rng.uniform(0.92, 1.0, n), rng.beta(0.8, 1.6, n))

        episodes = self._sittings(rng, day, title, titles, reached)
        minutes = np.where(titles["kind"] == SERIES, 0, titles["minutes"])
        length = 60 * minutes + np.bincount(episodes["session"], 60 * episodes["minutes"], n).astype(np.int64)
        seconds = np.maximum((reached * 60 * minutes).astype(np.int64), 5 * (minutes > 0))
        seconds += np.bincount(episodes["session"], episodes["seconds"], n).astype(np.int64)
        peak = (hour >= PEAK_HOURS[0]) & (hour <= PEAK_HOURS[1])
        stalls = STALLS_OF_DEVICE[device] * STALLS_OF_RESOLUTION[resolution] * np.where(peak, STALLS_AT_PEAK, 1.0)
        sessions: Columns = {
            "id": self._world.ids(day, n),
            "user": who,
            "user_id": users["id"],
            "title": title,
            "content_id": titles["id"],
            "quality": titles["quality"],
            "started": started,
            "ended": started + seconds * SECOND,
            "seconds": seconds,
            "completion": seconds * 10_000 // np.maximum(length, 1),
            "device": device,
            "resolution": resolution,
            "stalls": rng.poisson(stalls * seconds / 3600),
            "bitrate": (BITRATE[resolution] * rng.normal(1, 0.08, n).clip(0.7, 1.3)).astype(np.int64),
            "country": country,
        }
        session = episodes["session"]
        watched = np.cumsum(episodes["seconds"])
        begin = np.searchsorted(session, session)
        until = watched - (watched[begin] - episodes["seconds"][begin])
        viewings: Columns = {
            "id": self._world.ids(day, len(session)),
            "session_id": sessions["id"][session],
            "user_id": sessions["user_id"][session],
            "episode_id": episodes["id"],
            "seconds": episodes["seconds"],
            "completed": episodes["seconds"] >= COMPLETED * 60 * episodes["minutes"],
            "occurred": started[session] + until * SECOND,
        }
        return sessions, viewings

    def _sittings(
        self, rng: np.random.Generator, day: int, title: np.ndarray, titles: Columns, reached: np.ndarray
    ) -> Columns:
        """The episodes that the sessions with a series consist of, in order; all but the last are watched whole."""
        all_titles, episodes = self._catalogue.titles.until(day), self._catalogue.episodes.until(day)
        first_of = np.cumsum(all_titles["episodes"]) - all_titles["episodes"]
        session = np.flatnonzero(titles["kind"] == SERIES)
        count = titles["episodes"][session]
        start = np.where(rng.random(len(session)) < FROM_THE_START, 0, (rng.random(len(session)) * count).astype(int))
        begun = np.minimum(choose(rng, EPISODE_SHARES, len(session)) + 1, count - start)
        sitting = np.repeat(np.arange(len(session)), begun)
        place = np.arange(len(sitting)) - np.repeat(np.cumsum(begun) - begun, begun)
        row = first_of[title[session[sitting]]] + start[sitting] + place
        minutes = episodes["minutes"][row]
        is_last = place == begun[sitting] - 1
        share = np.where(is_last, reached[session[sitting]], 1.0)
        return {
            "session": session[sitting],
            "id": episodes["id"][row],
            "minutes": minutes,
            "seconds": np.maximum((share * 60 * minutes).astype(np.int64), 5),
        }

    def changes(self, first: int, last: int) -> pa.Table:
        """Sessions that ended on days `first` to `last` excluded."""
        rows = self._of(0, "ended", first, last)
        return arrow.table(
            VIEWING_SESSIONS,
            {
                "id": rows["id"],
                "user_id": rows["user_id"],
                "content_id": rows["content_id"],
                "started_at": arrow.timestamps(rows["started"]),
                "ended_at": arrow.timestamps(rows["ended"]),
                "duration_seconds": rows["seconds"].astype(np.int32),
                "completion_rate": pa.array(rows["completion"]).cast(pa.decimal128(19, 0)).view(_SHARE),
                "device": arrow.picked(DEVICES, rows["device"]),
                "resolution": arrow.picked(RESOLUTIONS, rows["resolution"]),
                "buffering_events": rows["stalls"].astype(np.int32),
                "bitrate_kbps": rows["bitrate"].astype(np.int32),
                "country": arrow.picked(CODES, rows["country"]),
            },
        )

    def episode_changes(self, first: int, last: int) -> pa.Table:
        """Viewings of episodes that were stopped on days `first` to `last` excluded."""
        rows = self._of(1, "occurred", first, last)
        return arrow.table(
            EPISODE_VIEWING,
            {
                "id": rows["id"],
                "session_id": rows["session_id"],
                "episode_id": rows["episode_id"],
                "user_id": rows["user_id"],
                "watched_seconds": rows["seconds"].astype(np.int32),
                "completed": rows["completed"],
                "occurred_at": arrow.timestamps(rows["occurred"]),
            },
        )

    def _of(self, part: int, cursor: str, first: int, last: int) -> Columns:
        """The rows of a part whose cursor lies on days `first` to `last` excluded, in its order."""
        low, high = self._world.midnight(first), self._world.midnight(last)
        found = []
        for day in range(max(0, first - DAYS_AROUND), last + 1):
            rows = self.begun_on(day)[part]
            found.append(rows_of(rows, (rows[cursor] >= low) & (rows[cursor] < high)))
        rows = concatenated(found)
        return rows_of(rows, arrow.order(rows[cursor], rows["id"]))


_SHARE = VIEWING_SESSIONS.column("completion_rate").type.arrow
