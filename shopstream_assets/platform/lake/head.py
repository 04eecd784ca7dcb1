"""What is known of a table's source from one extraction to the next: who it was, and how far its log had come.

One small object per table, `_head.json`. A source that is not the one before, or whose log went back, stops the
extraction before anything of it is published: a restored backup would otherwise undo in every layer what it has lost.
`shopstream accept` lets it in.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake.object_store import ObjectMissing, ObjectStoreResource
from shopstream_assets.platform.sources.snapshot import Snapshot, SourceIdentity

# How long an acceptance stays good for the extraction that it was given for.
ACCEPTED_FOR = dt.timedelta(days=1)


class SourceChanged(Problem):
    """The source is not the server, or not the history, that the lake was read from; nothing was published."""


class RowsLost(Problem):
    """More rows of a table are gone than its declaration lets pass; nothing was published."""


class Head(BaseModel):
    """The last extraction of a table: its source, the position of its snapshot, and what an operator has accepted.

    `epoch` counts the histories of the source, from 1: those that were accepted, and those that a crash began.
    `durable` is missing from a head that was written before it was kept.
    """

    model_config = ConfigDict(frozen=True)

    identity: SourceIdentity
    epoch: int
    lsn: int
    durable: int | None = None
    source_accepted_at: dt.datetime | None = None
    loss_accepted_at: dt.datetime | None = None


@dataclass(frozen=True)
class Place:
    """Where an extraction stands: the `position` that its rows carry, and the head that it will leave."""

    position: str
    head: Head
    loss_is_accepted: bool


def head_key(table: SourceTable) -> str:
    """Key of the table's head in the lake."""
    return f"{table.lake_prefix}/_head.json"


def read_head(store: ObjectStoreResource, table: SourceTable) -> Head | None:
    """The table's head; None before its first extraction. Raises Problem where it is damaged."""
    try:
        return Head.model_validate_json(store.get(head_key(table)))
    except ObjectMissing:
        return None
    except ValidationError as error:
        raise Problem(
            f"the object {head_key(table)} is damaged ({error.errors()[0]['msg']}).",
            f"run `shopstream accept {table.name}`; it is written anew from the source as it is.",
        ) from None


def write_head(store: ObjectStoreResource, table: SourceTable, head: Head) -> None:
    """Replace the table's head."""
    store.put(head_key(table), head.model_dump_json(indent=1).encode(), "application/json")


def accept(store: ObjectStoreResource, table: SourceTable, now: dt.datetime) -> None:
    """Let the table's next extraction take the source as it is: another server or history, and rows that are gone."""
    try:
        head = read_head(store, table)
    except Problem:
        head = None
    if head is None:
        head = Head(identity=SourceIdentity(system=None, timeline=None, database=0), epoch=1, lsn=0)
    write_head(store, table, head.model_copy(update={"source_accepted_at": now, "loss_accepted_at": now}))


def placed(head: Head | None, table: SourceTable, snapshot: Snapshot, now: dt.datetime) -> Place:
    """Where a snapshot taken at `now` stands after the table's last extraction.

    Raises SourceChanged where it is of another source, or older than what the lake has seen, and nobody accepted that.
    """
    if head is None:
        head = Head(identity=snapshot.identity, epoch=1, lsn=0)
    epoch = head.epoch
    if changed := _change(head, snapshot):
        if not _is_good(head.source_accepted_at, now):
            raise _refused(table, head, snapshot, changed)
        epoch += 1
    elif snapshot.lsn < head.lsn:
        # A crash took the end of the log, which was not on disk. What is true now comes after what was read then.
        epoch += 1
    return Place(
        position=snapshot.position(epoch),
        head=Head(
            identity=snapshot.identity,
            epoch=epoch,
            lsn=snapshot.lsn,
            durable=snapshot.durable,
            loss_accepted_at=head.loss_accepted_at,
        ),
        loss_is_accepted=_is_good(head.loss_accepted_at, now),
    )


def _change(head: Head, snapshot: Snapshot) -> str | None:
    """How the source differs from the one before, in words."""
    if head.identity != snapshot.identity:
        return "its identity changed"
    # A replica can only be behind; a primary that crashed has lost what was not on disk.
    kept = head.lsn if snapshot.is_replica or head.durable is None else head.durable
    if snapshot.lsn < kept:
        return "its log went back"
    return None


def _refused(table: SourceTable, head: Head, snapshot: Snapshot, changed: str) -> SourceChanged:
    found = (
        f"last read: {head.identity}, log position {head.lsn}; now: {snapshot.identity}, log position {snapshot.lsn}"
    )
    same_server = (head.identity.system, head.identity.database) == (
        snapshot.identity.system,
        snapshot.identity.database,
    )
    if snapshot.is_replica and same_server and snapshot.lsn < head.lsn:
        return SourceChanged(
            f"the source is a replica that lags behind what the lake has already seen ({found}).",
            "wait until it has caught up; it is tried again.",
            retry=True,
        )
    return SourceChanged(
        f"the source is not the one that was read before: {changed} ({found}). A restored backup or a server that was "
        "failed over to may lack rows that the lake has; nothing was published.",
        f"see that the DSN names the right server; if it does, run `shopstream accept {table.name}` (or "
        "`shopstream accept` for all tables) and materialize again: rows that it lacks are then deleted everywhere.",
    )


def _is_good(accepted_at: dt.datetime | None, now: dt.datetime) -> bool:
    return accepted_at is not None and abs(now - accepted_at) <= ACCEPTED_FOR
