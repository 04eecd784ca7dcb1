"""The one shape of an error that a user sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg


class Problem(Exception):
    """Something that stops a step: what was found, and what to do next. `retry`: it may pass by itself."""

    def __init__(self, found: str, next_step: str, *, retry: bool = False) -> None:
        super().__init__(f"{found} Next: {next_step}")
        self.found, self.next_step, self.retry = found, next_step, retry


class ServiceError(Problem):
    """A service (Postgres, S3, the warehouse) refused, did not answer or cut the connection."""


class LayerError(dg.Failure):
    """A step could not do its work on a table and partition, and nothing was half-written.

    The message says where (layer, table, partition), what was being done, what was found and what to do next. Dagster
    tries again by itself where the cause may pass.
    """

    def __init__(self, where: str, doing: str, problem: Problem) -> None:
        super().__init__(
            description=f"{where}: {doing}: {problem.found} Next: {problem.next_step}",
            allow_retries=problem.retry,
        )

    def __str__(self) -> str:
        return self.description or ""


@contextmanager
def told_from(layer: str, table: str, partition: object, doing: str) -> Iterator[None]:
    """Turn a Problem met in the block into a LayerError that says where it was met."""
    try:
        yield
    except Problem as problem:
        raise LayerError(f"{layer}/{table}, partition {partition}", doing, problem) from None
