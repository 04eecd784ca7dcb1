"""One look of the change sensor and the refresh that it asks for, by the clock of this process.

Run by test_moved_clock.py, with libfaketime. Takes and gives JSON: the services and what the sensor remembers; what it
remembers then, and the days that it asked for.
"""

import datetime as dt
import json
import sys

from moved_clock import LINES, domain

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.lake.extraction import extract_to_lake
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.refresh.change_sensor import Cursor, look_for_changes
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.staging.loading import load_from_lake
from shopstream_assets.platform.staging.warehouse import WarehouseResource


def main() -> None:
    """Look, refresh, tell."""
    given = json.load(sys.stdin)
    services = Services(
        source=PostgresResource(**given["source"]),
        store=ObjectStoreResource(**given["store"]),
        warehouse=WarehouseResource(**given["warehouse"]),
    )
    start, now = dt.date.fromisoformat(given["start"]), dt.datetime.now(dt.UTC)
    cursor, everything = Cursor.model_validate_json(given["cursor"]), Window.everything(start, now)
    # How long a look takes is another test's.
    cursor.rest_until = {}
    found = look_for_changes(domain(), services.source, services.store, cursor, everything, now, set)
    assert not found.faults, found.faults
    for day in sorted(found.changes):
        window = everything.part(day, day + ONE_DAY)
        extract_to_lake(services.source, services.store, LINES, window, start)
        load_from_lake(services.store, services.warehouse, LINES, window)
    told = {"cursor": cursor.model_dump_json(exclude_defaults=True), "asked": sorted(map(str, found.changes))}
    print(json.dumps({**told, "now": now.isoformat()}))


if __name__ == "__main__":
    main()
