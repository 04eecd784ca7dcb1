"""The lake's partitions as a log of changes in Snowflake, replaced by partition in one transaction.

Re-staging any partition any number of times, in any order, gives the same table; a reader sees the old rows or the
new ones, never a mixture.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.tables import SourceTable, snowflake_name, upper
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake.added_columns import ADDED_COLUMNS
from shopstream_assets.platform.lake.manifest import (
    PARTITION_COLUMN,
    Manifest,
)
from shopstream_assets.platform.staging.ledger import record_loaded

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import ResultMetadata, SnowflakeCursor

# Snowflake takes at most this many names in FILES.
FILES_PER_COPY = 1000
ROLLBACK_TIMEOUT = 5
METADATA = (
    "_source_file = metadata$filename, _source_row = metadata$file_row_number, _loaded_at = metadata$start_scan_time"
)


class StagedCountMismatch(Problem):
    """COPY loaded other rows than the manifests name; the transaction was rolled back."""


class ManifestsChanged(Problem):
    """The lake published newer manifests while their partitions were being loaded; nothing was loaded."""


class StagingTooNarrow(Problem):
    """A column of the staging table cannot hold what the lake has without changing it; nothing was loaded."""


def staging_relation(database: str, table: SourceTable) -> str:
    """Fully qualified name of the table's log of changes."""
    return f"{snowflake_name(database)}.STAGING.{snowflake_name(table.staging_table)}"


def stage_relation(database: str) -> str:
    """Fully qualified name of the external stage over the lake's bucket."""
    return f"{snowflake_name(database)}.RAW.LAKE"


def create_stage(session: SnowflakeConnection, database: str, bucket: str, integration: str) -> None:
    """Make the stage over the bucket, if it is not there."""
    location = f"s3://{bucket}/".replace("'", "''")
    credentials = f" storage_integration = {snowflake_name(integration)}" if integration else ""
    with session.cursor() as cursor:
        cursor.execute(
            f"create stage if not exists {stage_relation(database)} url = '{location}'{credentials} "
            "comment = 'The lake; loaded through manifests only.'"
        )


def declared_columns(table: SourceTable) -> dict[str, str]:
    """Snowflake's types of the columns that the staging table has before the source has others, by name."""
    return {column.name: column.type.snowflake for column in table.columns} | ADDED_COLUMNS


def create_staging_table(
    session: SnowflakeConnection, database: str, table: SourceTable, manifests: Collection[Manifest]
) -> tuple[str, ...]:
    """Make the staging table as declared, and add what it lacks of that and of the manifests' columns; returns these.

    DDL commits by itself in Snowflake, so this comes before the transaction that loads. Raises StagingTooNarrow where
    the table is older than a declaration that has changed: COPY would round to the scale that it finds.
    """
    relation = staging_relation(database, table)
    declared = declared_columns(table)
    columns = ", ".join(f"{snowflake_name(name)} {kind}" for name, kind in declared.items())
    with session.cursor() as cursor:
        cursor.execute(f"create table if not exists {relation} ({columns})")
        cursor.execute(f"select * from {relation} limit 0")
        present = {column.name: column for column in cursor.description}
        wanted = {(column.name, column.type): None for manifest in manifests for column in manifest.columns}
        narrow = [f"{name} of {kind}" for name, kind in wanted if not _holds(present.get(upper(name)), kind)]
        if narrow:
            raise StagingTooNarrow(
                f"the columns of {relation} cannot hold what the lake has: {', '.join(narrow)}.",
                f"alter their types where Snowflake can; else drop the table and materialize staging/{table.name} for "
                "all partitions again.",
            )
        missing = {name: kind for name, kind in (*declared.items(), *wanted) if upper(name) not in present}
        for name, kind in missing.items():
            cursor.execute(f"alter table {relation} add column if not exists {snowflake_name(name)} {kind}")
    return tuple(missing)


def _holds(column: ResultMetadata | None, kind: str) -> bool:
    """Whether a column of staging, None where it is still to be added, takes every value of a type unchanged."""
    from snowflake.connector.constants import FIELD_ID_TO_NAME

    found = FIELD_ID_TO_NAME[column.type_code] if column else "TEXT"
    if column and kind == "array":
        return found in ("ARRAY", "VARIANT")
    number = re.fullmatch(r"number\((\d+),(\d+)\)", kind)
    if column and number and found == "FIXED":
        precision, scale = map(int, number.groups())
        present = column.precision or 0, column.scale or 0
        return present[1] >= scale and present[0] - present[1] >= precision - scale
    return found == "TEXT" or found == {"float": "REAL"}.get(kind, kind.partition("(")[0].upper())


def replace_partitions(
    session: SnowflakeConnection,
    database: str,
    table: SourceTable,
    window: Window,
    manifests: Mapping[dt.date, Manifest],
    etags: Mapping[dt.date, str],
    newest_etags: Callable[[], Mapping[dt.date, str]],
) -> dict[dt.date, int]:
    """Replace the window's partitions by what its manifests name, in one transaction; returns the rows of each.

    The delete makes a second loader of the same partitions wait. What `newest_etags` says after it is what counts: a
    slow loader must not put older manifests over newer ones. Raises ManifestsChanged in that case, and
    StagedCountMismatch when the rows loaded are not those of the manifests; both leave the table as it was.
    """
    import snowflake.connector as connector

    relation = staging_relation(database, table)
    keys = [item.key for manifest in manifests.values() for item in manifest.objects]
    with session.cursor() as cursor:
        cursor.execute("begin")
        try:
            cursor.execute(f"delete from {relation} where {within(window)}")
            if newest_etags() != etags:
                raise ManifestsChanged(
                    "the lake's manifests were replaced while they were being loaded.",
                    "nothing is lost: it is tried again with the new ones.",
                    retry=True,
                )
            for first in range(0, len(keys), FILES_PER_COPY):
                _copy(cursor, relation, stage_relation(database), keys[first : first + FILES_PER_COPY])
            staged = _staged(cursor, relation, window)
            for day, manifest in manifests.items():
                if staged[day] != manifest.staged_rows:
                    raise StagedCountMismatch(
                        f"{day} has {staged[day]} rows after COPY, its manifest says {manifest.staged_rows}; rolled "
                        "back.",
                        "materialize the lake's partition again, then this one.",
                    )
            record_loaded(cursor, database, table, window, manifests, etags)
            cursor.execute("commit")
        except BaseException:
            # What a broken connection cannot roll back any more, Snowflake does when the session ends.
            with suppress(connector.Error):
                cursor.execute("rollback", timeout=ROLLBACK_TIMEOUT)
            raise
    return staged


def within(window: Window) -> str:
    """SQL condition on the partition. The dates are in the text: binding would take a % in a name for a place."""
    partition = snowflake_name(PARTITION_COLUMN)
    return f"{partition} >= '{window.first}'::date and {partition} < '{window.end}'::date"


def _copy(cursor: SnowflakeCursor, relation: str, stage: str, keys: list[str]) -> None:
    files = ", ".join("'" + key.replace("\\", "\\\\").replace("'", "''") + "'" for key in keys)
    # FORCE: a partition that is staged again names objects that the load history has seen, after they were deleted.
    cursor.execute(
        f"copy into {relation} from @{stage} files = ({files}) "
        # Text is written as text: what has no logical type are bytes, which Snowflake would take for UTF-8.
        "file_format = (type = parquet use_logical_type = true binary_as_text = false) "
        "match_by_column_name = case_insensitive "
        f"include_metadata = ({METADATA}) on_error = abort_statement force = true"
    )


def _staged(cursor: SnowflakeCursor, relation: str, window: Window) -> dict[dt.date, int]:
    partition = snowflake_name(PARTITION_COLUMN)
    cursor.execute(f"select {partition}, count(*) from {relation} where {within(window)} group by {partition}")
    found = dict(cursor.fetchall())
    return {day: found.get(day, 0) for day in window.days}
