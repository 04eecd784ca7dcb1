"""What a business hands to the platform: data, not code paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import dagster as dg

from shopstream_assets.platform.declare.chart import Chart
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.simulator import Simulator
from shopstream_assets.platform.declare.tables import SourceTable


@dataclass(frozen=True)
class Domain:
    """A business on the platform.

    `name` begins its asset keys, groups and environment variables. `simulator` makes the source that `simulated` mode
    plays. `charts` are drawn for the dbt models of that name.
    """

    name: str
    tables: tuple[SourceTable, ...]
    simulator: Callable[[DomainSettings], Simulator]
    charts: Mapping[str, Chart] = field(default_factory=dict)


def asset_key(domain: str, layer: str, table: str) -> dg.AssetKey:
    """Key of a table in a layer: domain/layer/table."""
    return dg.AssetKey([domain, layer, table])
