"""Which of the days to repair to ask for now: with patience, and only so often.

The other sensors compare the layers themselves, and ask for what differs within minutes. What is on the list after
that is what a comparison does not show: a day that Dagster counts as failed or missing, whatever lies in the lake. So
a day is asked for when it has stood on the list for ten minutes without a run, and each time again only after twice
that; what has failed as often as the budget allows is left to people.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import dagster as dg
from pydantic import BaseModel, field_serializer, field_validator

from shopstream_assets.platform.declare.partitions import ONE_DAY, ranges
from shopstream_assets.platform.operate.repair import Days
from shopstream_assets.platform.refresh.asked import Asked

UNDER_WAY = "under way"
LISTED = "listed"

Wanted = dict[dt.date, set[dg.AssetKey]]


class Memory(BaseModel):
    """What is remembered from tick to tick: the runs as they were, what the page says, and what was asked for.

    `asked`: asset -> day -> since when it stands on the list without a run, and how often it was asked for.
    """

    runs: str = ""
    told: str = ""
    asked: dict[str, dict[dt.date, Asked]] = {}

    @field_serializer("asked")
    def _packed(self, asked: dict[str, dict[dt.date, Asked]]) -> dict[str, list[tuple[str, str, Asked]]]:
        """Days in a row that were asked for together as (first, last, what): Dagster keeps the cursor of every tick."""
        return {
            name: [
                (first, last, what)
                for what in {repr(each): each for each in days.values()}.values()
                for first, last in ranges(str(day) for day in sorted(days) if days[day] == what)
            ]
            for name, days in asked.items()
        }

    @field_validator("asked", mode="before")
    @classmethod
    def _unpacked(cls, asked: Any) -> Any:
        return {
            name: {day: what for first, last, what in spans for day in _days(first, last)}
            if isinstance(spans, list)
            else spans
            for name, spans in asked.items()
        }

    def is_due(self, now: dt.datetime, attempts: int) -> bool:
        """Whether something is to be asked for although nothing has happened."""
        return any(
            asked.content == LISTED and asked.attempt < attempts and asked.is_overdue(now)
            for days in self.asked.values()
            for asked in days.values()
        )

    def given_up(self, attempts: int) -> dict[str, list[str]]:
        """Asset -> days that were asked for as often as allowed, with the last time to succeed over."""
        found = {
            name: [str(day) for day, asked in sorted(days.items()) if asked.content == LISTED]
            for name, days in (
                (name, {day: asked for day, asked in days.items() if asked.attempt >= max(attempts, 1)})
                for name, days in self.asked.items()
            )
        }
        return {name: days for name, days in sorted(found.items()) if days}


def _days(first: str, last: str) -> Iterator[dt.date]:
    day = dt.date.fromisoformat(first)
    while day <= dt.date.fromisoformat(last):
        yield day
        day += ONE_DAY


def due(
    found: Mapping[dg.AssetKey, Days],
    memory: Memory,
    taken: Collection[dt.date],
    busy: Collection[dg.AssetKey],
    now: dt.datetime,
    attempts: int,
) -> Wanted:
    """The assets to ask for, by day; remembered in `memory`.

    A day that is `taken` by a run, and an asset that a backfill is on (`busy`), wait until that has ended, and then as
    long as after a request: another sensor may ask. An asset of which no day was ever begun is left to people.
    """
    before, memory.asked = memory.asked, {}
    wanted: Wanted = {}
    for key, days in found.items():
        if not (days.materialized or days.failed or days.running):
            continue
        for day in map(dt.date.fromisoformat, sorted((*days.to_repair, *days.running))):
            asked = before.get(name := key.to_user_string(), {}).get(day)
            if day in taken or key in busy or day.isoformat() in days.running:
                asked = Asked(content=UNDER_WAY, at=now, attempt=asked.attempt if asked else 0)
            elif asked is None or asked.content == UNDER_WAY:
                asked = Asked(content=LISTED, at=now, attempt=asked.attempt if asked else 0)
            elif asked.attempt < attempts and asked.is_overdue(now):
                asked = Asked.after(asked, LISTED, now)
                wanted.setdefault(day, set()).add(key)
            memory.asked.setdefault(name, {})[day] = asked
    return wanted
