"""One look at a Postgres source: where it stands, and what its tables hold."""

from __future__ import annotations

import datetime as dt
import hashlib

from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.tables import SourceTable, quoted
from shopstream_assets.platform.sources.postgres.cursor import compared, cursor_moment, day_of, newest, within
from shopstream_assets.platform.sources.postgres.plan import catalogue, plan
from shopstream_assets.platform.sources.postgres.questions import SKEW, TableQuestions
from shopstream_assets.platform.sources.postgres.reading import PostgresReading
from shopstream_assets.platform.sources.reading import Fingerprint
from shopstream_assets.platform.sources.snapshot import Snapshot, SourceIdentity

# Characters of a probe.
PROBE = 8


class PostgresReader(TableQuestions):
    """A connection that reads the tables of a schema."""

    def moment(self) -> Snapshot:
        """The snapshot of the connection's transaction, which must be REPEATABLE READ.

        The log position is read after the snapshot was taken, so it is never older than what the snapshot sees; a
        second snapshot that is taken after this one was asked for stands behind it.
        """
        with self.connection.cursor() as cursor:
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
                # As the name of the log's current file begins; after a promotion the control file has the old one.
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

    def probe(self, table: SourceTable) -> str:
        """How much has happened to a table, in a few characters: what it costs does not grow with the table.

        The server's counters of its rows, where its rows lie, and its newest cursor; of a replica, which counts
        nothing, how far it has replayed the log. What the counters have not been told yet, they are within seconds.
        """
        so_far = newest(table, self.schema, compared(table, "<=", f"now() + {SKEW}")) if table.cursor else "''"
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"""
                select concat_ws(
                    ' ',
                    (select concat_ws(
                        ' ', c.oid, c.relfilenode, pg_stat_get_tuples_inserted(c.oid),
                        pg_stat_get_tuples_updated(c.oid), pg_stat_get_tuples_deleted(c.oid),
                        case when c.relkind not in ('r', 'm') then clock_timestamp()::text end,
                        case when pg_is_in_recovery() then pg_last_wal_replay_lsn()::text end
                    )
                    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
                    where n.nspname = $1 and c.relname = $2),
                    {so_far}::text
                )
                """,
                (self.schema, table.name),
            )
            found = cursor.fetchone()
        return hashlib.sha256(str(found).encode()).hexdigest()[:PROBE]

    def plan(self, table: SourceTable) -> PostgresReading:
        """How to read the table as it is now: its declaration, held against the catalogue."""
        return plan(self.connection, table, self.schema)

    def fingerprints(self, table: SourceTable, window: Window) -> dict[dt.date, Fingerprint]:
        """What each day of the window looks like; days without rows are left out. One indexed query."""
        changed_at = cursor_moment(table)
        key = ", ".join(map(quoted, table.version))
        with self.connection.cursor() as cursor:
            cursor.execute(
                # A sum, since equal hashes cancel each other in an exclusive or.
                f"""
                select {day_of(table, window)}, count(*),
                       max({changed_at}) filter (where {changed_at} <= now() + {SKEW}),
                       sum(hash_record_extended(row({key}, {self._version(table)}), 0))::text
                from {self.relation(table)} as t
                where {within(table, window)}
                group by 1
                """
            )
            return {
                day: Fingerprint(rows, newest, int(value) % 2**64) for day, rows, newest, value in cursor.fetchall()
            }

    def count(self, table: SourceTable) -> int:
        """The rows of the table."""
        with self.connection.cursor() as cursor:
            cursor.execute(f"select count(*) from {self.relation(table)}")
            found = cursor.fetchone()
        return found[0] if found else 0

    def _version(self, table: SourceTable) -> str:
        """SQL that differs between any two versions of a row.

        The transaction that wrote it (`xmin`), which costs nothing and moves even where no column did; of a view or a
        foreign table, or where the role may not read it, all columns as text.
        """
        with self.connection.cursor() as cursor:
            cursor.execute(
                """
                select c.relkind in ('r', 'p', 'm') and has_column_privilege(c.oid, 'xmin', 'select')
                from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
                where n.nspname = $1 and c.relname = $2
                """,
                (self.schema, table.name),
            )
            has_xmin = cursor.fetchone()
        if not has_xmin or has_xmin[0]:
            return "t.xmin"
        found = catalogue(self.connection, self.schema, table.name)
        names = ", ".join(quoted(column.name) for column in (found.columns if found else ()) if column.readable)
        return f"row({names})::text"


def _ended(snapshot: str) -> int:
    """How many transactions had ended, of a `pg_snapshot` as text (xmin:xmax:xip,…).

    Each transaction that ends between two snapshots raises it, so it grows whenever there is something new to see.
    """
    _, xmax, running = snapshot.split(":")
    return int(xmax) - len([xid for xid in running.split(",") if xid])
