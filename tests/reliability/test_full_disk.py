"""A full disk under the local stack: what is refused says so, and nothing is lost that was called stored."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from comparison import wrong_layers
from interruption import Act
from platform_under_test import ALL_TABLES, Layer, Platform, Request
from small_shop import DAYS, SmallShop

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.embedded import stack
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.errors import Problem

# The stack starts with 512 MB free and no less.
SIZE = "800m"


@dataclass(frozen=True)
class SmallDisk:
    """A stack on a disk of its own, and a shop whose rows have arrived in staging."""

    folder: Path
    shop: SmallShop
    platform: Platform

    def materialize(self, *layers: Layer) -> None:
        for layer in layers:
            window = Window.seen_at(self.shop.start, self.shop.today + ONE_DAY, dt.datetime.now(dt.UTC))
            self.platform.materialize(Request(layer, ALL_TABLES, window), Act())

    def fill(self) -> None:
        with (self.folder / "filler").open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), shutil.disk_usage(self.folder).free)

    def free(self) -> None:
        (self.folder / "filler").unlink(missing_ok=True)

    def start_services_anew(self) -> None:
        """After kill -9 of each: what only their memory held is gone."""
        for row in stack.status(self.folder):
            if row.pid:
                os.kill(row.pid, signal.SIGKILL)
        stack.up(self.folder)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    told = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(folder)], capture_output=True, text=True
    )
    if told.returncode:
        pytest.skip(f"a disk of {SIZE} cannot be mounted here: {told.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small(disk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisk]:
    first = dt.datetime.now(dt.UTC).date() - ONE_DAY * (DAYS - 1)
    monkeypatch.setenv("SHOPSTREAM_START_DATE", first.isoformat())
    with stack.running(disk) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        shop = SmallShop(variables["SHOPSTREAM_POSTGRES_DSN"], "public")
        made = SmallDisk(disk, shop, Platform(Services.of(SHOPSTREAM), shop.start, with_models=False))
        shop.create()
        shop.fill()
        made.platform.reset_warehouse()
        made.materialize("lake", "staging")
        yield made
        made.free()
        shop.close()


def refused(act: Callable[[], None]) -> str:
    with pytest.raises(Problem) as found:
        act()
    return str(found.value)


@pytest.mark.long
def test_a_full_disk_is_named_and_what_was_stored_before_and_after_it_survives_a_kill(small: SmallDisk) -> None:
    before = small.platform.staged_state(ALL_TABLES)
    small.shop.put("orders", 1, "-1 06:00", 3)

    small.fill()
    assert "the disk of the local S3 is full: 0 MB are free" in refused(lambda: small.materialize("lake"))
    small.free()
    small.materialize("lake")
    small.fill()
    assert "No space left on device" in refused(lambda: small.materialize("staging"))
    small.free()

    assert small.platform.staged_state(ALL_TABLES) == before
    small.shop.close()
    small.start_services_anew()
    assert small.platform.staged_state(ALL_TABLES) == before
    small.materialize("staging")
    shop = SmallShop(small.shop.dsn, small.shop.schema, small.shop.today)
    assert wrong_layers(shop, small.platform) == []
    shop.close()
