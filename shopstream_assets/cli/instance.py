"""Dagster's instance, for the commands that read it or run something in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shopstream_assets.platform.errors import Problem

if TYPE_CHECKING:
    import dagster as dg


def dagster_instance() -> dg.DagsterInstance:
    """The instance that the environment names. Raises Problem where it names none."""
    import dagster as dg
    from dagster._core.errors import DagsterHomeNotSetError

    try:
        return dg.DagsterInstance.get()
    except DagsterHomeNotSetError as error:
        raise Problem(
            "DAGSTER_HOME is not set.",
            "set it as .env.example describes, or start the local stack with `shopstream stack up`.",
        ) from error
