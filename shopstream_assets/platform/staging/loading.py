"""A window of the lake into staging: manifests read, verified, and loaded in one transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.settings import LOADING
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake.manifest import Manifest, damaged_objects, published, read_manifests
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.staging import change_log
from shopstream_assets.platform.staging.ledger import create_ledgers
from shopstream_assets.platform.staging.warehouse import WarehouseResource


@dataclass(frozen=True)
class Loaded:
    """The manifest that each day was loaded from, and its ETag as it was listed before it was read."""

    manifests: Mapping[dt.date, Manifest]
    etags: Mapping[dt.date, str]

    def current(
        self, store: ObjectStoreResource, table: SourceTable, etags: Mapping[dt.date, str]
    ) -> dict[dt.date, Manifest | None]:
        """The manifests that these ETags name: those that are others since the load are read.

        One whose ETag is as before it was read is the one that was read.
        """
        changed = [day for day in self.manifests if etags.get(day) != self.etags.get(day)]
        return {**self.manifests, **read_manifests(store, table, changed)}


# Extractions that may publish while one load is under way.
ATTEMPTS = 3


def load_from_lake(
    store: ObjectStoreResource, warehouse: WarehouseResource, table: SourceTable, window: Window
) -> Loaded:
    """Replace the window's partitions in staging by what the lake's manifests name; returns those.

    Raises Problem, leaving staging as it was, when a manifest or object is missing or damaged or a service fails.
    """
    for _ in range(ATTEMPTS - 1):
        with suppress(change_log.ManifestsChanged):
            return _load(store, warehouse, table, window)
    return _load(store, warehouse, table, window)


def _load(store: ObjectStoreResource, warehouse: WarehouseResource, table: SourceTable, window: Window) -> Loaded:
    # A manifest that is replaced between listing and reading is loaded under the older name, and so again.
    etags = published(store, table, window)
    manifests = dict(_required_manifests(store, table, window, etags))
    damage = list(damaged_objects(store, table, window, manifests.values()))
    if damage:
        raise Problem(
            f"the lake is damaged: {'; '.join(damage[:5])}{' ...' if len(damage) > 5 else ''}.",
            f"materialize lake/{table.name} for these partitions again; the source still has the rows.",
        )
    with warehouse.connection(LOADING) as session:
        change_log.create_stage(session, warehouse.database, store.bucket, warehouse.storage_integration)
        change_log.create_staging_table(session, warehouse.database, table, manifests.values())
        create_ledgers(session, warehouse.database)
        change_log.replace_partitions(
            session, warehouse.database, table, window, manifests, etags, lambda: published(store, table, window)
        )
    return Loaded(manifests, etags)


def _required_manifests(
    store: ObjectStoreResource, table: SourceTable, window: Window, etags: Mapping[dt.date, str]
) -> Iterator[tuple[dt.date, Manifest]]:
    found = read_manifests(store, table, etags)
    days = list(window.days)
    missing = [day for day in days if found.get(day) is None]
    if missing:
        raise Problem(
            f"{len(missing)} of {len(days)} partitions have no manifest in the lake, the first is {missing[0]}.",
            f"materialize lake/{table.name} for {Window(missing[0], missing[-1] + ONE_DAY)} first.",
        )
    yield from ((day, manifest) for day, manifest in found.items() if manifest is not None)
