"""Which manifest each partition of staging was loaded from: a row per table and day, written with the load itself.

dbt keeps the same for its models (CORE.BUILT_PARTITIONS, see dbt_project/shared/macros): one hash travels through all
layers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shopstream_assets.platform.declare.tables import SourceTable, snowflake_name

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor

    from shopstream_assets.platform.declare.partitions import Window
    from shopstream_assets.platform.lake.manifest import Manifest

ROWS_PER_INSERT = 1000


@dataclass(frozen=True)
class Loaded:
    """A partition of staging: the ETag and the hash of the manifest that it was loaded from."""

    etag: str
    hash: str


def loaded_relation(database: str) -> str:
    """Fully qualified name of staging's ledger."""
    return f"{snowflake_name(database)}.STAGING.LOADED_PARTITIONS"


def built_relation(database: str) -> str:
    """Fully qualified name of the models' ledger, which dbt writes."""
    return f"{snowflake_name(database)}.CORE.BUILT_PARTITIONS"


def one_state(models: int) -> str:
    """SQL over the lines that `models` models have of a day: the manifest hash that they all hold, or '' where none."""
    return (
        f"iff(count(*) = {models} and count(distinct manifest_hash) = 1 and min(manifest_hash) <> 'mixed' "
        "and not startswith(min(manifest_hash), 'building '), min(manifest_hash), '')"
    )


def create_ledgers(session: SnowflakeConnection, database: str) -> None:
    """Make both ledgers, where they are not there."""
    with session.cursor() as cursor:
        cursor.execute(
            f"create table if not exists {loaded_relation(database)} (table_name varchar, partition_date date, "
            "manifest_hash varchar, manifest_etag varchar, snapshot varchar, row_count number(38,0), "
            "loaded_at timestamp_ntz(6))"
        )
        cursor.execute(
            f"create table if not exists {built_relation(database)} (model_name varchar, table_name varchar, "
            "partition_date date, manifest_hash varchar, built_at timestamp_ntz(6))"
        )


def record_loaded(
    cursor: SnowflakeCursor,
    database: str,
    table: SourceTable,
    window: Window,
    manifests: Mapping[dt.date, Manifest],
    etags: Mapping[dt.date, str],
) -> None:
    """Note the manifests of the window, within the transaction that loads them.

    A model is built from the keys that a day names. Where one has forgotten some, nothing says any more what the models
    made from the table hold: they are built anew.
    """
    if any(manifest.has_forgotten for manifest in manifests.values()):
        built = built_relation(database)
        cursor.execute(
            f"delete from {built} where model_name in (select model_name from {built} where table_name = %s)",
            (table.name,),
        )
    relation = loaded_relation(database)
    cursor.execute(
        f"delete from {relation} where table_name = %s and partition_date >= %s::date and partition_date < %s::date",
        (table.name, str(window.first), str(window.end)),
    )
    days = sorted(manifests)
    for first in range(0, len(days), ROWS_PER_INSERT):
        rows = days[first : first + ROWS_PER_INSERT]
        places = ", ".join(["(%s, %s, %s, %s, %s, %s)"] * len(rows))
        values = [
            value
            for day in rows
            for value in (
                table.name,
                str(day),
                manifests[day].hash,
                etags[day],
                manifests[day].snapshot,
                manifests[day].staged_rows,
            )
        ]
        cursor.execute(
            f"insert into {relation} (table_name, partition_date, manifest_hash, manifest_etag, snapshot, row_count, "
            "loaded_at) select column1, column2::date, column3, column4, column5, column6::number(38,0), "
            f"sysdate()::timestamp_ntz(6) from values {places}",
            values,
        )


def loaded_partitions(
    cursor: SnowflakeCursor, database: str, tables: Sequence[str]
) -> dict[str, dict[dt.date, Loaded]]:
    """What staging has loaded of each table, by day."""
    found: dict[str, dict[dt.date, Loaded]] = {name: {} for name in tables}
    cursor.execute(
        f"select table_name, partition_date, manifest_etag, manifest_hash from {loaded_relation(database)} "
        f"where table_name in ({', '.join(['%s'] * len(tables))})",
        list(tables),
    )
    for name, day, etag, value in cursor.fetchall():
        found[name][day] = Loaded(etag, value)
    return found
