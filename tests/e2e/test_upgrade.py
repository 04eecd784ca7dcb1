"""A stack whose data the platform of an earlier day has written goes on under this one: nothing has to be moved."""

from __future__ import annotations

import datetime as dt
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.domains.shopstream.tables import EXCHANGE_RATES
from shopstream_assets.embedded import stack
from shopstream_assets.platform.declare.tables import postgres_ddl

ROOT = Path(__file__).parents[2]
# One domain, no order of snapshots, no log of changes, no ledger; another name for the bucket and the source database.
# The other one: orders are refunded as a whole only, and `fact_refunds` has one row for each.
FIRST_VERSION, REFUNDED_AS_A_WHOLE = "2bd335e", "86eb027"
SECONDS = 600
FIRST = (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=14)).isoformat()


def demo(code: Path, home: Path, **more: str) -> str:
    """What a demo by that code says at its end, over the stack in `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SHOPSTREAM_", "SNOWFLAKE_"))}
    settings = {"SHOPSTREAM_HOME": str(home), "SHOPSTREAM_SCALE": "0.05", "SHOPSTREAM_START_DATE": FIRST}
    command = [sys.executable, "-c", "from shopstream_assets.cli import main; main()", "demo"]
    run = subprocess.run(
        command,
        env={**kept, **settings, **more, "PYTHONPATH": str(code), "COLUMNS": "120"},
        cwd=code,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


def change_an_order_of_yesterday(home: Path) -> str:
    """In a way that moves no figure; and what a run of that day alone says, which carries it through every layer."""
    yesterday = (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)).isoformat()
    services = stack.up(home)
    with psycopg.connect(services["SHOPSTREAM_POSTGRES_DSN"]) as shop:
        shop.execute(
            "update orders set updated_at = %s where id = (select max(id) from orders where updated_at < %s)",
            (f"{yesterday} 12:00+00", yesterday),
        )
    command = shlex.split(SHOPSTREAM.materialize_command(SHOPSTREAM.all_from("orders"), yesterday, yesterday))
    run = subprocess.run(
        [sys.executable, "-m", *command],
        env={**os.environ, **services, "SHOPSTREAM_SOURCE_MODE": "live"},
        # Where no other stack's .env lies, which Dagster would read.
        cwd=home,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-5000:]
    return run.stdout + run.stderr


def figures(told: str) -> dict[str, str]:
    """The headlines that both have."""
    return {
        name: found[1].strip()
        for name in ("Net revenue", "Orders", "Top country", "Top product")
        if (found := re.search(rf"^ *{name} +(.+)$", told, re.MULTILINE))
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("earlier", "statements"),
    [
        # The shop has no currencies yet.
        (FIRST_VERSION, postgres_ddl(EXCHANGE_RATES, "public")),
        (REFUNDED_AS_A_WHOLE, []),
    ],
)
def test_the_data_of_an_earlier_platform_is_taken_over_where_it_lies(
    tmp_path: Path, earlier: str, statements: list[str]
) -> None:
    code, home = tmp_path / "code", tmp_path / "home"
    code.mkdir()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", earlier], capture_output=True)
    if archive.returncode:
        pytest.skip(f"the commit {earlier} is not here (a shallow clone?): `git fetch --unshallow`")
    subprocess.run(["tar", "-x", "-C", str(code)], input=archive.stdout, check=True)
    try:
        before = demo(code, home)
        # What is taken over is a shop's data: the store that is played now is another.
        with psycopg.connect(stack.up(home)["SHOPSTREAM_POSTGRES_DSN"], autocommit=True) as shop:
            for statement in statements:
                shop.execute(statement)  # type: ignore[call-overload]
        after = demo(ROOT, home, SHOPSTREAM_SOURCE_MODE="live")
        is_built_anew = "or a column of theirs is missing: " in change_an_order_of_yesterday(home)
        assert is_built_anew == (earlier == REFUNDED_AS_A_WHOLE), "of the first version all was built anew by the demo"
        assert len(figures(before)) == 4
        assert figures(after) == figures(before)
        again = demo(ROOT, home)
        assert "Everything was up to date" in again, again
    finally:
        stack.down(home)
