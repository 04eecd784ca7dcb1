"""Where a snapshot of the source stands in the order of all snapshots of it.

The newest snapshot that looked at a row decides what is true of it, so snapshots must be told apart and ordered by
something that no clock can turn back: the position in the source's log (LSN) that it had reached, and, where nothing
was logged between two snapshots, the number of transactions that had ended. A source that was restored from a backup or
failed over starts an order of its own: it is told by its identity, and counts from the next epoch once somebody has
accepted it.
"""

import datetime as dt
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


class SourceIdentity(BaseModel):
    """What tells one server and its history from another; None where the role may not ask.

    `system` was drawn when the server's data was made; `timeline` rises with every promotion and point-in-time
    recovery; `database` is its number on the server.
    """

    model_config = ConfigDict(frozen=True)

    system: str | None
    timeline: int | None
    database: int

    def __str__(self) -> str:
        return f"system {self.system or 'unknown'}, timeline {self.timeline or 'unknown'}, database {self.database}"


@dataclass(frozen=True)
class Snapshot:
    """A moment of the source: `lsn` is at least the log position of all that it sees; `ended` transactions had ended.

    A crash of the server takes no log before `durable`, but may take what is between that and `lsn`. `taken_at` is the
    source's clock (UTC), for people; it orders nothing. `is_replica`: the server replays another's log.
    """

    lsn: int
    durable: int
    ended: int
    identity: SourceIdentity
    taken_at: dt.datetime
    is_replica: bool

    def position(self, epoch: int) -> str:
        """Text that sorts in the order of the snapshots."""
        return f"{epoch:04d}/{self.lsn:016X}/{self.ended:016X}"
