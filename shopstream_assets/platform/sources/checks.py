"""Checks of the source tables themselves, the same for a simulated store and for the user's own.

What runs with a refresh asks only for what the catalogue or the cursor's index answers, and no more than COUNTED rows
of a kind; the one question that may need the whole table, `keys_unique_and_not_null`, is asked on a clock. Every table
is asked within TABLE_SECONDS, and what is wrong with one is told of that one alone.
"""

import datetime as dt
from collections.abc import Iterator

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.on_a_clock import ON_A_CLOCK
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.errors import Problem, told_from
from shopstream_assets.platform.sources.newest_change import counted
from shopstream_assets.platform.sources.port import SourceReader, SourceResource

WARN = dg.AssetCheckSeverity.WARN
ERROR = dg.AssetCheckSeverity.ERROR
FRESH = "fresh"
FROM_THE_FUTURE = "no_rows_from_the_future"
KEYS = "keys_unique_and_not_null"
CHECKS = {
    "columns_as_declared": "The table has the declared columns in types that lose nothing.",
    "every_row_has_a_day": "Each row's cursor lies in a partition, so no row is left out for ever.",
    FROM_THE_FUTURE: "No row is dated later than now. Such rows travel, but are no news: see `fresh`.",
    FRESH: "The newest change that is not dated in the future is younger than the table's freshness.",
}
# What a table without a cursor cannot be asked: its rows lie in one partition, and nothing says when they changed.
OF_THE_CURSOR = ("every_row_has_a_day", FROM_THE_FUTURE, FRESH)
WHOLE_TABLE_CHECKS = {KEYS: "No key is null or occurs twice; known without looking where it is the primary key."}

# Seconds that one table may take: for questions that an index answers, and for those of the clock.
TABLE_SECONDS = 20
WHOLE_TABLE_SECONDS = 1800


def source_checks(domain: Domain, settings: DomainSettings) -> dg.AssetChecksDefinition:
    """One step that looks at every source table of the domain, through indexes alone."""
    return _checks(domain, settings, f"{domain.name}__source_checks", CHECKS, TABLE_SECONDS)


def whole_source_checks(domain: Domain, settings: DomainSettings) -> dg.AssetChecksDefinition:
    """One step for what may need every row of a table: for the clock and on demand, not for a refresh."""
    return _checks(domain, settings, f"{domain.name}__whole_source_checks", WHOLE_TABLE_CHECKS, WHOLE_TABLE_SECONDS)


def _checks(
    domain: Domain, settings: DomainSettings, step: str, checks: dict[str, str], seconds: int
) -> dg.AssetChecksDefinition:
    tables = {asset_key(domain.name, "postgres", table.name): table for table in domain.tables}

    @dg.multi_asset_check(
        name=step,
        specs=[
            # A repeated key or an unreadable table would go wrong further down: those stop what depends on the table.
            dg.AssetCheckSpec(
                name,
                asset=key,
                description=description,
                blocking=name in ("columns_as_declared", KEYS),
                metadata=ON_A_CLOCK if checks is WHOLE_TABLE_CHECKS else None,
            )
            for key, table in tables.items()
            for name, description in checks.items()
            if table.cursor or name not in OF_THE_CURSOR
        ],
        can_subset=True,
    )
    def look(context: dg.AssetCheckExecutionContext, source: SourceResource) -> Iterator[dg.AssetCheckResult]:
        wanted = context.selected_asset_check_keys
        for key, table in tables.items():
            names = {check.name for check in wanted if check.asset_key == key}
            if not names:
                continue
            with told_from("postgres", table.name, "all", "checking the source table"), source.snapshot() as reader:
                results = list(_results(reader, table, settings.start_date, names, seconds))
            for name, passed, severity, description in results:
                if name in names:
                    yield dg.AssetCheckResult(
                        check_name=name, asset_key=key, passed=passed, severity=severity, description=description
                    )

    return look


Found = tuple[str, bool, dg.AssetCheckSeverity, str | None]
"""Check, whether it passed, severity, what was found."""


def _results(
    reader: SourceReader, table: SourceTable, start_date: dt.date, names: set[str], seconds: int
) -> Iterator[Found]:
    """The results of a table's checks; those that cannot be answered fail."""
    try:
        with reader.about(table, seconds):
            found = list(_answers(reader, table, start_date, names))
    except Problem as problem:
        found = [(name, False, ERROR, str(problem)) for name in names]
    yield from found


def _answers(reader: SourceReader, table: SourceTable, start_date: dt.date, names: set[str]) -> Iterator[Found]:
    drift = reader.plan(table).drift
    yield "columns_as_declared", not drift, WARN, f"differs from the declaration: {drift}" if drift else None
    if KEYS in names:
        bad_keys = reader.bad_keys(table)
        yield KEYS, not bad_keys, ERROR, f"{bad_keys} rows have a null key or repeat one" if bad_keys else None
    if "every_row_has_a_day" in names:
        left_out = reader.unpartitioned(table, start_date)
        told = ", ".join(f"{counted(rows)} rows whose {reason}" for reason, rows in left_out.items())
        yield "every_row_has_a_day", not left_out, WARN, f"no partition will ever hold {told}" if left_out else None
    if {FRESH, FROM_THE_FUTURE} & names:
        newest = reader.newest_change(table)
        yield FROM_THE_FUTURE, not newest.from_future, WARN, newest.future_told
        stale = newest.stale_told(table)
        yield FRESH, stale is None, WARN, stale
