"""Reading staging again, independently of the step that wrote it: it is counted and summed, and held against the
manifests that are current now.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.tables import SourceTable, snowflake_name
from shopstream_assets.platform.lake.checksums import checksum_sql, is_summed
from shopstream_assets.platform.lake.manifest import PARTITION_COLUMN, SNAPSHOT_COLUMN, Manifest
from shopstream_assets.platform.staging.change_log import staging_relation, within
from shopstream_assets.platform.staging.ledger import loaded_partitions

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection


def staging_differences(
    session: SnowflakeConnection,
    database: str,
    table: SourceTable,
    window: Window,
    manifests: Mapping[dt.date, Manifest | None],
    etags: Mapping[dt.date, str],
) -> Iterator[str]:
    """What staging has otherwise than the lake's manifests say, a sentence per day."""
    scales = {name: scale for manifest in manifests.values() if manifest for name, scale in _scales(manifest)}
    sums = "".join(f", {checksum_sql(name, scale)}" for name, scale in scales.items())
    partition = snowflake_name(PARTITION_COLUMN)
    with session.cursor() as cursor:
        cursor.execute(
            f"select {partition}, count(*){sums} from {staging_relation(database, table)} where {within(window)} "
            f"group by {partition}"
        )
        staged = {day: (rows, *map(int, found)) for day, rows, *found in cursor.fetchall()}
        loaded = loaded_partitions(cursor, database, [table.name])[table.name]
    for day in window.days:
        manifest = manifests.get(day)
        if manifest is None:
            if day in staged:
                yield f"{day}: staging has {staged[day][0]} rows, the lake has no manifest"
            continue
        expected = (manifest.staged_rows, *(_expected(manifest, name) for name in scales))
        found = staged.get(day, (0,) * len(expected))
        if found != expected:
            names = ("rows", *(f"the checksum of {name}" for name in scales))
            wrong = [
                f"{name} {is_there}, the lake {should}"
                for name, is_there, should in zip(names, found, expected, strict=True)
                if is_there != should
            ]
            yield f"{day}: staging has {'; '.join(wrong[:3])}"
        elif day not in loaded or loaded[day].etag != etags.get(day):
            yield f"{day}: staging was loaded from a manifest that the lake has replaced since"


def _expected(manifest: Manifest, name: str) -> int:
    return sum(item.checksums.get(name, 0) for item in manifest.objects)


def _scales(manifest: Manifest) -> Iterator[tuple[str, int]]:
    """(column, digits after the point) of its exact numbers that have a checksum."""
    for column in manifest.columns:
        number = re.fullmatch(r"number\((\d+),(\d+)\)", column.type)
        if number and is_summed(int(number[1]), int(number[2])):
            yield column.name, int(number[2])


def repeated_keys(
    session: SnowflakeConnection, database: str, table: SourceTable, window: Window
) -> dict[dt.date, int]:
    """Rows by day that have a null key, or repeat a key within one snapshot: the table's key is none."""
    partition, snapshot = snowflake_name(PARTITION_COLUMN), snowflake_name(SNAPSHOT_COLUMN)
    key = [snowflake_name(name) for name in table.primary_key]
    with session.cursor() as cursor:
        cursor.execute(
            f"select {partition}, sum(row_count)::number(38,0) from ("
            f"select {partition}, count(*) - iff({' or '.join(f'{name} is null' for name in key)}, 0, 1) as row_count "
            f"from {staging_relation(database, table)} where {within(window)} "
            f"group by {partition}, {snapshot}, {', '.join(key)}) as versions "
            f"where row_count > 0 group by {partition}"
        )
        return {day: int(rows) for day, rows in cursor.fetchall()}
