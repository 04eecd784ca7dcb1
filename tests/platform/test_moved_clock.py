"""The machine's clock is set forth and back, between looks and refreshes: no order depends on it, and nothing waits."""

import datetime as dt
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bad_input import Spoiled
from moved_clock import LINES

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.refresh.reconcile import Reconciled, reconcile

HERE = Path(__file__).parent
OFFSETS = ("-50h", "-30h", "-3h", "-10m", "+0", "+10m", "+3h", "+30h", "+50h")
DAYS = 5
LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


class Machine:
    """A machine over the tests' services, whose clock differs from the servers'."""

    def __init__(self, services: Services) -> None:
        self.services, self.cursor = services, "{}"
        self.start = dt.datetime.now(dt.UTC).date() - ONE_DAY * (DAYS - 1)
        self.table = Spoiled(services, LINES).create()

    def refresh(self, offset: str) -> list[str]:
        """What the sensor asks for, at once refreshed, in a process of that clock."""
        services = {name: getattr(self.services, name).model_dump() for name in ("source", "store", "warehouse")}
        path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
        clock = {} if offset == "+0" else {"LD_PRELOAD": str(LIBRARY), "FAKETIME": offset}
        done = subprocess.run(
            [sys.executable, str(HERE / "clocked_refresh.py")],
            input=json.dumps({**services, "cursor": self.cursor, "start": str(self.start)}),
            env={**os.environ, "PYTHONPATH": path, **clock},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        told: dict[str, Any] = json.loads(done.stdout)
        ahead = dt.datetime.fromisoformat(told["now"]) - dt.datetime.now(dt.UTC)
        assert (abs(ahead) > dt.timedelta(minutes=5)) == (offset != "+0")
        self.cursor = told["cursor"]
        asked: list[str] = told["asked"]
        return asked

    def change(self, chance: random.Random) -> None:
        key, back = chance.randrange(12), chance.randrange(DAYS)
        at = f"date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' - interval '{back} days'"
        self.table.run(
            chance.choice(
                [
                    f"insert into {{t}} values ({key}, '{chance.random()}', {at}) on conflict (id) do update "
                    "set note = excluded.note, updated_at = excluded.updated_at",
                    f"update {{t}} set note = '{chance.random()}', updated_at = now() where id = {key}",
                    f"delete from {{t}} where id = {key}",
                ]
            )
        )

    def in_source(self) -> list[tuple[object, ...]]:
        with self.services.source.snapshot() as reader, reader.connection.cursor() as cursor:
            cursor.execute(f"select id, note from {self.table.relation}")
            return sorted(cursor.fetchall(), key=repr)

    def reconciled(self) -> Reconciled:
        services, everything = self.services, Window.everything(self.start, dt.datetime.now(dt.UTC))
        return reconcile(services.source, services.store, services.warehouse, LINES, everything)


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not here: `make browser` installs it")
@pytest.mark.parametrize(
    ("seed", "moves"), [(1, 2), *(pytest.param(seed, 6, marks=pytest.mark.long) for seed in range(2, 8))]
)
def test_whatever_the_clock_says_in_between_staging_comes_to_equal_the_source(
    services: Services, seed: int, moves: int
) -> None:
    machine, chance = Machine(services), random.Random(seed)
    for _ in range(moves):
        for _ in range(3):
            machine.change(chance)
        machine.refresh(chance.choice(OFFSETS))
    machine.refresh("+50h")
    for _ in range(3):
        machine.change(chance)

    # By the right clock again: at once, not when it has come to where the wrong one was.
    machine.refresh("+0")
    assert sorted(set(machine.table.staged("id", "note")), key=repr) == machine.in_source()
    machine.refresh("+0")
    assert machine.refresh("+0") == []
    assert machine.reconciled() == Reconciled()
