"""Which partitions of a layer are not made from what the layer before has now.

Each (table, day) has one manifest in the lake. Staging notes the manifest that it loaded, dbt's models those that they
were built from; comparing the notes tells what a cancelled, killed or failed run left undone, whoever started it, and
what was materialized by hand without what follows from it. Nothing is guessed from the history of runs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.declare.tables import SourceTable
from shopstream_assets.platform.lake.manifest import published
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.staging.ledger import built_relation, create_ledgers, loaded_partitions, loaded_relation
from shopstream_assets.platform.staging.warehouse import DOES_NOT_EXIST, WarehouseResource


@dataclass
class Behind:
    """What has to be built: days of staging tables and of models, by name; `state` tells this finding from another."""

    staging: dict[str, set[dt.date]] = field(default_factory=dict)
    models: dict[str, set[dt.date]] = field(default_factory=dict)
    etags: dict[str, dict[dt.date, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.staging or self.models)

    @property
    def days(self) -> set[dt.date]:
        """All days on which something has to be built."""
        return {day for found in (self.staging, self.models) for days in found.values() for day in days}


def behind(
    store: ObjectStoreResource,
    warehouse: WarehouseResource,
    tables: Sequence[SourceTable],
    models: Mapping[str, Set[str]],
    window: Window,
) -> Behind:
    """What staging has not loaded of the window, and what each model was not built from; `models`: model -> tables.

    One listing per table and two small queries. Raises ServiceError when a service does not answer.
    """
    from snowflake.connector.errors import ProgrammingError

    found = Behind(etags={table.name: published(store, table, window) for table in tables})
    names = [table.name for table in tables]
    with warehouse.connection(REPORTING) as session, session.cursor() as cursor:
        try:
            loaded = loaded_partitions(cursor, warehouse.database, names)
            cursor.execute(f"select 1 from {built_relation(warehouse.database)} limit 0")
        except ProgrammingError as error:
            if error.errno != DOES_NOT_EXIST:
                raise
            # Only where there are none: every look would be a write otherwise.
            create_ledgers(session, warehouse.database)
            loaded = loaded_partitions(cursor, warehouse.database, names)
        for name, etags in found.etags.items():
            days = {day for day, etag in etags.items() if day not in loaded[name] or loaded[name][day].etag != etag}
            if days:
                found.staging[name] = days
        pairs = sorted((model, table) for model, made_from in models.items() for table in made_from)
        if pairs:
            cursor.execute(
                f"""
                    select pairs.model_name, loaded.partition_date
                    from {loaded_relation(warehouse.database)} as loaded
                    inner join (
                        select column1 as model_name, column2 as table_name
                        from values {", ".join(["(%s, %s)"] * len(pairs))}
                    ) as pairs on loaded.table_name = pairs.table_name
                    left join {built_relation(warehouse.database)} as built
                        on
                            pairs.model_name = built.model_name
                            and loaded.table_name = built.table_name
                            and loaded.partition_date = built.partition_date
                    where
                        (built.manifest_hash is null or built.manifest_hash <> loaded.manifest_hash)
                        and loaded.partition_date >= %s::date
                        and loaded.partition_date < %s::date
                    group by pairs.model_name, loaded.partition_date
                    """,
                [*(name for pair in pairs for name in pair), str(window.first), str(window.end)],
            )
            for model, day in cursor.fetchall():
                found.models.setdefault(model, set()).add(day)
    return found
