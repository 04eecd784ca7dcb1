"""Where a snapshot of the source stands in the order of all snapshots of it.

The newest snapshot that looked at a row decides what is true of it, so snapshots must be told apart and ordered by
something that no clock can turn back: the position in the write-ahead log (LSN) that the server had reached, and, where
nothing was logged between two snapshots, the number of transactions that had ended. A server that was restored from a
backup or failed over starts an order of its own: it is told by its system identifier and timeline, and counts from the
next epoch once somebody has accepted it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection


class SourceIdentity(BaseModel):
    """What tells one Postgres server and its history from another; None where the role may not ask.

    `system` was drawn when the cluster was made; `timeline` rises with every promotion and point-in-time recovery.
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


def current_snapshot(connection: Connection) -> Snapshot:
    """The snapshot of the connection's transaction, which must be REPEATABLE READ.

    The log position is read after the snapshot was taken, so it is never older than what the snapshot sees; a second
    snapshot that is taken after this one was asked for stands behind it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select pg_is_in_recovery(),
                   has_function_privilege('pg_control_system()', 'execute')
                   and has_function_privilege('pg_control_checkpoint()', 'execute')
            """
        )
        is_replica, may_ask = cursor.fetchone() or (False, False)
        lsn = durable = "pg_last_wal_replay_lsn()"
        if not is_replica:
            lsn, durable = "pg_current_wal_insert_lsn()", "pg_current_wal_flush_lsn()"
        system = "(select system_identifier::text from pg_control_system())" if may_ask else "null::text"
        timeline = "null::int8"
        if not is_replica:
            # As the name of the log's current file begins; the control file still has the old one after a promotion.
            timeline = f"('x' || lpad(left(pg_walfile_name({lsn}), 8), 16, '0'))::bit(64)::int8"
        elif may_ask:
            timeline = "(select timeline_id::int8 from pg_control_checkpoint())"
        cursor.execute(
            f"""
            select ({lsn} - '0/0'::pg_lsn)::text, ({durable} - '0/0'::pg_lsn)::text, pg_current_snapshot()::text,
                   {system}, {timeline}, (select oid::int8 from pg_database where datname = current_database()),
                   clock_timestamp()
            """
        )
        found = cursor.fetchone()
    assert found is not None
    position, durable, visible, system_identifier, timeline_id, database, taken_at = found
    return Snapshot(
        lsn=int(position),
        durable=int(durable),
        ended=_ended(visible),
        identity=SourceIdentity(system=system_identifier, timeline=timeline_id, database=database),
        taken_at=taken_at,
        is_replica=is_replica,
    )


def _ended(snapshot: str) -> int:
    """How many transactions had ended, of a `pg_snapshot` as text (xmin:xmax:xip,…).

    Each transaction that ends between two snapshots raises it, so it grows whenever there is something new to see.
    """
    _, xmax, running = snapshot.split(":")
    return int(xmax) - len([xid for xid in running.split(",") if xid])
