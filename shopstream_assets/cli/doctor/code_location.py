"""Check of a domain's code: what Dagster would say of it, before Dagster is started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from shopstream_assets.cli.doctor.finding import Finding, Redactor

if TYPE_CHECKING:
    from shopstream_assets.platform.declare.domain import Domain

WHAT = "Dagster: code location"


def check_code_location(domain: Domain) -> Iterator[Finding]:
    """Whether the definitions of a domain load, its dbt project with them."""
    from shopstream_assets.cli.locations import definitions_of
    from shopstream_assets.platform.declare.environment import SettingsError
    from shopstream_assets.platform.errors import Problem

    try:
        definitions_of(domain)
    except SettingsError:
        yield Finding("warn", WHAT, "not checked: settings are missing or wrong", "Correct those settings first.")
    except Problem as problem:
        # Whatever a module raised may quote a setting.
        yield Redactor(os.environ)(Finding("FAIL", WHAT, " ".join(problem.found.split()), problem.next_step))
    else:
        yield Finding("ok", WHAT, f"{domain.module} loads")
