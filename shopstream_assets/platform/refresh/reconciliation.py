"""The check of every lake table that compares all of it with the source; what it finds is extracted again."""

import datetime as dt
import json
from collections.abc import Iterator, Mapping

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.on_a_clock import ON_A_CLOCK
from shopstream_assets.platform.declare.partitions import Window
from shopstream_assets.platform.errors import told_from
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.refresh.reconcile import Reconciled, reconcile
from shopstream_assets.platform.sources.port import SourceResource
from shopstream_assets.platform.staging.warehouse import WarehouseResource

CHECK = "reconciled_with_the_source"
DAYS = "days_to_extract"


def reconciliation_checks(domain: Domain, start_date: dt.date) -> dg.AssetChecksDefinition:
    """One step for all tables of the domain: on the clock and on demand."""
    tables = {asset_key(domain.name, "lake", table.name): table for table in domain.tables}

    @dg.multi_asset_check(
        name=f"{domain.name}__reconciliation",
        specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=key,
                description="Every day looks as its manifest says, and every key of the source is in staging and the "
                "other way round. Days that differ are extracted again by themselves.",
                metadata=ON_A_CLOCK,
            )
            for key in tables
        ],
        can_subset=True,
    )
    def look(
        context: dg.AssetCheckExecutionContext,
        source: SourceResource,
        store: ObjectStoreResource,
        warehouse: WarehouseResource,
    ) -> Iterator[dg.AssetCheckResult]:
        now = dt.datetime.now(dt.UTC)
        everything = Window.everything(start_date, now)
        for check in sorted(context.selected_asset_check_keys):
            table = tables[check.asset_key]
            with told_from("lake", table.name, "all", "reconciling with the source"):
                found = reconcile(source, store, warehouse, table, everything)
            yield _result(check, found)

    return look


def _result(check: dg.AssetCheckKey, found: Reconciled) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=check.name,
        asset_key=check.asset_key,
        passed=not found.days,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{found}. Its {len(found.days)} days are being extracted again; nothing is to be done."
        if found.days
        else None,
        metadata={
            "differing_days": found.differing_days,
            "rows_gone": found.gone,
            "rows_new": found.new,
            **({DAYS: dg.MetadataValue.text(json.dumps(sorted(map(str, found.days))))} if found.days else {}),
        },
    )


def to_extract(
    instance: dg.DagsterInstance, domain: Domain, after: int
) -> tuple[Mapping[dt.date, set[dg.AssetKey]], int]:
    """The lake's days that comparisons found since the event `after`, and the newest event seen."""
    keys = [dg.AssetCheckKey(asset_key(domain.name, "lake", table.name), CHECK) for table in domain.tables]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    wanted: dict[dt.date, set[dg.AssetKey]] = {}
    newest = after
    for check, record in latest.items():
        if record.event is None or record.id <= after or record.status != AssetCheckExecutionRecordStatus.FAILED:
            continue
        newest = max(newest, record.id)
        evaluation = record.event.asset_check_evaluation
        days = evaluation.metadata.get(DAYS) if evaluation else None
        for day in json.loads(str(days.value)) if days else ():
            wanted.setdefault(dt.date.fromisoformat(day), set()).add(check.asset_key)
    return wanted, newest
