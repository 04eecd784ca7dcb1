"""The catalogue: titles and their episodes, where they may be shown, and how much they are watched."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from shopstream_assets.domains.streamvision.simulator.calendar import CATALOGUE_READY, CODES, LOCALE, Volume, spread
from shopstream_assets.domains.streamvision.tables import CONTENT, CONTENT_TYPES, EPISODES
from shopstream_assets.simulation import arrow
from shopstream_assets.simulation.names import NAMES_PER_LOCALE, Pools, pools
from shopstream_assets.simulation.world import (
    DAY,
    HOUR,
    Cohorts,
    Columns,
    World,
    after,
    choose,
    choose_evenly,
    latest,
)

TITLES_PER_YEAR = 2_000
# The catalogue that the service opens with; the others are released over the first year, most of them on a Friday.
OPENING_SHARE = 0.85
RELEASE_WEEK = (0.3, 0.3, 0.3, 0.6, 4.6, 0.5, 0.4)
TYPE_SHARES = (0.62, 0.20, 0.18)
MOVIE, SERIES, DOCUMENTARY = range(len(CONTENT_TYPES))
# What is watched: a series is worth more evenings than its share of the catalogue.
VIEWING_SHARES = (0.62, 0.22, 0.16)

GENRES = (
    ("Drama", 0.24, ("Family", "Historical", "Legal", "Romantic")),
    ("Comedy", 0.20, ("Romantic", "Dark", "Workplace", "Satire")),
    ("Thriller", 0.15, ("Crime", "Spy", "Psychological")),
    ("Science Fiction", 0.10, ("Space", "Dystopia", "Time travel")),
    ("Action", 0.12, ("Heist", "Disaster", "Martial arts")),
    ("Horror", 0.06, ("Ghosts", "Slasher")),
    ("Animation", 0.08, ("Family", "Anime")),
    ("Nature", 0.05, ("Oceans", "Wildlife", "Mountains")),
)
AGES, AGE_SHARES = ("all", "7+", "12+", "16+", "18+"), (0.22, 0.14, 0.28, 0.24, 0.12)
OPENERS = (
    "The Last",
    "A Quiet",
    "Beyond the",
    "Midnight",
    "Return to",
    "The Secret",
    "Under the",
    "Golden",
    "Lost",
    "My",
)
THINGS = ("Harbour", "Letter", "Station", "Garden", "Winter", "Empire", "Promise", "River", "Signal", "Orchard", "City")
CLOSERS = ("", "", "", " II", " of Light", " and the Sea", ": Origins", " Forever", " in Paris", " – Après")
# With what a list of texts may hold: commas, quotes, braces, emoji.
TAGS = (
    "based on a true story",
    "feel-good",
    "slow burn",
    "award-winning",
    "family, friends",
    'called "a masterpiece"',
    "twist ending",
    "strong female lead",
    "90s",
    "binge-worthy 🍿",
    "tear-jerker 😭",
    "café noir",
    "short {under 90 min}",
)
STORIES = (
    "{0} returns home and finds that nothing is as it was.",
    "A stranger, a debt and one night: {0} has until morning.",
    "{0} knows the truth. Nobody wants to hear it.",
    "What begins as a summer with {0} ends in a secret kept for years.",
)
SEASON_SHARES, EPISODES_OF_A_SEASON = (0.45, 0.30, 0.15, 0.10), (4, 6, 6, 7, 8, 8)
EPISODE_NAMES = (
    "Pilot",
    "The Visitor",
    "Crossroads",
    "Low Tide",
    "Proof",
    "Home",
    "Smoke",
    "The Call",
    "Mirrors",
    "Dawn",
)

# A tenth of the titles has about half of the viewing, as with the Pareto law of ShopStream's products.
POPULARITY_EXPONENT, POPULARITY_CUT = 1.1, 40.0
# A release is watched so many times as much, and the crowd goes within days.
CROWD, CROWD_OF_ORIGINALS, CROWD_DAYS = 12.0, 26.0, 7.0
ORIGINALS, EVERYWHERE, LICENSED_IN = 0.14, 0.30, 0.78


class Catalogue:
    """The titles of a world: 2,000 times the square root of the scale, and some 2.5 episodes a title."""

    def __init__(self, world: World) -> None:
        self._world = world
        total = TITLES_PER_YEAR * math.sqrt(world.scale)
        self._opening = max(40, round(total * OPENING_SHARE))
        self._volume = Volume(world, "content", total * (1 - OPENING_SHARE), RELEASE_WEEK)
        self._kept: dict[int, Columns] = {}
        self.titles = Cohorts(self._launches)
        self.episodes = Cohorts(self._episodes)

    def _launches(self, day: int) -> Columns:
        rng = self._world.rng("streamvision/content", day)
        midnight, n = self._world.midnight(day), self._volume.on(day)
        created = spread(rng, n, 2 * HOUR, 11 * HOUR)
        if day == 0:
            opening = (np.arange(self._opening) + 1) * (CATALOGUE_READY // (self._opening + 1))
            created, n = np.concatenate((opening, created)), n + self._opening
        created = midnight + created
        kind = choose_evenly(rng, TYPE_SHARES, n)
        seasons = np.where(kind == SERIES, choose_evenly(rng, SEASON_SHARES, n) + 1, 0)
        per_season = rng.choice(EPISODES_OF_A_SEASON, n)
        nominal = np.select([kind == MOVIE, kind == SERIES], [rng.normal(106, 17, n), rng.normal(44, 11, n)], 0)
        nominal = np.where(kind == DOCUMENTARY, rng.normal(78, 20, n), nominal).astype(np.int64)
        nominal = np.clip(nominal, np.where(kind == SERIES, 18, 45), np.where(kind == SERIES, 75, 190))
        added = np.full(n, midnight // DAY)
        if day == 0:
            added[: self._opening] -= rng.integers(1, 1500, size=self._opening)
        original = rng.random(n) < ORIGINALS
        year = (1970 + added / 365.2425).astype(np.int64) - np.where(
            original, 0, rng.exponential(7, n).astype(np.int64)
        )
        everywhere = original | (rng.random(n) < EVERYWHERE)
        licensed = rng.random((n, len(CODES))) < LICENSED_IN
        licensed[np.arange(n), rng.integers(len(CODES), size=n)] = True
        swapped = np.arange(len(CODES)) == rng.integers(len(CODES), size=n)[:, None]
        episodes = self._keep_episodes(rng, day, created, seasons, per_season, nominal, added, year)
        running = np.bincount(episodes["of"], episodes["minutes"], n).astype(np.int64)
        made_in = LOCALE[choose(rng, _WHERE_MADE, n)]
        rated = np.cumsum(rng.exponential(160 * DAY, (n, 2)) + 7 * DAY, axis=1).astype(np.int64)
        quality = np.clip(rng.normal(6.6, 1.0, n), 1.5, 9.6)
        return {
            "id": self._world.ids(day, n),
            "created": created,
            "kind": kind,
            "genre": choose(rng, [share for _, share, _ in GENRES], n),
            "subgenre": rng.random(n),
            "words": rng.integers(0, 1 << 30, size=n),
            "tags": rng.integers(0, 1 << 30, size=n),
            "people": rng.integers(0, NAMES_PER_LOCALE, size=(n, 4)) + made_in[:, None] * NAMES_PER_LOCALE,
            "year": year,
            "minutes": np.where(kind == SERIES, running, nominal),
            "episodes": seasons * per_season,
            "age": choose(rng, AGE_SHARES, n),
            "quality": quality,
            "ratings": np.round(np.clip(quality[:, None] + np.cumsum(rng.normal(0, 0.12, (n, 3)), axis=1), 1, 9.9), 1),
            "rated": created[:, None] + rated,
            "original": original,
            "added": added,
            "everywhere": everywhere,
            "licensed": licensed,
            "licensed_later": (licensed ^ swapped) | ~(licensed ^ swapped).any(axis=1)[:, None],
            "relicensed": np.where(everywhere, np.iinfo(np.int64).max, after(rng, created, 0.12, 10 * DAY, 200 * DAY)),
            "popularity": np.minimum(1 + rng.pareto(POPULARITY_EXPONENT, n), POPULARITY_CUT) * quality / 6.6,
        }

    def _keep_episodes(
        self,
        rng: np.random.Generator,
        day: int,
        created: np.ndarray,
        seasons: np.ndarray,
        per_season: np.ndarray,
        nominal: np.ndarray,
        added: np.ndarray,
        year: np.ndarray,
    ) -> Columns:
        """The episodes of the day's series, series by series in order; `of` is the place of the series in the day."""
        count = seasons * per_season
        of = np.repeat(np.arange(len(count)), count)
        place = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
        season = place // per_season[of]
        # The seasons before the last came out in the years before, on the same day of the year.
        released = np.minimum(added[of], added[of] - (seasons[of] - 1 - season) * 365)
        self._kept[day] = {
            "id": self._world.ids(day, len(of)),
            "of": of,
            "created": created[of],
            "season": season + 1,
            "episode": place % per_season[of] + 1,
            "minutes": np.maximum(10, (nominal[of] * rng.uniform(0.88, 1.12, len(of))).astype(np.int64)),
            "name": rng.integers(len(EPISODE_NAMES), size=len(of)),
            "released": released,
        }
        return self._kept[day]

    def _episodes(self, day: int) -> Columns:
        titles = self.titles.until(day)
        made = self._kept.pop(day)
        return made | {"series": titles["id"][made["of"] + self.titles.count(day - 1)]}

    def watched(self, rng: np.random.Generator, day: int, countries: np.ndarray) -> np.ndarray:
        """A title (row of `titles`) for each viewer, by kind and popularity, of those to be shown in the country.

        Titles of the days before `day`, on which the crowd comes for what has just been released. Where three draws
        found nothing that may be shown in the country, it is a title that may be shown everywhere.
        """
        titles = self.titles.until(day)
        weight = self.weights(day)
        kind = choose(rng, VIEWING_SHARES, len(countries))
        shown = self.shown(day)
        found = np.full(len(countries), -1)
        for attempt in range(4):
            for this in range(len(CONTENT_TYPES)):
                open_ = np.flatnonzero((found < 0) & (kind == this))
                of_kind = weight * (titles["kind"] == this)
                if attempt == 3:
                    of_kind = of_kind * titles["everywhere"]
                drawn = choose(rng, of_kind if of_kind.any() else weight * titles["everywhere"], len(open_))
                found[open_] = np.where(shown[drawn, countries[open_]], drawn, -1)
        return np.where(found < 0, int(np.argmax(weight * titles["everywhere"])), found)

    def weights(self, day: int) -> np.ndarray:
        """How much each title is watched on a day, relative to each other; 0 for those that came that day."""
        titles = self.titles.until(day)
        age = (self._world.midnight(day) // DAY - titles["added"]).astype(float)
        crowd = np.where(titles["original"], CROWD_OF_ORIGINALS, CROWD)
        weight = titles["popularity"] * (1 + crowd * np.exp(-np.maximum(age - 1, 0) / CROWD_DAYS))
        if day:
            weight[self.titles.count(day - 1) :] = 0
        return weight

    def shown(self, day: int) -> np.ndarray:
        """(titles, countries): which may be shown where on all of a day, wherever it is that day."""
        titles = self.titles.until(day)
        low, high = self._world.midnight(day - 1), self._world.midnight(day + 2)
        before, later, moment = titles["licensed"], titles["licensed_later"], titles["relicensed"][:, None]
        licensed = np.where(moment < low, later, np.where(moment < high, before & later, before))
        return licensed | titles["everywhere"][:, None]

    def names(self, titles: Columns) -> list[str]:
        """The display titles of rows of `titles`."""
        found = []
        for word, kind in zip(titles["words"].tolist(), titles["kind"].tolist(), strict=True):
            word, opener = divmod(word, len(OPENERS))
            word, thing = divmod(word, len(THINGS))
            closer = CLOSERS[word % len(CLOSERS)] if kind != DOCUMENTARY else " Explained"
            found.append(f"{OPENERS[opener]} {THINGS[thing]}{closer}")
        return found

    def changes(self, first: int, last: int) -> pa.Table:
        """Titles added, rated anew or relicensed on days `first` to `last` excluded, as they stood at the end."""
        titles = self.titles.until(last - 1)
        low, high = self._world.midnight(first), self._world.midnight(last)
        moments = np.column_stack((titles["created"], titles["rated"], titles["relicensed"]))
        updated = latest(moments, high)
        chosen = np.flatnonzero(updated >= low)
        chosen = chosen[arrow.order(updated[chosen], titles["id"][chosen])]
        rows = {name: values[chosen] for name, values in titles.items()}
        rating = rows["ratings"][np.arange(len(chosen)), (rows["rated"] < high).sum(axis=1)]
        licensed = np.where((rows["relicensed"] < high)[:, None], rows["licensed_later"], rows["licensed"])
        pool = pools(self._world.seed)
        director, actor, hero, told = rows["people"].T
        heroes = pool.first_names.take(pa.array(hero)).to_pylist()
        is_documentary = rows["kind"] == DOCUMENTARY
        return arrow.table(
            CONTENT,
            {
                "id": rows["id"],
                "title": pa.array(self.names(rows), pa.string()),
                "content_type": arrow.picked(CONTENT_TYPES, rows["kind"]),
                "genre": arrow.picked([name for name, *_ in GENRES], rows["genre"]),
                "subgenre": pa.array(
                    [
                        None if place > 0.93 else GENRES[genre][2][int(place / 0.931 * len(GENRES[genre][2]))]
                        for genre, place in zip(rows["genre"].tolist(), rows["subgenre"].tolist(), strict=True)
                    ],
                    pa.string(),
                ),
                "release_year": rows["year"].astype(np.int16),
                "duration_minutes": rows["minutes"].astype(np.int32),
                "director": _people(pool, director, told),
                "main_actor": arrow.either(
                    is_documentary, pa.nulls(len(chosen), pa.string()), _people(pool, actor, hero)
                ),
                "imdb_rating": _tenths(rating),
                "content_rating": arrow.picked(AGES, rows["age"]),
                "is_original": rows["original"],
                "added_date": pa.array(rows["added"].astype(np.int32)).cast(pa.date32()),
                "available_countries": pa.array(
                    [
                        None if everywhere else [code for code, yes in zip(CODES, where, strict=True) if yes]
                        for everywhere, where in zip(rows["everywhere"].tolist(), licensed.tolist(), strict=True)
                    ],
                    CONTENT.column("available_countries").type.arrow,
                ),
                "tags": pa.array([_tags(drawn) for drawn in rows["tags"].tolist()], CONTENT.column("tags").type.arrow),
                "description": pa.array(
                    [
                        None if word % 17 == 0 else STORIES[word % len(STORIES)].format(hero)
                        for word, hero in zip(rows["words"].tolist(), heroes, strict=True)
                    ],
                    pa.string(),
                ),
                "updated_at": arrow.timestamps(updated[chosen]),
            },
        )

    def episode_changes(self, first: int, last: int) -> pa.Table:
        """Episodes that came on days `first` to `last` excluded; they never change."""
        rows = {
            name: values[self.episodes.count(first - 1) :] for name, values in self.episodes.until(last - 1).items()
        }
        names = arrow.picked(EPISODE_NAMES, rows["name"])
        order = arrow.order(rows["created"], rows["id"])
        made = arrow.table(
            EPISODES,
            {
                "id": rows["id"],
                "content_id": rows["series"],
                "season": rows["season"].astype(np.int16),
                "episode": rows["episode"].astype(np.int16),
                "title": names,
                "duration_minutes": rows["minutes"].astype(np.int32),
                "release_date": pa.array(rows["released"].astype(np.int32)).cast(pa.date32()),
                "updated_at": arrow.timestamps(rows["created"]),
            },
        )
        return made if isinstance(order, slice) else made.take(pa.array(order))


_TENTHS = CONTENT.column("imdb_rating").type.arrow
# Where films are made: half of them in English.
_WHERE_MADE = (0.35, 0.15, 0.08, 0.14, 0.09, 0.07, 0.03, 0.04, 0.02, 0.01, 0.01, 0.01)


def _tenths(rating: np.ndarray) -> pa.Array:
    return pa.array(np.round(rating * 10).astype(np.int64)).cast(pa.decimal128(19, 0)).view(_TENTHS)


def _people(pool: Pools, first: np.ndarray, last: np.ndarray) -> pa.Array:
    return arrow.joined(arrow.picked(pool.first_names, first), " ", arrow.picked(pool.last_names, last))


def _tags(drawn: int) -> list[str]:
    """None to four different ones."""
    drawn, count = divmod(drawn, 5)
    drawn, start = divmod(drawn, len(TAGS))
    step = 1 + drawn % (len(TAGS) - 1)
    return [TAGS[(start + n * step) % len(TAGS)] for n in range(count)]
