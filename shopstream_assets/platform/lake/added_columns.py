"""What lake and staging add to the columns of the source."""

from __future__ import annotations

from shopstream_assets.platform.lake.manifest import (
    DELETED_AT_COLUMN,
    DELETED_COLUMN,
    PARTITION_COLUMN,
    QUARANTINED_COLUMN,
    SNAPSHOT_COLUMN,
)

# What staging adds to the columns of the source.
ADDED_COLUMNS = {
    PARTITION_COLUMN: "date",
    SNAPSHOT_COLUMN: "varchar",
    DELETED_COLUMN: "boolean",
    DELETED_AT_COLUMN: "timestamp_ntz(6)",
    QUARANTINED_COLUMN: "boolean",
    "_source_file": "varchar",
    "_source_row": "number(38,0)",
    "_loaded_at": "timestamp_ntz(6)",
}

ADDED_DESCRIPTIONS = {
    PARTITION_COLUMN: "Partition of the row: the UTC day of its change, or one that its key has left.",
    SNAPSHOT_COLUMN: "Position of the snapshot of the source that saw the row so; of a key's rows the greatest counts.",
    DELETED_COLUMN: "Whether the snapshot found the key gone: a tombstone, with no other column of the source.",
    DELETED_AT_COLUMN: "When the key was first found gone (UTC).",
    QUARANTINED_COLUMN: "Whether the snapshot found the row unfit to travel: its key alone, the row is in quarantine.",
    "_source_file": "Object of the lake the row was loaded from.",
    "_source_row": "Position of the row in that object.",
    "_loaded_at": "When the row was loaded (UTC).",
}
