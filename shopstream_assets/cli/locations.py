"""The code locations of the domains that are installed."""

from __future__ import annotations

import traceback
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

    from shopstream_assets.platform.declare.domain import Domain


def definitions_of(domain: Domain) -> dg.Definitions:
    """What Dagster sees of a domain.

    Raises SettingsError where the environment does not say enough, and Problem where its models or its code are wrong.
    """
    from shopstream_assets.platform.declare.environment import SettingsError
    from shopstream_assets.platform.errors import Problem

    try:
        found: dg.Definitions = import_module(domain.module).defs
    except (SettingsError, Problem):
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise Problem(
            f"the code location {domain.name} does not load: {domain.module} raised {type(error).__name__}: {error} "
            f"({last.filename}, line {last.lineno}).",
            "correct that line.",
        ) from error
    return found
