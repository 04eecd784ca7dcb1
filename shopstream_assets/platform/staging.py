"""The lake's partitions as a log of changes in Snowflake, replaced by partition in one transaction.

Re-staging any partition any number of times, in any order, gives the same table; a reader sees the old rows or the
new ones, never a mixture.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake import PARTITION_COLUMN, Manifest
from shopstream_assets.platform.partitions import Window
from shopstream_assets.platform.tables import SourceTable, quoted

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import ResultMetadata, SnowflakeCursor

# Snowflake takes at most this many names in FILES.
FILES_PER_COPY = 1000
ROLLBACK_TIMEOUT = 5
# What staging adds to the columns of the source.
ADDED_COLUMNS = {
    PARTITION_COLUMN: "date",
    "_snapshot": "varchar",
    "_deleted": "boolean",
    "_deleted_at": "timestamp_ntz(6)",
    "_quarantined": "boolean",
    "_source_file": "varchar",
    "_source_row": "number(38,0)",
    "_loaded_at": "timestamp_ntz(6)",
}
ADDED_DESCRIPTIONS = {
    PARTITION_COLUMN: "Partition of the row: the UTC day of its change.",
    "_snapshot": "Snapshot of the source that saw the row so: sorts in the order of the snapshots.",
    "_deleted": "True where the snapshot no longer found the key: of the row, only the key is here.",
    "_deleted_at": "When the deletion was found (UTC).",
    "_quarantined": "True where the row breaks a rule: of the row, only the key is here.",
    "_source_file": "Object of the lake the row was loaded from.",
    "_source_row": "Position of the row in that object.",
    "_loaded_at": "When the row was loaded (UTC).",
}
METADATA = (
    "_source_file = metadata$filename, _source_row = metadata$file_row_number, _loaded_at = metadata$start_scan_time"
)


class StagedCountMismatch(Problem):
    """COPY loaded other rows than the manifests name; the transaction was rolled back."""


class StagingTooNarrow(Problem):
    """A column of the staging table cannot hold what the lake has without changing it; nothing was loaded."""


@dataclass(frozen=True)
class StagedDay:
    """A partition as it lies in staging: its rows and how many distinct keys they have."""

    rows: int
    keys: int


def snowflake_name(name: str) -> str:
    """The quoted Snowflake identifier for a name of the source: what the name unquoted would mean there."""
    return quoted(upper(name))


def upper(name: str) -> str:
    """A name in capitals, letter by letter: one that becomes two, as ß, would no longer match the column of a file."""
    return "".join(letter.upper() if len(letter.upper()) == 1 else letter for letter in name)


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


def create_staging_table(
    session: SnowflakeConnection, database: str, table: SourceTable, manifests: Collection[Manifest]
) -> tuple[str, ...]:
    """Make the staging table as declared and add the columns that the manifests have beyond it; returns those added.

    DDL commits by itself in Snowflake, so this comes before the transaction that loads. Raises StagingTooNarrow where
    the table is older than a declaration that has changed: COPY would round to the scale that it finds.
    """
    relation = staging_relation(database, table)
    declared = {column.name: column.type.snowflake for column in table.columns} | ADDED_COLUMNS
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
        missing = {name: kind for name, kind in (*wanted, *ADDED_COLUMNS.items()) if upper(name) not in present}
        for name, kind in missing.items():
            cursor.execute(f"alter table {relation} add column {snowflake_name(name)} {kind}")
    return tuple(missing)


def _holds(column: ResultMetadata | None, kind: str) -> bool:
    """Whether a column of staging, None where it is still to be added, takes every value of a type unchanged."""
    from snowflake.connector.constants import FIELD_ID_TO_NAME

    found = FIELD_ID_TO_NAME[column.type_code] if column else "TEXT"
    number = re.fullmatch(r"number\((\d+),(\d+)\)", kind)
    if column and number and found == "FIXED":
        precision, scale = map(int, number.groups())
        present = column.precision or 0, column.scale or 0
        return present[1] >= scale and present[0] - present[1] >= precision - scale
    return found == "TEXT" or found == kind.partition("(")[0].upper()


def replace_partitions(
    session: SnowflakeConnection,
    database: str,
    table: SourceTable,
    window: Window,
    manifests: Mapping[dt.date, Manifest],
) -> dict[dt.date, StagedDay]:
    """Replace the window's partitions by what its manifests name, in one transaction.

    Raises StagedCountMismatch, leaving the table as it was, when the rows loaded are not those of the manifests.
    """
    import snowflake.connector as connector

    relation = staging_relation(database, table)
    keys = [item.key for manifest in manifests.values() for item in manifest.objects]
    with session.cursor() as cursor:
        cursor.execute("begin")
        try:
            cursor.execute(
                f"delete from {relation} where {within(window)}",
            )
            for first in range(0, len(keys), FILES_PER_COPY):
                _copy(cursor, relation, stage_relation(database), keys[first : first + FILES_PER_COPY])
            staged = _staged(cursor, relation, table, window)
            for day, manifest in manifests.items():
                rows = staged[day].rows
                if rows != manifest.rows:
                    raise StagedCountMismatch(
                        f"{day} has {rows} rows after COPY, its manifest says {manifest.rows}; rolled back.",
                        "materialize the lake's partition again, then this one.",
                    )
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
        "file_format = (type = parquet use_logical_type = true) match_by_column_name = case_insensitive "
        f"include_metadata = ({METADATA}) on_error = abort_statement force = true"
    )


def _staged(cursor: SnowflakeCursor, relation: str, table: SourceTable, window: Window) -> dict[dt.date, StagedDay]:
    partition = snowflake_name(PARTITION_COLUMN)
    key = ", ".join(snowflake_name(name) for name in table.primary_key)
    cursor.execute(
        f"select {partition}, count(*), count(distinct {key}) from {relation} "
        f"where {within(window)} group by {partition}"
    )
    found = {day: StagedDay(rows, keys) for day, rows, keys in cursor.fetchall()}
    return {day: found.get(day, StagedDay(0, 0)) for day in window.days}
