"""What the assets of a declared table have in common: key, group, owner, columns, lineage, links to the code."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.tables import ColumnType, SourceTable
from shopstream_assets.platform.present.code_references import code_references, declaration, definition


def column_schema(table: SourceTable, layer: str, added: Sequence[dg.TableColumn] = ()) -> dg.TableSchema:
    """The declared columns in the types of the layer, and those that the layer has `added`."""
    columns = [
        dg.TableColumn(
            name=column.name,
            type=_type(column.type, layer),
            description=column.description,
            constraints=dg.TableColumnConstraints(
                nullable=column.nullable,
                unique=(column.name,) == table.primary_key,
                other=[f"one of {', '.join(column.values)}"] if column.values else None,
            ),
            tags={"pii": ""} if column.pii else None,
        )
        for column in table.columns
    ]
    return dg.TableSchema(columns=[*columns, *added])


def _type(kind: ColumnType, layer: str) -> str:
    if layer != "postgres":
        return kind.snowflake
    return f"{kind.postgres} ({kind.time_zone})" if kind.time_zone else kind.postgres


def table_spec(domain: Domain, layer: str, table: SourceTable, **changes: Any) -> dict[str, Any]:
    """Arguments of an AssetSpec that are the same in every layer, with `changes`."""
    return {
        "key": asset_key(domain.name, layer, table.name),
        "group_name": domain.group(layer),
        "owners": [table.owner],
        "tags": {"domain": domain.name, "layer": layer},
        **changes,
    }


def declared_metadata(
    domain: Domain,
    layer: str,
    table: SourceTable,
    location: str,
    defined_by: Callable[..., Any],
    added: Sequence[dg.TableColumn] = (),
) -> dict[str, Any]:
    """Metadata of the definition: the table's name in the layer, columns and their origins, links to the code."""
    lineage = {
        column.name: [dg.TableColumnDep(asset_key(domain.name, BEFORE[layer], table.name), column.name)]
        for column in table.columns
        if layer in BEFORE
    }
    return {
        "dagster/table_name": location,
        "dagster/column_schema": column_schema(table, layer, added),
        **({"dagster/column_lineage": dg.TableColumnLineage(lineage)} if lineage else {}),
        **code_references(*declaration(domain, table.name), definition(defined_by)),
    }


def show_newest(context: dg.AssetExecutionContext, window: Window, look: Mapping[str, dg.MetadataValue]) -> None:
    """Attach a preview to the newest partition of the window alone: a year's backfill would repeat it 365 times."""
    if look:
        context.add_asset_metadata(look, partition_key=str(window.end - ONE_DAY))


BEFORE = {"lake": "postgres", "staging": "lake"}
