"""The marts of a domain as the pages read them: bound queries, as REPORTER on REPORTING_WH, each answered once a build.

A page never asks the warehouse itself. What it gets is kept until a mart is built anew, for all who look. As Streamlit
in Snowflake the pages ask on the session that Snowflake gives them.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from shopstream_assets.dashboards.periods import Period
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.registry import domain_named
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.errors import ServiceError
from shopstream_assets.platform.staging.warehouse import service_error

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

Value = str | int | float | dt.date | None
# In Snowflake's container for Streamlit: the token that its sessions log in with.
SESSION_TOKEN = Path("/snowflake/session/token")
# Answers kept: some dozens for each page and choice of filters.
ANSWERS = 1000
# Seconds that an answer on the state of the marts is good for: all who look share it.
STATE_SECONDS = 1.5

# Of a warehouse in which nothing was built yet the ledger is missing.
_LEDGER = "select count(*) from information_schema.tables where table_schema = 'CORE' and table_name = %s"
_BUILT = """
select model_name, max(built_at) as built_at, count_if(startswith(manifest_hash, 'building ')) as days_building
from core.built_partitions
where startswith(model_name, 'mart_')
group by model_name
order by model_name
"""
_COMMENTS = """
select lower(table_name) as table_name, lower(column_name) as column_name, comment
from information_schema.columns
where table_schema = 'MARTS'
"""


@dataclass(frozen=True)
class Condition:
    """Part of a where clause, and the values bound to it."""

    sql: str
    values: tuple[Value, ...] = ()

    def __and__(self, other: Condition) -> Condition:
        return Condition(f"{self.sql} and {other.sql}", (*self.values, *other.values))


def among(column: str, chosen: Sequence[str]) -> Condition:
    """Rows whose `column` is one of those chosen; all rows where nothing is."""
    if not chosen:
        return Condition("true")
    return Condition(f"{column} in ({', '.join(['%s'] * len(chosen))})", tuple(chosen))


def between(column: str, first: dt.date, last: dt.date) -> Condition:
    """Rows whose `column` is one of these days, both included."""
    return Condition(f"{column} between %s and %s", (first, last))


@dataclass(frozen=True)
class Built:
    """When each mart was built last (UTC), and whether one is being built now. Empty where none ever was."""

    at: tuple[tuple[str, dt.datetime], ...]
    is_building: bool

    @property
    def newest(self) -> dt.datetime | None:
        """The latest build of any mart."""
        return max((at for _, at in self.at), default=None)


@dataclass(frozen=True)
class Marts:
    """The marts of a domain, as they were built at `built`."""

    domain: Domain
    built: Built

    def rows(self, sql: str, *values: Value) -> pd.DataFrame:
        """The answer to a query on the marts; columns in lower case, exact numbers as floats, days as timestamps.

        `%s` in it stands for the values, in their order. Raises ServiceError where the warehouse gives none.
        """
        return _rows(self.domain.name, sql, values, self.built.at)

    def row(self, sql: str, *values: Value) -> pd.Series:
        """The only row of such an answer."""
        return self.rows(sql, *values).iloc[0]

    def by_day(self, mart: str, day: str, sums: str, period: Period, chosen: Condition) -> pd.DataFrame:
        """The `sums` of each day of a period, oldest first: its column `day`, and those that they name."""
        where = between(day, period.first, period.last) & chosen
        return self.rows(
            f"select {day} as day, {sums} from marts.{mart} where {where.sql} group by {day} order by {day}",
            *where.values,
        )

    def by_day_with_before(
        self, mart: str, day: str, sums: str, period: Period, chosen: Condition
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The same of a period, and of the one before."""
        now, before = (self.by_day(mart, day, sums, days, chosen) for days in (period, period.before))
        return now, before

    def extent(self, mart: str, day: str) -> Period | None:
        """The first and the last day of a mart; None where it has no rows."""
        found = self.row(f"select min({day}) as first, max({day}) as last from marts.{mart}")
        return None if pd.isna(found["first"]) else Period(found["first"].date(), found["last"].date())

    def values(self, mart: str, *columns: str) -> dict[str, list[str]]:
        """The values that each of the columns has, in their order."""
        each = (f"select distinct '{column}' as what, {column} as value from marts.{mart}" for column in columns)
        found = self.rows(f"{' union all '.join(each)} order by value").dropna()
        return {column: list(found.loc[found["what"] == column, "value"]) for column in columns}

    def meaning(self, mart: str, column: str) -> str:
        """What the column is, in the words of the model that makes it: dbt stores them beside the table."""
        return _comments(self.domain.name, self.built.at).get((mart, column), "")


def marts_of(domain: Domain) -> Marts:
    """The marts of a domain as they are now. Raises ServiceError where the warehouse gives no answer."""
    return Marts(domain, built(domain.name))


@st.cache_data(ttl=STATE_SECONDS, max_entries=20, show_spinner=False)
def built(domain: str) -> Built:
    """When the marts were built last: the one query that is asked again and again.

    Raises ServiceError where the warehouse gives no answer.
    """
    session = _session(domain)
    try:
        found = session.fetch(_BUILT, ())
    except ServiceError:
        if session.fetch(_LEDGER, ("BUILT_PARTITIONS",)).iat[0, 0]:
            raise
        return Built((), False)
    at = {str(name): moment for name, moment in zip(found["model_name"], found["built_at"], strict=True)}
    return Built(
        tuple((name, pd.Timestamp(moment).to_pydatetime()) for name, moment in at.items() if not pd.isna(moment)),
        bool(found["days_building"].sum()),
    )


@st.cache_data(max_entries=ANSWERS, show_spinner=False)
def _rows(domain: str, sql: str, values: tuple[Value, ...], built: object) -> pd.DataFrame:
    """`built` is part of what the answer is kept under: after a build it is asked for anew."""
    return _session(domain).fetch(sql, values)


@st.cache_data(max_entries=20, show_spinner=False)
def _comments(domain: str, built: object) -> dict[tuple[str, str], str]:
    found = _session(domain).fetch(_COMMENTS, ())
    keys = zip(found["table_name"], found["column_name"], strict=True)
    return dict(zip(keys, found["comment"].fillna(""), strict=True))


def is_in_snowflake() -> bool:
    """Whether the pages run as Streamlit in Snowflake, in a container there."""
    return SESSION_TOKEN.exists()


@st.cache_resource(show_spinner=False)
def database_in_snowflake() -> str:
    """The database that the app was created in. Raises ServiceError where Snowflake gives no session."""
    from snowflake.connector import Error

    try:
        with _session_in_snowflake() as session:
            return str(session.database)
    except Error as error:
        raise service_error(error) from None


def _session_in_snowflake() -> AbstractContextManager[SnowflakeConnection]:
    """The session of the container's default connection: its owner's role, the app's database, its query warehouse."""
    from snowflake.connector import connect

    return closing(connect())


class _Session:
    """A session of a domain's warehouse that all pages share, opened anew where it was lost."""

    def __init__(self, domain: Domain) -> None:
        self._open = _session_in_snowflake if is_in_snowflake() else _session_from_outside(domain)
        self._lock = threading.Lock()
        self._opened = ExitStack()
        self._connection: SnowflakeConnection | None = None

    def fetch(self, sql: str, values: Sequence[Value]) -> pd.DataFrame:
        with self._lock:
            try:
                return self._fetch(sql, values)
            except ServiceError as problem:
                if not problem.retry:
                    raise
                # A session ends when it was idle for hours, or when the warehouse's server is started again.
                self.close()
                return self._fetch(sql, values)

    def _fetch(self, sql: str, values: Sequence[Value]) -> pd.DataFrame:
        from snowflake.connector import Error

        try:
            if self._connection is None:
                self._connection = self._opened.enter_context(self._open())
            with self._connection.cursor() as cursor:
                cursor.execute(sql, tuple(values))
                names = [column.name.lower() for column in cursor.description]
                return _typed(pd.DataFrame(cursor.fetchall(), columns=names))
        except Error as error:
            raise service_error(error) from None

    def close(self) -> None:
        """End the session; the next query opens another."""
        from snowflake.connector import Error

        opened, self._opened, self._connection = self._opened, ExitStack(), None
        # Its own farewell fails where the server is gone: that is why it is closed.
        with suppress(Error, ServiceError):
            opened.close()


def _session_from_outside(domain: Domain) -> Callable[[], AbstractContextManager[SnowflakeConnection]]:
    """What opens a session as the domain's REPORTER, by the login of the environment."""
    from shopstream_assets.platform.definitions import resources

    warehouse = resources(domain)["warehouse"].process_config_and_initialize()
    reporter = warehouse.model_copy(update={"role": f"{domain.prefix}_REPORTER"})
    return partial(reporter.connection, REPORTING)


@st.cache_resource(show_spinner=False, on_release=lambda session: session.close())
def _session(domain: str) -> _Session:
    return _Session(domain_named(domain))


def _typed(found: pd.DataFrame) -> pd.DataFrame:
    """Numbers and days as pandas computes with them; the connector gives Decimal and date."""
    for name in found.columns:
        kind = _first(found[name])
        if isinstance(kind, Decimal):
            found[name] = found[name].astype(float)
        elif isinstance(kind, dt.date):
            found[name] = pd.to_datetime(found[name])
    return found


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)
