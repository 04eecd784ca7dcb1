"""dbt inside this process, as often as one likes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from shopstream_assets.platform.staging.warehouse import waits

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest


def invoke_dbt(
    arguments: Sequence[str], manifest: Manifest | None = None, callbacks: Sequence[Callable[[Any], None]] = ()
) -> dbtRunnerResult:
    """Run a dbt command; `manifest` spares the parsing, `callbacks` get its events. What fails is in the result.

    With a manifest no artifacts are written: they would be that manifest again, and the result.
    """
    from dbt.adapters.base import impl
    from dbt.cli.main import dbtRunner
    from dbt_common.behavior_flags import BehaviorFlagRendered

    # dbt-adapters 1.24 appends an adapter's flags to this list of its own with every invocation.
    flags = impl.DEFAULT_BASE_BEHAVIOR_FLAGS
    flags[:] = {flag["name"]: flag for flag in flags}.values()
    # For the source of each, which only a warning would name, it reads the files of the whole stack.
    BehaviorFlagRendered._default_source = staticmethod(_adapters)  # type: ignore[method-assign]
    _bound_waiting()
    # To write the manifest as JSON takes as long as a small model.
    options = [] if manifest is None else ["--no-write-json"]
    return dbtRunner(manifest=manifest, callbacks=list(callbacks)).invoke([*options, *arguments])


@cache
def _bound_waiting() -> None:
    """Have dbt's connections give up an account that is silent, as ours do: of themselves they wait for ever."""
    from dbt.adapters.snowflake.connections import SnowflakeCredentials

    of_dbt = SnowflakeCredentials.auth_args

    def auth_args(credentials: SnowflakeCredentials) -> dict[str, Any]:
        return {**of_dbt(credentials), **waits()}

    SnowflakeCredentials.auth_args = auth_args  # type: ignore[method-assign]


def _adapters() -> str:
    return "dbt.adapters"
