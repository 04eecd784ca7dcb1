"""What is in every layer, how its checks stand and how long it took: the demo's table and headline figures."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rich import box
from rich.table import Table

from shopstream_assets.platform.declare.domain import LAYERS

if TYPE_CHECKING:
    import dagster as dg

    from shopstream_assets.platform.declare.domain import Domain
    from shopstream_assets.platform.lake.object_store import ObjectStoreResource
    from shopstream_assets.platform.sources.postgres.resource import PostgresResource
    from shopstream_assets.platform.staging.warehouse import WarehouseResource

Outcome = Literal["passed", "warned", "error", "none"]


@dataclass(frozen=True)
class Services:
    """The connections that the summary reads through."""

    source: PostgresResource
    store: ObjectStoreResource
    warehouse: WarehouseResource

    @classmethod
    def of(cls, domain: Domain) -> Services:
        """The connections that the environment names for a domain."""
        from shopstream_assets.platform.definitions import resources

        named = resources(domain)
        return cls(**{name: named[name].process_config_and_initialize() for name in ("source", "store", "warehouse")})


@dataclass(frozen=True)
class Size:
    """Rows and stored bytes of a table in a layer; None where the service does not tell them."""

    rows: int | None
    bytes: int | None


def check_outcomes(instance: dg.DagsterInstance, keys: Iterable[dg.AssetCheckKey]) -> dict[dg.AssetCheckKey, Outcome]:
    """The latest finished result of each check; "none" where there is none."""
    import dagster as dg

    outcomes: dict[dg.AssetCheckKey, Outcome] = {}
    wanted = list(keys)
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(wanted)
    for key in wanted:
        record = latest.get(key)
        event = record.event.dagster_event if record and record.event else None
        if event is None or event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            outcomes[key] = "none"
            continue
        evaluation = event.asset_check_evaluation_data
        warned = evaluation.severity == dg.AssetCheckSeverity.WARN
        outcomes[key] = "passed" if evaluation.passed else "warned" if warned else "error"
    return outcomes


def layers(
    instance: dg.DagsterInstance, graph: dg.AssetGraph, domain: Domain, days: list[dt.date], services: Services
) -> Table:
    """A row per table and layer: rows, bytes, checks, and the seconds of its latest materialization."""
    sizes = dict(_sizes(domain, days, services))
    from shopstream_assets.platform.declare.on_a_clock import is_on_a_clock

    # Checks on a clock have not run yet after a first demo.
    outcomes = {
        check: outcome
        for check, outcome in check_outcomes(instance, graph.asset_check_keys).items()
        if outcome != "none" or not is_on_a_clock(graph, check)
    }
    table = Table(title=f"{domain.title}: every table in every layer", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("layer", "table"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", "bytes", "passed", "warned", "failed", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in LAYERS:
        for key in sorted(key for key in graph.materializable_asset_keys if key.path[1] == layer):
            size = sizes.get((layer, key.path[2]), Size(None, None))
            count = Counter(outcome for check, outcome in outcomes.items() if check.asset_key == key)
            failed = count["error"] + count["none"]
            table.add_row(
                layer,
                key.path[2],
                "-" if size.rows is None else f"{size.rows:,}",
                _readable(size.bytes),
                str(count["passed"]),
                f"[yellow]{count['warned']}[/]" if count["warned"] else "0",
                f"[red]{failed}[/]" if failed else "0",
                f"{_seconds(instance, key):.1f}",
            )
        table.add_section()
    return table


def _sizes(domain: Domain, days: list[dt.date], services: Services) -> Iterator[tuple[tuple[str, str], Size]]:
    from shopstream_assets.platform.declare.settings import REPORTING
    from shopstream_assets.platform.declare.tables import quoted, snowflake_name
    from shopstream_assets.platform.lake.manifest import read_manifests

    with services.source.snapshot() as reader, reader.connection.cursor() as cursor:
        for source in domain.tables:
            relation = f"{quoted(services.source.schema_name)}.{quoted(source.name)}"
            cursor.execute(f"select count(*), pg_total_relation_size($1::text::regclass) from {relation}", (relation,))
            rows, size = cursor.fetchone() or (0, 0)
            yield ("postgres", source.name), Size(rows, size)
    for source in domain.tables:
        found = [manifest for manifest in read_manifests(services.store, source, days).values() if manifest]
        yield ("lake", source.name), Size(sum(m.rows for m in found), sum(m.bytes for m in found))
    names = {source.staging_table: source.name for source in domain.tables}
    database = snowflake_name(services.warehouse.database)
    with services.warehouse.connection(REPORTING) as session, session.cursor() as warehouse:
        warehouse.execute(
            f"select table_schema, table_name, bytes from {database}.information_schema.tables "
            "where table_schema in ('STAGING', 'CORE', 'MARTS') and table_type = 'BASE TABLE'"
        )
        stored = [(str(schema), str(name), size) for schema, name, size in warehouse.fetchall()]
        for schema, name, size in stored:
            warehouse.execute(f"select count(*) from {database}.{quoted(schema)}.{quoted(name)}")
            rows = warehouse.fetchone()
            yield (schema.lower(), names.get(name, name.lower())), Size(rows[0] if rows else None, size)


def _seconds(instance: dg.DagsterInstance, key: dg.AssetKey) -> float:
    """Seconds of the asset's latest materialization: dbt's own time for a model, else that of its step."""
    event = instance.get_latest_materialization_event(key)
    if event is None or event.dagster_event is None or event.asset_materialization is None:
        return 0.0
    duration = event.asset_materialization.metadata.get("Execution Duration")
    if duration is not None:
        return float(duration.value)  # type: ignore[arg-type]
    stats = instance.get_run_step_stats(event.run_id, [event.dagster_event.step_key or ""])
    return (stats[0].end_time or 0) - (stats[0].start_time or 0) if stats else 0.0


def _readable(size: int | None) -> str:
    if size is None:
        return "-"
    value, units = float(size), iter(("B", "KiB", "MiB", "GiB"))
    unit = next(units)
    while value >= 1024 and unit != "GiB":
        value, unit = value / 1024, next(units)
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def headlines(domain: Domain, services: Services) -> Table:
    """The figures that people of the business ask for first, from the marts."""
    from shopstream_assets.platform.declare.settings import REPORTING
    from shopstream_assets.platform.declare.tables import snowflake_name

    marts = f"{snowflake_name(services.warehouse.database)}.MARTS"
    table = Table(title=f"{domain.title}: headlines", title_justify="left", show_header=False, box=box.SIMPLE)
    with services.warehouse.connection(REPORTING) as session, session.cursor() as cursor:
        for headline in domain.headlines:
            cursor.execute(headline.sql.format(marts=marts))
            found = cursor.fetchone()
            table.add_row(headline.title, headline.written(found[0] if isinstance(found, tuple) else None))
    return table
