"""Searches: for a title, a genre, a person, or something that is not there; and what was opened."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from shopstream_assets.domains.streamvision.simulator.calendar import OPENING, Volume, evenings
from shopstream_assets.domains.streamvision.simulator.catalogue import GENRES, OPENERS, THINGS, Catalogue
from shopstream_assets.domains.streamvision.simulator.members import Members
from shopstream_assets.domains.streamvision.simulator.viewing import DAYS_AROUND
from shopstream_assets.domains.streamvision.tables import SEARCH_QUERIES
from shopstream_assets.simulation import arrow
from shopstream_assets.simulation.world import (
    HOUR,
    MINUTE,
    Columns,
    World,
    choose,
    concatenated,
    rows_of,
)

SEARCHES_PER_YEAR = 25_000
# What is searched for: a title, a word of it, a word with a typing error, a genre, what the catalogue does not have.
KIND_SHARES = (0.38, 0.24, 0.08, 0.18, 0.12)
TITLE, WORD, TYPO, GENRE, NOTHING = range(len(KIND_SHARES))
OPENED = np.array([0.78, 0.55, 0.30, 0.46, 0.0])
MOST_RESULTS = 50
ABSENT = (
    "football live",
    "ニュース",
    "harry & the wizard",
    "last night's match",
    "%free%",
    "películas en 8K",
    "🦄",
    "xxasdf",
)


class Searches:
    """The searches of a world, by the local day on which they are made. The days last asked for are kept."""

    _KEPT_DAYS = 45

    def __init__(self, world: World, members: Members, catalogue: Catalogue) -> None:
        self._world, self._members, self._catalogue = world, members, catalogue
        self._volume = Volume(world, "search_queries", SEARCHES_PER_YEAR * world.scale)
        self._kept: dict[int, Columns] = {}

    def _made_on(self, day: int) -> Columns:
        if day not in self._kept:
            while len(self._kept) >= self._KEPT_DAYS:
                del self._kept[next(iter(self._kept))]
            self._kept[day] = self._make(day)
        return self._kept[day]

    def _make(self, day: int) -> Columns:
        rng = self._world.rng("streamvision/search_queries", day)
        n = self._volume.on(day)
        who = self._members.viewers(rng, day, n)
        users = rows_of(self._members.cohorts.until(day), who)
        country = self._members.countries(users, np.full(n, self._world.midnight(day) + 12 * HOUR))
        occurred, _ = evenings(rng, self._world, day, country)
        earliest = np.maximum(users["created"] + MINUTE, self._world.midnight(0) + OPENING)
        occurred = np.where(occurred < earliest, earliest + (rng.random(n) * 3 * HOUR).astype(np.int64), occurred)
        # What is looked for is what is watched.
        title = self._catalogue.watched(rng, day, country)
        titles = self._catalogue.titles.until(day)
        kind = choose(rng, KIND_SHARES, n)
        thing = titles["words"] // len(OPENERS) % len(THINGS)
        with_thing = np.bincount(thing, minlength=len(THINGS))
        of_genre = np.bincount(titles["genre"], minlength=len(GENRES))
        results = np.select(
            [kind == TITLE, kind == NOTHING, kind == GENRE, kind == TYPO],
            [
                1 + rng.integers(4, size=n),
                0,
                of_genre[titles["genre"][title]],
                with_thing[thing[title]] * (rng.random(n) < 0.6),
            ],
            default=with_thing[thing[title]],
        )
        opens = (rng.random(n) < OPENED[kind]) & (results > 0)
        return {
            "id": self._world.ids(day, n),
            "user_id": users["id"],
            "kind": kind,
            "title": title,
            "typed": rng.integers(1 << 16, size=n),
            "results": np.minimum(results, MOST_RESULTS),
            "clicked": np.where(opens, titles["id"][title], 0),
            "occurred": occurred,
        }

    def changes(self, first: int, last: int) -> pa.Table:
        """Searches made on days `first` to `last` excluded."""
        low, high = self._world.midnight(first), self._world.midnight(last)
        found = []
        for day in range(max(0, first - DAYS_AROUND), last + 1):
            rows = self._made_on(day)
            found.append(rows_of(rows, (rows["occurred"] >= low) & (rows["occurred"] < high)))
        rows = concatenated(found)
        rows = rows_of(rows, arrow.order(rows["occurred"], rows["id"]))
        titles = rows_of(self._catalogue.titles.until(last), rows["title"])
        queries = [
            _typed(kind, name, genre, thing, typed)
            for kind, name, genre, thing, typed in zip(
                rows["kind"].tolist(),
                self._catalogue.names(titles),
                titles["genre"].tolist(),
                (titles["words"] // len(OPENERS) % len(THINGS)).tolist(),
                rows["typed"].tolist(),
                strict=True,
            )
        ]
        return arrow.table(
            SEARCH_QUERIES,
            {
                "id": rows["id"],
                "user_id": rows["user_id"],
                "query": pa.array(queries, pa.string()),
                "results_count": rows["results"].astype(np.int32),
                "clicked_content_id": arrow.nullable(rows["clicked"]),
                "occurred_at": arrow.timestamps(rows["occurred"]),
            },
        )


def _typed(kind: int, name: str, genre: int, thing: int, typed: int) -> str:
    if kind == TITLE:
        return name if typed % 3 else name.lower()
    if kind == GENRE:
        return GENRES[genre][0].lower()
    if kind == NOTHING:
        return ABSENT[typed % len(ABSENT)]
    word = THINGS[thing].lower()
    at = typed % (len(word) - 1)
    return word if kind == WORD else word[:at] + word[at + 1] + word[at] + word[at + 2 :]
