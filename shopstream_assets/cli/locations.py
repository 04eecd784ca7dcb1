"""The code locations of the domains that are installed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

    from shopstream_assets.platform.declare.domain import Domain


def definitions_of(domain: Domain) -> dg.Definitions:
    """What Dagster sees of a domain; raises SettingsError where the environment does not say enough."""
    found: dg.Definitions = import_module(domain.module).defs
    return found
