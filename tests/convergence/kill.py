"""Acts in a process of their own, which is killed with SIGKILL at a point of the act.

A forge has everything loaded and no threads, and forks once per act: that takes milliseconds instead of seconds.
"""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime as dt

    from platform_under_test import Request

    from shopstream_assets.cli.summary import Services


class Forge:
    """The process that forks; ends with the block."""

    def __enter__(self) -> Forge:
        here = Path(__file__)
        path = os.pathsep.join(
            [str(here.parent), str(here.parents[1]), str(here.parents[2]), os.environ.get("PYTHONPATH", "")]
        )
        self._process = subprocess.Popen(
            [sys.executable, str(here)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def kill(self, services: Services, start: dt.date, run: Sequence[Request], at: int, full_refresh: bool) -> bool:
        """Carry out a run in a process that kills itself at point `at`; returns whether it came so far."""
        assert self._process.stdin
        assert self._process.stdout
        parameters = {name: getattr(services, name).model_dump() for name in ("source", "store", "warehouse")}
        order = pickle.dumps((parameters, start, list(run), at, full_refresh))
        self._process.stdin.write(struct.pack("!I", len(order)) + order)
        self._process.stdin.flush()
        answer = self._process.stdout.read(1)
        assert answer in (b"k", b"e"), f"the forge ended: {answer!r}"
        return answer == b"k"


def _carry_out(order: tuple[Any, ...]) -> None:
    from interruption import Act, Interruption
    from platform_under_test import Platform

    from shopstream_assets.cli.summary import Services
    from shopstream_assets.platform.errors import Problem
    from shopstream_assets.platform.lake.object_store import ObjectStoreResource
    from shopstream_assets.platform.sources.postgres.resource import PostgresResource
    from shopstream_assets.platform.staging.warehouse import WarehouseResource

    parameters, start, run, at, full_refresh = order
    services = Services(
        source=PostgresResource(**parameters["source"]),
        store=ObjectStoreResource(**parameters["store"]),
        warehouse=WarehouseResource(**parameters["warehouse"]),
    )
    platform, act = Platform(services, start, with_models=True), Act(Interruption("kill", at))
    try:
        for request in run:
            platform.materialize(request, act, full_refresh)
    except Problem as problem:
        print(problem, file=sys.stderr)


def main() -> None:
    """Fork for every order on stdin; answer k where the child was killed, e where it came to its end."""
    import boto3
    import dbt.cli.main  # noqa: F401
    import platform_under_test  # noqa: F401
    import snowflake.connector  # noqa: F401

    assert boto3
    source, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    # What dbt or a library prints is no answer.
    os.dup2(2, 1)
    while head := source.read(4):
        order = pickle.loads(source.read(struct.unpack("!I", head)[0]))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _carry_out(order)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        answers.write(b"k" if os.WIFSIGNALED(status) else b"e")


if __name__ == "__main__":
    main()
