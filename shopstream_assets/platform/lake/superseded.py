"""Objects that no manifest names any more: the lake grows by one whenever a day is extracted again.

They are kept for a while, as whoever reads by the manifest before finds all of its objects.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.lake.extraction import its_turn
from shopstream_assets.platform.lake.manifest import MANIFESTS, Manifest, manifest_key, read_manifests
from shopstream_assets.platform.lake.object_store import AT_ONCE, ObjectStoreResource
from shopstream_assets.platform.sources.port import SourceResource


def delete_superseded(
    source: SourceResource, store: ObjectStoreResource, table: SourceTable, before: dt.datetime
) -> int:
    """Delete objects of a table, stored `before`, of days whose manifest was published before as well and names others.

    What a killed extraction has left on a day without a manifest counts too. Returns how many were deleted. Raises
    ManifestDamaged, where one cannot be read, deleting nothing of the days after it; and ServiceError.
    """
    recent = {key for key, stored in store.dated(f"{table.lake_prefix}/{MANIFESTS}/") if stored >= before}
    old: dict[str, dt.date] = {}
    for prefix in (table.lake_prefix, table.quarantine_prefix):
        for key, stored in store.dated(f"{prefix}/dt="):
            day = dt.date.fromisoformat(key.removeprefix(f"{prefix}/dt=").partition("/")[0])
            if stored < before and manifest_key(table, day) not in recent:
                old[key] = day
    superseded = _unnamed(old, read_manifests(store, table, set(old.values())).values())
    for at in range(0, len(superseded), AT_ONCE):
        some = superseded[at : at + AT_ONCE]
        # While no extraction is under way, which may store what looks the same, and publish it in a moment.
        with source.snapshot(alone=its_turn(store, table)):
            store.delete(_unnamed(some, read_manifests(store, table, {old[key] for key in some}).values()))
    return len(superseded)


def _unnamed(keys: Collection[str], manifests: Collection[Manifest | None]) -> list[str]:
    """The keys that none of the manifests names."""
    named = {
        item.key for manifest in manifests if manifest for item in (*manifest.objects, *manifest.quarantine_objects)
    }
    return [key for key in keys if key not in named]
