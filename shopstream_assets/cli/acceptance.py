"""`shopstream accept`: an operator's word that a source may be taken as it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shopstream_assets.platform.declare.domain import Domain


class NoSuchTable(Exception):
    """A name is none of the domain's tables."""


def accept(domain: Domain, names: Collection[str]) -> list[str]:
    """Let the next extraction of a domain's tables take their source as it is; of all where none is named.

    Returns the names. Raises NoSuchTable for an unknown one, accepting none, SettingsError where the environment says
    nothing of the domain, and ServiceError when the lake does not answer.
    """
    from shopstream_assets.cli.summary import Services
    from shopstream_assets.platform.declare.environment import domain_settings
    from shopstream_assets.platform.lake import head

    # Where nothing is set, this says so better than the services do.
    domain_settings(domain)
    by_name = {table.name: table for table in domain.tables}
    if unknown := sorted(set(names) - by_name.keys()):
        raise NoSuchTable(
            f"No table of {domain.title} is called {', '.join(unknown)}. There are: {', '.join(by_name)}."
        )
    store, now = Services.of(domain).store, dt.datetime.now(dt.UTC)
    chosen = [by_name[name] for name in names] or list(domain.tables)
    for table in chosen:
        head.accept(store, table, now)
    return [table.name for table in chosen]
