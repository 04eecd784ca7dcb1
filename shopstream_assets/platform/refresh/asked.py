"""What a sensor has asked for: still missing, it is asked for again, later and later."""

import datetime as dt
from typing import Self

from pydantic import BaseModel

# What was asked for and still differs is asked for again after this time, each time twice as late: its run failed or
# was lost.
ASK_AGAIN_AFTER = dt.timedelta(minutes=10)
ASK_AGAIN_AT_THE_LATEST = dt.timedelta(hours=6)


def has_passed(wait: dt.timedelta, since: dt.datetime | None, now: dt.datetime) -> bool:
    """Whether so much time has passed since a moment that is remembered; of none that is remembered it has.

    A moment that lies ahead was remembered by a clock that has been set back since, and waiting for it might take days.
    """
    return since is None or not since <= now < since + wait


class Asked(BaseModel):
    """What was asked for, when (UTC), and how often before that; `content` tells it from another request."""

    content: str
    at: dt.datetime
    attempt: int = 0

    @classmethod
    def after(cls, before: Self | None, content: str, now: dt.datetime) -> Self:
        """A request that follows `before`: one more attempt at the same, or the first at something else."""
        is_same = before is not None and before.content == content
        return cls(content=content, at=now, attempt=before.attempt + 1 if before is not None and is_same else 0)

    def waits(self, content: str, now: dt.datetime) -> bool:
        """Whether the same was asked for so lately that it is not yet asked for again."""
        return self.content == content and not self.is_overdue(now)

    def is_overdue(self, now: dt.datetime) -> bool:
        """Whether it is time to ask again if nothing has changed."""
        return has_passed(self._wait, self.at, now)

    @property
    def again_at(self) -> dt.datetime:
        """When to ask again if nothing has changed."""
        return self.at + self._wait

    @property
    def _wait(self) -> dt.timedelta:
        return min(ASK_AGAIN_AFTER * 2**self.attempt, ASK_AGAIN_AT_THE_LATEST)

    def __str__(self) -> str:
        return (
            f"Its refresh was asked for at {self.at:%H:%M} UTC (request {self.attempt + 1}); if that fails, again "
            f"after {self.again_at:%H:%M}."
        )
