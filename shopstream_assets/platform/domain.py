"""What a business hands to the platform: data, not code paths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shopstream_assets.platform.settings import DomainSettings
from shopstream_assets.platform.simulate import Simulator
from shopstream_assets.platform.tables import SourceTable


@dataclass(frozen=True)
class Domain:
    """A business on the platform.

    `name` begins its asset keys, groups and environment variables. `simulator` makes the source that `simulated` mode
    plays.
    """

    name: str
    tables: tuple[SourceTable, ...]
    simulator: Callable[[DomainSettings], Simulator]
