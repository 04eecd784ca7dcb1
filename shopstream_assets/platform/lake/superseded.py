"""Objects that no manifest names any more: the lake grows by one whenever a day is extracted again.

They are kept for a while, as whoever reads by the manifest before finds all of its objects. Since when each has been
named no more is noted beside the manifests, for S3 knows only when it was stored.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from contextlib import suppress

from pydantic import TypeAdapter, ValidationError

from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.lake.extraction import its_turn
from shopstream_assets.platform.lake.manifest import readable_manifests
from shopstream_assets.platform.lake.object_store import AT_ONCE, ObjectMissing, ObjectStoreResource
from shopstream_assets.platform.sources.port import SourceResource

_Seen = TypeAdapter(dict[str, dt.datetime])


def delete_superseded(
    source: SourceResource, store: ObjectStoreResource, table: SourceTable, before: dt.datetime, now: dt.datetime
) -> int:
    """Delete the objects of a table that were found named by no manifest `before`, and still are; returns their number.

    Those that are found so for the first time are noted as of `now`. Days without a manifest that can be read, or that
    have lost an object which it names, are left alone: whatever lies there may be needed to put them right. Raises
    ServiceError.
    """
    held: dict[str, dt.date] = {}
    for prefix in (table.lake_prefix, table.quarantine_prefix):
        for key, _, _ in store.listed(f"{prefix}/dt="):
            text = key.removeprefix(f"{prefix}/dt=").partition("/")[0]
            with suppress(ValueError):
                # What is no partition of ours is not ours to delete.
                if str(day := dt.date.fromisoformat(text)) == text:
                    held[key] = day
    seen = _read(store, table)
    unnamed = {key: seen.get(key, now) for key in _unnamed(store, table, held, held.keys())}
    due = [key for key, since in unnamed.items() if since <= before]
    deleted = 0
    for at in range(0, len(due), AT_ONCE):
        # While no extraction is under way, which may store what looks the same, and publish it in a moment.
        with source.snapshot(alone=its_turn(store, table)):
            still = _unnamed(store, table, held, due[at : at + AT_ONCE])
            store.delete(still)
        deleted += len(still)
    left = {key: since for key, since in unnamed.items() if since > before}
    if left != seen:
        store.put(_note(table), _Seen.dump_json(left), "application/json")
    return deleted


def _unnamed(
    store: ObjectStoreResource, table: SourceTable, held: dict[str, dt.date], keys: Collection[str]
) -> list[str]:
    """Those of the keys whose day has a manifest, and all objects of it, but not this one."""
    manifests = readable_manifests(store, table, {held[key] for key in keys})
    whole = {
        day: manifest
        for day, manifest in manifests.items()
        if manifest and all(item.key in held for item in manifest.objects)
    }
    named = {item.key for manifest in whole.values() for item in (*manifest.objects, *manifest.quarantine_objects)}
    return [key for key in keys if held[key] in whole and key not in named]


def _note(table: SourceTable) -> str:
    return f"{table.lake_prefix}/_superseded.json"


def _read(store: ObjectStoreResource, table: SourceTable) -> dict[str, dt.datetime]:
    """What is noted; nothing where that cannot be read, and so all is kept for as long again."""
    try:
        return _Seen.validate_json(store.get(_note(table)))
    except (ObjectMissing, ValidationError):
        return {}
