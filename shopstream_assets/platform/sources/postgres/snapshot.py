"""A snapshot of the source in which no table is empty because it is being rewritten.

TRUNCATE, and every ALTER TABLE that writes a table anew, are not MVCC-safe: the new file holds no row for a snapshot
that was taken before they committed. A statement takes its snapshot first and then waits for the lock: so it would read
nothing, without an error, where the source has never been empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shopstream_assets.platform.declare.tables import quoted
from shopstream_assets.platform.errors import ServiceError
from shopstream_assets.platform.sources.postgres.errors import service_error, sqlstate

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection

BEGIN = "begin transaction isolation level repeatable read read only"
# Each may wait for as long as lock_timeout.
ATTEMPTS = 5
# A backfill of years may take so long.
TURN_SECONDS = 1800
NO_PRIVILEGE, NO_SUCH_TABLE, NOT_LOCKABLE, LOCK_TIMEOUT = "42501", "42P01", "42809", "55P03"


@dataclass(frozen=True)
class Relation:
    """A table, view or the like; `lockable` is whether LOCK takes it for this role."""

    name: str
    lockable: bool


def begin_snapshot(connection: Connection, schema: str, names: Sequence[str]) -> None:
    """Begin a REPEATABLE READ READ ONLY transaction in which each named relation is whole.

    LOCK is a command that takes no snapshot: what it locked can no longer be rewritten, and the snapshot that the next
    statement takes is newer than the last rewriting. LOCK refuses relations that are neither tables nor views, and
    roles that may read some columns only; their lock is that of a statement, which takes its snapshot first. So, for
    all: where the file that a relation now has is not the one that it had at the time of the snapshot, it was written
    anew in between, and the transaction begins again. What stays locked until the transaction ends is what any select
    locks: against DDL and TRUNCATE, not against writes.

    `connection` commits by itself. Raises ServiceError when a lock is not to be had or the relations are rewritten
    again and again, and the driver's error for everything else.
    """
    relations = _relations(connection, schema, names) if names else []
    by_lock = {relation.name for relation in relations if relation.lockable}
    rewritten: list[str] = []
    for _ in range(ATTEMPTS + len(relations)):
        execute(connection, BEGIN)
        refused = _lock(connection, schema, sorted(by_lock))
        if refused:
            execute(connection, "rollback")
            by_lock.remove(refused)
            continue
        for relation in relations:
            if relation.name not in by_lock:
                _touch(connection, schema, relation.name)
        rewritten = _rewritten(connection) if relations else []
        if not rewritten:
            return
        execute(connection, "rollback")
    raise ServiceError(
        f"{', '.join(rewritten)} of schema {schema} was written anew (TRUNCATE, or an ALTER TABLE that changes a type) "
        f"between the snapshot and the first look, {ATTEMPTS} times in a row; a read would find it empty.",
        "materialize again when the migration or reload of the source is over; or grant SELECT on the whole table, so "
        "that it can be locked first.",
        retry=True,
    )


def await_turn(connection: Connection, name: str) -> None:
    """Wait until no other session has the turn `name`, and have it until this session ends.

    It must come before the transaction, whose first query would choose the snapshot. Raises ServiceError where the
    other takes longer than TURN_SECONDS.
    """
    import adbc_driver_postgresql.dbapi as adbc

    try:
        execute(connection, f"set lock_timeout to '{TURN_SECONDS}s'")
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(hashtextextended($1, 0))", (name,))
            cursor.fetchall()
        execute(connection, "reset lock_timeout")
    except adbc.Error as error:
        if sqlstate(error) != LOCK_TIMEOUT:
            raise
        raise ServiceError(
            f"another session has been at it for {TURN_SECONDS // 60} minutes ({name}).",
            "materialize again when that run has ended; pg_locks shows the session, its locktype is advisory.",
            retry=True,
        ) from None


def _relations(connection: Connection, schema: str, names: Iterable[str]) -> list[Relation]:
    """Those of the names that are there and of which the role may read anything at all."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select c.relname::text, c.relkind in ('r', 'p', 'v') and has_table_privilege(c.oid, 'select')
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = $1 and c.relname = any(string_to_array($2, chr(31)))
              and c.relkind in ('r', 'p', 'v', 'm', 'f') and has_any_column_privilege(c.oid, 'select')
            """,
            (schema, "\x1f".join(names)),
        )
        return [Relation(*row) for row in cursor.fetchall()]


def _lock(connection: Connection, schema: str, names: Iterable[str]) -> str | None:
    """Lock the relations, or name the first that LOCK refuses."""
    import adbc_driver_postgresql.dbapi as adbc

    for name in names:
        try:
            execute(connection, f"lock table {quoted(schema)}.{quoted(name)} in access share mode")
        except adbc.Error as error:
            # A view that looks with the rights of its reader, a table that was dropped or lost its grant meanwhile.
            if sqlstate(error) in (NO_PRIVILEGE, NO_SUCH_TABLE, NOT_LOCKABLE):
                return name
            raise _locked(connection, schema, name, error) from None
    return None


def _touch(connection: Connection, schema: str, name: str) -> None:
    """Take the locks of a statement that reads the relation, and of all that it is made of."""
    import adbc_driver_postgresql.dbapi as adbc

    try:
        execute(connection, f"select 1 from {quoted(schema)}.{quoted(name)} limit 0")
    except adbc.Error as error:
        raise _locked(connection, schema, name, error) from None


def _locked(connection: Connection, schema: str, name: str, error: Exception) -> ServiceError:
    """The error, and where it is a lock: on what, and whose."""
    told = service_error(error)
    if sqlstate(error) != LOCK_TIMEOUT:
        return told
    execute(connection, "rollback")
    with connection.cursor() as cursor:
        cursor.execute(
            """
            select distinct l.pid::text
            from pg_locks l
            where l.mode = 'AccessExclusiveLock' and l.pid <> pg_backend_pid()
              and l.relation in (
                  select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
                  where n.nspname = $1 and c.relname = $2
                  union all
                  select i.inhrelid from pg_inherits i join pg_class c on c.oid = i.inhparent
                  join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2
              )
            """,
            (schema, name),
        )
        pids = [row[0] for row in cursor.fetchall()]
    whose = f" (process {', '.join(pids)} of Postgres)" if pids else ""
    return ServiceError(f"table {schema}.{name}: {told.found.rstrip('.')}{whose}.", told.next_step, retry=True)


def _rewritten(connection: Connection) -> list[str]:
    """Which of the relations that this transaction has locked, partitions too, have another file than its snapshot."""
    with connection.cursor() as cursor:
        cursor.execute(
            # The row of pg_class is that of the snapshot, the function's answer that of now. Catalogues have 0 there.
            """
            select c.relname::text
            from pg_locks l join pg_class c on c.oid = l.relation
            where l.pid = pg_backend_pid() and l.locktype = 'relation' and c.relkind in ('r', 'm')
              and c.relfilenode <> 0 and c.relfilenode is distinct from pg_relation_filenode(c.oid)
            order by 1
            """
        )
        return [row[0] for row in cursor.fetchall()]


def execute(connection: Connection, *statements: str) -> None:
    """Execute statements whose results nobody asks for."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
