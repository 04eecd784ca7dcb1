"""`shopstream rebuild` and `restage`: a layer that was spoiled by hand comes right from the one before it."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from shopstream_assets.embedded import stack
from shopstream_assets.platform.declare.settings import LOADING
from shopstream_assets.platform.staging.warehouse import WarehouseResource

# Each needs a store that was built by processes of its own, which takes minutes.
pytestmark = pytest.mark.long

SHOPSTREAM = [sys.executable, "-c", "from shopstream_assets.cli import main; main()"]
SECONDS = 300
TABLES = ("CORE.FACT_ORDERS", "CORE.DIM_CUSTOMERS", "MARTS.MART_SALES_OVERVIEW", "MARTS.MART_CUSTOMER_LTV")
# Nothing listens there: whoever asks the source or the lake fails.
DEAD_SOURCE = {"SHOPSTREAM_POSTGRES_DSN": "postgresql://nobody@127.0.0.1:1/none"}
DEAD_LAKE = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}


class Shop:
    """A store of three days, materialized; `warehouse` is its own."""

    def __init__(self, variables: Mapping[str, str], folder: Path, first: dt.date) -> None:
        self.variables, self.folder = variables, folder
        self.first, self.last = first, first + dt.timedelta(days=2)
        fields = WarehouseResource.model_fields
        self.warehouse = WarehouseResource(**{name: variables.get(f"SNOWFLAKE_{name.upper()}", "") for name in fields})

    def run(self, command: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.variables, **settings}
        return subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    def materialize(self, selection: str, first: dt.date, last: dt.date) -> None:
        days = ["--partition-range", f"{first}...{last}"]
        command = ["-m", "dagster", "asset", "materialize", "-m", "shopstream_assets.domains.shopstream.definitions"]
        result = self.run([sys.executable, *command, "--select", selection, *days])
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        with self.warehouse.connection(LOADING) as session, session.cursor() as cursor:
            cursor.execute(sql)
            return sorted(cursor.fetchall(), key=repr)  # type: ignore[arg-type]

    def ledger(self) -> set[tuple[str, str, dt.date]]:
        """(model, table, day) that the models say is in them, each in a state that is one."""
        found = self.execute(
            "select model_name, table_name, partition_date, manifest_hash "
            f"from {self.warehouse.database}.CORE.BUILT_PARTITIONS"
        )
        assert found
        assert not [line for line in found if line[3].startswith("building") or line[3] == "mixed"]
        return {line[:3] for line in found}

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        return {table: self.execute(f"select * from {self.warehouse.database}.{table}") for table in TABLES}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    first = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=2)
    folder = tmp_path_factory.mktemp("rebuild")
    with stack.running(folder) as variables:
        settings = {"SHOPSTREAM_START_DATE": str(first), "SHOPSTREAM_SCALE": "0.05"}
        made = Shop({**variables, **settings, "SHOPSTREAM_SOURCE_MODE": "simulated"}, folder, first)
        made.materialize("*", made.first, made.last)
        yield made


def test_a_fact_that_was_spoiled_comes_right_with_all_that_was_made_from_it_and_the_source_is_not_asked(
    shop: Shop,
) -> None:
    before, ledger, database = shop.rows(), shop.ledger(), shop.warehouse.database
    assert before["CORE.FACT_ORDERS"]
    shop.execute(f"delete from {database}.CORE.FACT_ORDERS where mod(order_id, 2) = 0")
    shop.execute(f"update {database}.MARTS.MART_SALES_OVERVIEW set net_revenue = net_revenue + 1")

    result = shop.run([*SHOPSTREAM, "rebuild", "fact_orders"], **DEAD_SOURCE, **DEAD_LAKE)

    assert result.returncode == 0, result.stdout + result.stderr
    assert shop.rows() == before
    assert shop.ledger() == ledger


def test_tables_built_before_there_was_a_ledger_are_built_anew_whatever_day_is_asked_for(shop: Shop) -> None:
    before, ledger, database = shop.rows(), shop.ledger(), shop.warehouse.database
    shop.execute(f"drop table {database}.CORE.BUILT_PARTITIONS")
    shop.execute(f"delete from {database}.CORE.FACT_ORDERS where mod(order_id, 2) = 0")

    shop.materialize("group:shop_core or group:shop_marts", shop.last, shop.last)

    assert shop.rows() == before
    assert shop.ledger() == ledger


def test_a_staging_table_that_lost_rows_is_loaded_anew_from_the_lake_and_the_source_is_not_asked(shop: Shop) -> None:
    relation = f"{shop.warehouse.database}.STAGING.STG_ORDERS"
    content = f"select id, status, updated_at, _partition_date from {relation}"
    before = shop.execute(content)
    shop.execute(f"delete from {relation} where mod(id, 3) = 0")

    result = shop.run([*SHOPSTREAM, "restage", "orders"], **DEAD_SOURCE)

    assert result.returncode == 0, result.stdout + result.stderr
    assert shop.execute(content) == before


def test_a_name_that_is_no_model_is_refused_with_those_that_are(shop: Shop) -> None:
    result = shop.run([*SHOPSTREAM, "rebuild", "fact_order"])

    assert result.returncode == 1
    assert "No model of ShopStream is called fact_order." in result.stderr
    assert "fact_orders" in result.stderr


def test_a_rebuild_that_fails_exits_with_an_error_that_says_why(shop: Shop) -> None:
    result = shop.run([*SHOPSTREAM, "rebuild", "dim_products"], SNOWFLAKE_DATABASE="NO_SUCH_DATABASE")

    assert result.returncode == 1
    assert "failed" in result.stderr
    assert "NO_SUCH_DATABASE" in result.stderr
