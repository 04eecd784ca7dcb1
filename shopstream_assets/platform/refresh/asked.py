"""What a sensor has asked for: still missing, it is asked for again, later and later."""

import datetime as dt
from typing import Self

from pydantic import BaseModel

# What was asked for and still differs is asked for again after this time, each time twice as late: its run failed or
# was lost.
ASK_AGAIN_AFTER = dt.timedelta(minutes=10)
ASK_AGAIN_AT_THE_LATEST = dt.timedelta(hours=6)


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
        return self.content == content and now < self.again_at

    @property
    def again_at(self) -> dt.datetime:
        """When to ask again if nothing has changed."""
        return self.at + min(ASK_AGAIN_AFTER * 2**self.attempt, ASK_AGAIN_AT_THE_LATEST)

    def __str__(self) -> str:
        return (
            f"Its refresh was asked for at {self.at:%H:%M} UTC (request {self.attempt + 1}); if that fails, again "
            f"after {self.again_at:%H:%M}."
        )
