"""A command for several domains: what is wrong with one keeps no other from its turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shopstream_assets.platform.declare.domain import Domain


def for_each(names: Sequence[str], act: Callable[[Domain], None]) -> list[str]:
    """Do something for the domains of these names; returns what went wrong, each line begun by the domain's name.

    For a single domain nothing is caught: whoever asked for it alone is told as ever.
    """
    from shopstream_assets.platform.declare.registry import domain_named

    if len(names) == 1:
        act(domain_named(names[0]))
        return []
    failed = []
    for name in names:
        try:
            act(domain_named(name))
        # Whatever it is: of several businesses, one being broken is not the others' matter.
        except Exception as error:  # noqa: BLE001
            failed.append(f"{name}: {error or type(error).__name__}")
    return failed
