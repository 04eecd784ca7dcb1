"""The source of the convergence machine: ShopStream's own tables with tens of rows, and whatever befalls them.

Every operation names its rows by key, so that it means the same wherever in a sequence it stands; on a row that is not
there, or that another transaction has locked, it does nothing. Moments are written "<day> <time>", as "-2 06:00" for
six o'clock (UTC) two days ago, or as one of SPECIAL_MOMENTS.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from shopstream_assets.domains.shopstream.tables import EVENT_TYPES, ORDER_STATUSES, TABLES
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.tables import postgres_ddl

# Partitions of the machine: today and the five days before it.
DAYS = 6
CURSORS: Mapping[str, str] = {table.name: table.cursor for table in TABLES if table.cursor}
KEYS = {"users": 4, "products": 4, "orders": 6, "order_items": 10, "events": 8, "crm_contacts": 4, "exchange_rates": 4}
"""How many keys a table begins with: 1, 2, ..."""
TIMES = ("00:00", "06:00", "12:34:56.789012", "23:59:59.999999")
SPECIAL_MOMENTS = ("tomorrow", "next year", "before the start", "long ago", "infinity", "-infinity", "null")
REWRITES = ("vacuum full", "alter column", "cluster")
RELOADS = ("the same rows", "new content", "every other row", "nothing")
# A column of each table and a value that its rules refuse.
BAD_VALUES = {
    "users": ("country", "xx"),
    "products": ("cost", "NaN"),
    "orders": ("discount_amount", "NaN"),
    "order_items": ("quantity", "0"),
    "events": ("event_type", "sneeze"),
    "crm_contacts": ("created_at", "infinity"),
    "exchange_rates": ("currency", "EUR"),
}
# What makes every row of a table another, key and cursor apart.
NEW_CONTENT = {
    "users": "plan = 'reloaded'",
    "products": "name = 'reloaded'",
    "orders": "payment_method = 'reloaded'",
    "order_items": "product_id = 1",
    "events": "product_id = 1",
    "crm_contacts": "owner = 'reloaded'",
    "exchange_rates": "eur_per_unit = 2",
}
# The longest that an operation waits for a lock; what is locked longer is left as it is.
LOCK_TIMEOUT_MS = 200
_REFUSED = (psycopg.errors.LockNotAvailable, psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected)


def impatient(dsn: str) -> str:
    """The libpq URI of a platform that waits for one second for a lock of the shop; else it would for two minutes."""
    return f"{dsn}{'&' if '?' in dsn else '?'}options=-c%20lock_timeout%3D1s"


class SmallShop:
    """The shop's database, seen by its owner. All operations commit at once, except those `within` a transaction.

    `today` is the day that moments are counted from, now unless given.
    """

    def __init__(self, dsn: str, schema: str, today: dt.date | None = None) -> None:
        self.dsn, self.schema = dsn, schema
        self.today = today or dt.datetime.now(dt.UTC).date()
        self.start = self.today - ONE_DAY * (DAYS - 1)
        self._connection = self._connect()
        self._transactions: dict[str, psycopg.Connection] = {}

    def _connect(self) -> psycopg.Connection:
        options = f'-c search_path="{self.schema}" -c lock_timeout={LOCK_TIMEOUT_MS} -c timezone=UTC'
        return psycopg.connect(self.dsn, options=options, autocommit=True)

    def close(self) -> None:
        for connection in (self._connection, *self._transactions.values()):
            connection.close()

    def create(self) -> None:
        """The tables, empty; unlike the demo's, their cursors may be null."""
        self._connection.execute(f'drop schema if exists "{self.schema}" cascade')
        self._connection.execute(f'create schema "{self.schema}"')
        for table in TABLES:
            for statement in postgres_ddl(table, self.schema):
                self._connection.execute(statement)  # type: ignore[call-overload]
            self._run(None, "alter table {table} alter column {cursor} drop not null", table.name)

    def fill(self) -> None:
        """KEYS rows in each table, over all days; rows that are there as they should be are not touched."""
        for table, count in KEYS.items():
            for key in range(1, count + 1):
                at = f"-{(key * 5 + len(table)) % DAYS} {TIMES[key % 2 + 1]}"
                self._put(None, table, key, at, key, "where {old} is distinct from {new}")

    @property
    def days(self) -> Window:
        """All partitions, today's the last."""
        return Window(self.start, self.today + ONE_DAY)

    def day(self, back: int) -> dt.date:
        return self.today - ONE_DAY * back

    def moment(self, at: str) -> str | None:
        """What Postgres takes for that moment."""
        midnight = {
            "tomorrow": f"{self.today + ONE_DAY} 06:00+00",
            "next year": f"{self.today + ONE_DAY * 400} 06:00+00",
            "before the start": f"{self.start - ONE_DAY} 23:59:59.999999+00",
            "long ago": "1999-12-31 06:00+00",
            "infinity": "infinity",
            "-infinity": "-infinity",
            "null": None,
        }
        if at in midnight:
            return midnight[at]
        day, time = at.split(" ")
        return f"{self.today + ONE_DAY * int(day)} {time}+00"

    # What a shop does.

    def put(self, table: str, key: int, at: str, variant: int = 0, within: str | None = None) -> None:
        """Insert the row or replace all of it."""
        self._put(within, table, key, at, variant)

    def _put(self, within: str | None, table: str, key: int, at: str, variant: int, condition: str = "") -> None:
        values = self.row(table, key, variant) | {CURSORS[table]: self.moment(at)}
        names = [sql.Identifier(name) for name in values]
        self._run(
            within,
            "insert into {table} as present ({names}) values ({values}) "
            "on conflict (id) do update set {assignments} " + condition,
            table,
            names=sql.SQL(", ").join(names),
            values=sql.SQL(", ").join(map(sql.Literal, values.values())),
            assignments=sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(name) for name in names),
            old=sql.SQL("({})").format(sql.SQL(", ").join(sql.SQL("present.{}").format(name) for name in names)),
            new=sql.SQL("({})").format(sql.SQL(", ").join(sql.SQL("excluded.{}").format(name) for name in names)),
        )

    def edit_quietly(self, table: str, key: int, variant: int, within: str | None = None) -> None:
        """Replace the row but for its key and cursor."""
        values = {name: value for name, value in self.row(table, key, variant).items() if name != "id"}
        self._set(within, table, key, values)

    def move_cursor(self, table: str, key: int, to: str, within: str | None = None) -> None:
        self._set(within, table, key, {CURSORS[table]: self.moment(to)})

    def change_key(self, table: str, key: int, new: int, at: str | None = None, within: str | None = None) -> None:
        """Give a row another key; its cursor stays where `at` is None."""
        self._set(within, table, key, {"id": new} | self._cursor(table, at))

    def delete(self, table: str, key: int, within: str | None = None) -> None:
        self._run(within, "delete from {table} where id = {key}", table, key=sql.Literal(key))

    def delete_all_but(self, table: str, keys: int) -> None:
        """Leave the keys 1 to `keys`."""
        self._run(None, "delete from {table} where id > {keys}", table, keys=sql.Literal(keys))

    def delete_day(self, table: str, back: int, within: str | None = None) -> None:
        first, end = (f"{self.day(back - n)} 00:00+00" for n in (0, 1))
        self._run(
            within,
            "delete from {table} where {cursor} >= {first} and {cursor} < {end}",
            table,
            first=sql.Literal(first),
            end=sql.Literal(end),
        )

    def truncate_and_reload(self, table: str, content: str, within: str | None = None) -> None:
        """Truncate and load again, with the same keys and cursors where a row comes back (see RELOADS)."""
        with self._in(within) as connection:
            self._execute(connection, "create temporary table kept on commit drop as table {table}", table)
            self._execute(connection, "truncate {table}", table)
            if content != "nothing":
                chosen = "where id % 2 = 0" if content == "every other row" else ""
                self._execute(connection, "insert into {table} select * from kept " + chosen, table)
            if content == "new content":
                self._execute(connection, "update {table} set " + NEW_CONTENT[table], table)
            self._execute(connection, "drop table kept", table)

    def rewrite(self, table: str, way: str) -> None:
        """Write the table's file anew without changing a row (see REWRITES)."""
        statement = {
            "vacuum full": "vacuum full {table}",
            # The expression has every row written again, though no value changes.
            "alter column": "alter table {table} alter column id type bigint using id + 0",
            "cluster": "cluster {table} using {key_index}",
        }[way]
        self._run(None, statement, table, in_transaction=False, key_index=sql.Identifier(f"{table}_pkey"))

    def break_rule(self, table: str, key: int, at: str | None = None, within: str | None = None) -> None:
        """Give a row a value that sends it to quarantine; its cursor stays where `at` is None."""
        column, value = BAD_VALUES[table]
        self._set(within, table, key, {column: value} | self._cursor(table, at))

    def mend(self, table: str, key: int, at: str | None = None, within: str | None = None) -> None:
        """Give a row a good value where `break_rule` put a bad one."""
        column, _ = BAD_VALUES[table]
        self._set(within, table, key, {column: self.row(table, key, 0)[column]} | self._cursor(table, at))

    def set_column(
        self, table: str, key: int, column: str, value: Any, at: str | None = None, within: str | None = None
    ) -> None:
        """Change one column: move a line to another order, an order to another customer, a product to a category."""
        self._set(within, table, key, {column: value} | self._cursor(table, at))

    def redate(self, table: str, key: int, created: str, at: str | None = None, within: str | None = None) -> None:
        """Correct when a row was created: its order date or signup date."""
        self._set(within, table, key, {"created_at": self.moment(created)} | self._cursor(table, at))

    def begin(self, transaction: str) -> None:
        """Open a transaction that later operations may be `within`."""
        if transaction not in self._transactions:
            connection = self._transactions[transaction] = self._connect()
            connection.autocommit = False
            # From here on it is a transaction that began before whatever follows.
            connection.execute("select 1")

    def end(self, transaction: str, commit: bool) -> None:
        """Commit a transaction or roll it back."""
        if connection := self._transactions.pop(transaction, None):
            connection.commit() if commit else connection.rollback()
            connection.close()

    def end_all(self) -> None:
        for name in list(self._transactions):
            self.end(name, commit=True)

    @contextmanager
    def locked_rewrite(self, table: str, way: str) -> Iterator[Callable[[], bool]]:
        """A rewrite of the table that commits at the end of the block, and is open meanwhile.

        Yields whether somebody waits for its lock. `way` is "alter column" or one of RELOADS.
        """
        self.begin("rewrite")
        if way == "alter column":
            self._run("rewrite", "alter table {table} alter column id type bigint using id + 0", table)
        else:
            self.truncate_and_reload(table, way, within="rewrite")
        pid = self._transactions["rewrite"].info.backend_pid

        def is_waited_for() -> bool:
            found = self._connection.execute(
                "select count(*) from pg_stat_activity where %s = any(pg_blocking_pids(pid))", (pid,)
            ).fetchone()
            return bool(found and found[0])

        try:
            yield is_waited_for
        finally:
            self.end("rewrite", commit=True)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query on the shop's tables."""
        return self._connection.execute(query).fetchall()  # type: ignore[call-overload,no-any-return]

    def records(self, query: str) -> list[Mapping[str, Any]]:
        """The same as dictionaries."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return list(cursor.execute(query).fetchall())  # type: ignore[call-overload]

    def row(self, table: str, key: int, variant: int) -> dict[str, Any]:
        """The columns of a row without its cursor; the same for the same arguments."""
        created = self.moment(f"-{(key + variant) % DAYS} 08:{key % 60:02}")
        price, quantity = Decimal(("9.99", "20.50", "0.00", "13.37")[(key + variant) % 4]), 1 + variant % 3
        values: dict[str, dict[str, Any]] = {
            "users": {
                "email": f"user{key}@example.com",
                "first_name": "Ada",
                "last_name": f"L{variant}",
                "country": ("FR", "DE", "IT")[variant % 3],
                "plan": ("free", "pro")[variant % 2],
                "acquisition_channel": ("ads", "search")[(key + variant) % 2],
                "created_at": created,
            },
            "products": {
                "sku": f"SKU{key}",
                "name": f"Product {key}.{variant}",
                "category": ("books", "toys", "games")[(key + variant) % 3],
                "price": "20.00",
                "cost": ("7.77", "8.00")[variant % 2],
                "is_active": variant % 4 != 3,
                "created_at": created,
            },
            "orders": {
                # Customer 5 does not exist at first.
                "user_id": 1 + variant % 5,
                "status": ORDER_STATUSES[(key + variant) % len(ORDER_STATUSES)],
                # Dollars have rates, of pounds only the one that a variant of key 3 may give.
                "currency": ("EUR", "EUR", "EUR", "USD", "GBP")[(key + variant) % 5],
                "discount_amount": ("0.00", "3.33", "1.01")[variant % 3],
                "shipping_amount": "4.90",
                "total_amount": f"{20 + variant}.00",
                "shipping_country": ("FR", "DE", "IT")[key % 3],
                "payment_method": ("card", "transfer")[variant % 2],
                "created_at": created,
            },
            "order_items": {
                "order_id": 1 + (key + variant) % 7,
                "product_id": 1 + (key * 3 + variant) % 5,
                "quantity": quantity,
                "unit_price": price,
                "unit_cost": ("3.21", None)[variant % 2],
                # Nothing, money alone, one unit, all of them.
                "returned_quantity": (None, 0, 1, quantity)[variant // 2 % 4],
                "returned_amount": (None, price / 2, price, quantity * price)[variant // 2 % 4],
                "created_at": created,
            },
            "events": {
                "user_id": 1 + variant % 5 if key % 4 else None,
                "session_id": f"00000000-0000-0000-0000-00000000000{(key + variant) % 3}",
                "event_type": EVENT_TYPES[(key + variant) % len(EVENT_TYPES)],
                "product_id": 1 + key % 5,
                "order_id": 1 + variant % 7 if (key + variant) % len(EVENT_TYPES) == 5 else None,
                "properties": f'{{"device": "phone", "page": "/{variant}"}}' if variant % 3 else None,
            },
            "crm_contacts": {
                "user_id": 1 + (key + variant) % 4 if variant % 4 else None,
                "email": f"contact{key}@example.com",
                "company": f"Company {variant}",
                "lead_source": "fair",
                "lifecycle_stage": ("lead", "customer")[variant % 2],
                "owner": "Grace",
                "created_at": created,
            },
            "exchange_rates": {
                "currency": "GBP" if (key, variant % 2) == (3, 1) else "USD",
                "valid_from": self.day(DAYS - key),
                "eur_per_unit": ("0.91", "1.08765432", "0.005")[(key + variant) % 3],
                "created_at": created,
            },
        }
        return {"id": key, **values[table]}

    def _cursor(self, table: str, at: str | None) -> dict[str, str | None]:
        return {} if at is None else {CURSORS[table]: self.moment(at)}

    def _set(self, within: str | None, table: str, key: int, values: Mapping[str, Any]) -> None:
        self._run(
            within,
            "update {table} set {assignments} where id = {key}",
            table,
            assignments=sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in values.items()
            ),
            key=sql.Literal(key),
        )

    def _run(
        self, within: str | None, statement: str, table: str, in_transaction: bool = True, **parts: sql.Composable
    ) -> None:
        if in_transaction:
            with self._in(within) as connection:
                self._execute(connection, statement, table, **parts)
        else:
            try:
                self._execute(self._connection, statement, table, **parts)
            except _REFUSED:
                return

    @contextmanager
    def _in(self, within: str | None) -> Iterator[psycopg.Connection]:
        """The transaction of that name, or one of the block's own; what a lock or key refuses leaves no trace."""
        connection = self._transactions.get(within, self._connection) if within else self._connection
        try:
            with connection.transaction():
                yield connection
        except _REFUSED:
            return

    def _execute(self, connection: psycopg.Connection, statement: str, table: str, **parts: sql.Composable) -> None:
        named = {"table": sql.Identifier(table), "cursor": sql.Identifier(CURSORS[table]), **parts}
        used = {name: part for name, part in named.items() if f"{{{name}}}" in statement}
        connection.execute(sql.SQL(statement).format(**used))  # type: ignore[arg-type]
