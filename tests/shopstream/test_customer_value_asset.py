"""The fit between core and marts, in a run of the whole chain: when it is made, what it leaves, what reads it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest
from emptied import empty

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.platform.declare.domain import asset_key
from shopstream_assets.platform.declare.partitions import SPAN_TAGS, Window
from shopstream_assets.platform.declare.settings import LOADING
from shopstream_assets.platform.refresh.behind import behind
from shopstream_assets.platform.refresh.catch_up import made_from

FITTED = [
    asset_key("shopstream", "models", name)
    for name in ("customer_value", "customer_value_fits", "customer_value_backtest")
]
READER = "mart_customer_ltv"
READING = asset_key("shopstream", "marts", READER)


class Chain:
    """Runs of the chain over the first days of the simulated shop."""

    def __init__(self) -> None:
        from shopstream_assets.domains.shopstream.definitions import defs

        self.defs, self.services = defs, Services.of(SHOPSTREAM)
        partitions = defs.resolve_asset_graph().get(FITTED[0]).partitions_def
        assert partitions is not None
        self.days = partitions.get_partition_keys()

    def run(self, first: int, last: int, *keys: dg.AssetKey, anew: bool = False) -> dg.ExecuteInProcessResult:
        """One run of these assets (all, unless told) over the days `first` to `last`, both included."""
        job = self.defs.resolve_job_def("refresh_shopstream")
        fit = {"ops": {"shopstream__models__customer_value": {"config": {"full_refresh": True}}}} if anew else {}
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(
                {"loggers": {"console": {"config": {"log_level": "ERROR"}}}, **fit},
                instance=instance,
                tags=dict(zip(SPAN_TAGS, (self.days[first], self.days[last]), strict=True)),
                asset_selection=list(keys) or None,
            )
        assert result.success
        return result

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        warehouse = self.services.warehouse
        with warehouse.connection(LOADING) as session, session.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()  # type: ignore[return-value]

    def projections(self) -> list[tuple[Any, ...]]:
        return self.execute("select * from core.customer_value order by customer_id")

    def fits(self) -> list[dt.date]:
        return [day for (day,) in self.execute("select as_of_date from core.customer_value_fits order by as_of_date")]


@pytest.fixture(scope="module")
def chain(local_stack: Mapping[str, str]) -> Chain:
    """Three days of the shop, materialized."""
    found = Chain()
    empty(found.services.warehouse)
    found.run(0, 2)
    return found


def test_the_mart_has_the_projection_of_every_customer_whom_the_fit_knew(chain: Chain) -> None:
    third = dt.date.fromisoformat(chain.days[2])
    assert chain.fits() == [third]
    [(customers, wrong, outside, total)] = chain.execute(
        f"""
        select
            count(*),
            count_if(mart.projection_as_of_date is distinct from '{third}'::date),
            count_if(
                not (mart.p_alive between 0 and 1)
                or mart.projected_12m_orders_low > mart.projected_12m_orders_high
                or mart.projected_12m_margin_low > mart.projected_12m_margin_high
            ),
            sum(mart.projected_12m_orders)
        from marts.mart_customer_ltv as mart
        inner join core.customer_value as fitted on mart.customer_id = fitted.customer_id
        """
    )
    assert customers == chain.execute("select count(*) from core.dim_customers")[0][0] > 0
    assert (wrong, outside) == (0, 0)
    [(expected, low, high, parameters)] = chain.execute(
        "select projected_12m_orders, projected_12m_orders_low, projected_12m_orders_high, parameters "
        "from core.customer_value_fits"
    )
    assert float(total) == pytest.approx(expected, rel=1e-3)
    assert low < 0.7 * expected
    assert high > 1.3 * expected, "three days tell little of a year"
    assert {"r", "alpha", "s", "beta", "trend", "spend_p", "never"} <= json.loads(parameters).keys()


def test_a_run_keeps_the_fit_of_the_day_and_a_fit_anew_gives_the_same_numbers(chain: Chain) -> None:
    before = chain.projections()
    chain.execute("update core.customer_value set p_alive = 0.125")

    result = chain.run(2, 2, *FITTED, READING)

    assert chain.execute("select distinct p_alive from core.customer_value") == [(0.125,)], "nothing was fitted"
    assert {float(one) for (one,) in chain.execute("select p_alive from marts.mart_customer_ltv")} == {0.125}
    shown = {
        event.step_materialization_data.materialization.asset_key: event.step_materialization_data.materialization
        for event in result.get_asset_materialization_events()
    }
    assert isinstance(shown[FITTED[1]].metadata["parameter_r"], dg.FloatMetadataValue)
    [check] = [one for one in result.get_asset_check_evaluations() if one.check_name == "predicts_what_came"]
    assert check.passed
    assert "Not enough history" in str(check.description)

    chain.run(2, 2, *FITTED, READING, anew=True)
    assert chain.projections() == before


def test_a_fit_that_knew_far_fewer_buyers_is_not_kept_though_it_is_of_the_same_day(chain: Chain) -> None:
    before = chain.projections()
    chain.execute("update core.customer_value set p_alive = 0.125")
    chain.execute("update core.customer_value_fits set buyers = buyers - 20")
    chain.run(2, 2, *FITTED, READING)
    assert chain.projections() != before, "a few more are no reason"

    chain.execute("update core.customer_value_fits set buyers = buyers - 1")
    chain.run(2, 2, *FITTED, READING)
    assert chain.projections() == before


def test_should_a_run_end_between_the_fit_and_its_mart_the_mart_is_asked_for(chain: Chain) -> None:
    window = Window.day(dt.date.fromisoformat(chain.days[2]))
    models = made_from(chain.defs.resolve_asset_graph(), SHOPSTREAM)

    def left() -> dict[str, set[dt.date]]:
        return behind(chain.services.store, chain.services.warehouse, SHOPSTREAM.tables, models, window).models

    assert not left()
    chain.run(2, 2, *FITTED, anew=True)
    assert left() == {READER: {window.first}}
    chain.run(2, 2, READING)
    assert not left()


def test_a_new_day_is_fitted_anew_and_the_older_fit_stays_in_the_history(chain: Chain) -> None:
    before = chain.projections()
    chain.run(3, 3)
    assert chain.fits() == [dt.date.fromisoformat(day) for day in chain.days[2:4]]
    assert chain.projections() != before
    assert {day for *_, day in chain.projections()} == {dt.date.fromisoformat(chain.days[3])}
