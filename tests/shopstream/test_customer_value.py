"""The models of customer value: on customers whose truth is known, the simulated store, and Olist's real orders."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import shops

from shopstream_assets.domains.shopstream.customer_value import first_order, repeats, spend
from shopstream_assets.domains.shopstream.customer_value.asset import judged
from shopstream_assets.domains.shopstream.customer_value.backtest import Backtest, Compared, backtest
from shopstream_assets.domains.shopstream.customer_value.history import Buyers, Shop, segments
from shopstream_assets.domains.shopstream.customer_value.market import Calendar, Pace
from shopstream_assets.domains.shopstream.customer_value.model import CustomerValue, _money_interval
from shopstream_assets.domains.shopstream.customer_value.repeats import Repeats

OLIST = Path(__file__).resolve().parents[3] / "shared" / "data" / "olist"
# Logarithms of r, alpha, s, beta and the weight of the wait; then trend and four of the season.
TRUTH = np.concatenate((np.log((0.8, 20.0, 0.9, 60.0, 0.5)), (-0.3, 0.1, -0.15, 0.05, 0.1)))


def known(calendar: Calendar) -> Repeats:
    """The model with the true parameters."""
    return Repeats(calendar, TRUTH, np.zeros((10, 10)), 0.0, 0)


def test_parameters_are_recovered_from_customers_drawn_from_the_model() -> None:
    people = shops.drawn(TRUTH, customers=3_000, days=730, days_ahead=1, seed=1, wait=15)

    found = repeats.fit(Buyers.of(people.shop), people.calendar)

    error = np.sqrt(np.diag(found.covariance))
    assert (error[:4] < 0.2).all(), "so many customers tell the parameters to a fifth"
    assert (np.abs(found.parameters - TRUTH) < 4 * error).all(), (found.parameters, TRUTH, error)


def test_the_projection_is_what_customers_drawn_from_the_model_do_next() -> None:
    people = shops.drawn(TRUTH, customers=20_000, days=400, days_ahead=365, seed=2, wait=15)
    buyers, model = Buyers.of(people.shop), known(people.calendar)
    expected, alive = model.expected(buyers, 365) * buyers.orders_per_purchase, model.alive(buyers)
    counted = model.counted(buyers, 365)

    came, lives = people.later[buyers.row], people.lives[buyers.row]
    quiet = buyers.age - buyers.recency
    for those in (
        buyers.repeats == 0,
        buyers.repeats == 1,
        (buyers.repeats > 1) & (buyers.repeats <= 5),
        buyers.repeats > 5,
        quiet < 20,
        quiet > 100,
        buyers.age < 60,
    ):
        n = those.sum()
        assert n > 500
        chance = came[those].std() / np.sqrt(n)
        assert abs(expected[those].mean() - came[those].mean()) < 4 * chance + 0.01 * came[those].mean()
        assert abs(alive[those].mean() - lives[those].mean()) < 4 * 0.5 / np.sqrt(n)
    np.testing.assert_allclose(counted.mean * buyers.orders_per_purchase, expected, rtol=0.02, atol=1e-3)
    # Counts are whole numbers: the interval holds 80 % or more.
    held = (came >= counted.low) & (came <= np.ceil(counted.high * buyers.orders_per_purchase))
    assert 0.80 < held.mean() < 0.97
    assert abs((came == 0).mean() - counted.none.mean()) < 0.01
    assert abs(counted.variance.sum() / ((came - counted.mean) ** 2).sum() - 1) < 0.1


def test_the_probability_to_be_a_customer_falls_with_the_time_since_the_last_order() -> None:
    calendar = Calendar(18_000.0, 18_400.0)
    recency = np.array([290.0, 250.0, 200.0, 100.0, 30.0])
    n = len(recency)
    first = np.full(n, 18_100.0)
    buyers = Buyers(
        np.arange(n), first, np.full(n, 6.0), recency, np.full(n, 300.0), first, np.zeros(0, int), np.zeros(0), 1.0
    )

    alive = known(calendar).alive(buyers)

    assert (np.diff(alive) < 0).all()
    assert alive[0] > 0.8
    assert alive[-1] < 0.05
    assert (np.diff(known(calendar).expected(buyers, 365)) < 0).all()


@pytest.mark.parametrize("coefficients", [np.zeros(5), TRUTH[5:], 4 * TRUTH[5:]], ids=["even", "season", "strong"])
def test_the_way_to_the_first_order_is_recovered_and_nobody_waits_for_what_never_comes(
    coefficients: np.ndarray,
) -> None:
    rng = np.random.default_rng(3)
    n, until = 6_000, 18_700.0
    pace = Pace(Calendar(18_000.0, until), coefficients)
    truth = first_order.FirstOrder(first_day=0.25, never=0.4, shape=1.5, scale=12.0)
    signed_up = 18_000 + rng.random(n) * 700
    wait = 1 + rng.exponential(size=n) / (rng.gamma(truth.shape, size=n) / truth.scale)
    wait = np.where(rng.random(n) < truth.never, np.inf, wait)
    wait = np.where(rng.random(n) < truth.first_day, rng.random(n), wait)
    # After the first day waits are as drawn at the pace of one; the table by the day is inverted.
    grid, later = np.arange(18_000.0, until + 900), np.maximum(np.where(np.isinf(wait), 9e9, wait) - 1, 0)
    long_pace = Pace(Calendar(18_000.0, until), coefficients, days_ahead=900)
    moment = np.interp(long_pace.until(signed_up + 1) + later, long_pace.until(grid), grid)
    moment = np.where(wait < 1, signed_up + wait, moment)
    came = moment < until
    ordered = moment[came]
    ids, ten = np.arange(n), np.full(int(came.sum()), 10.0)
    # Of some nothing is known but their orders.
    known = ids >= 50
    shop = Shop.of((ids[known], signed_up[known]), (ids[came], ordered, ten, ten), until)

    found = first_order.fit(shop, pace)

    assert found.first_day == pytest.approx(truth.first_day, abs=0.025)
    ages = np.array([0.0, 0.5, 2.0, 10.0, 60.0, 300.0])
    np.testing.assert_allclose(found.waiting(ages), truth.waiting(ages), atol=0.025)
    assert (np.diff(found.will_order(ages)) < 0).all()
    assert found.will_order(np.array([600.0]))[0] < 0.05


def test_the_value_of_orders_is_recovered_and_intervals_of_money_hold_what_they_say() -> None:
    rng = np.random.default_rng(4)
    truth, n = spend.Spend(p=3.0, q=5.0, g=120.0), 8_000
    orders = rng.integers(1, 8, n)
    rate = rng.gamma(truth.q, size=n) / truth.g
    amount = rng.gamma(truth.p * orders) / rate

    found = spend.fit(orders, amount)

    assert found.p == pytest.approx(truth.p, rel=0.1)
    assert found.p * found.g / (found.q - 1) == pytest.approx(truth.p * truth.g / (truth.q - 1), rel=0.03)
    one = np.array([1, 20]), np.array([300.0, 6_000.0])
    first, twentieth = found.next_order(*one)
    assert 90 < first < twentieth < 300, "the longer the history, the less it is drawn to the mean"
    later = rng.poisson(2.0, n)
    came = np.where(later > 0, rng.gamma(np.maximum(truth.p * later, 1e-9)) / rate, 0)
    mean, second = truth.next_orders(orders, amount, np.full(n, 2.0), np.full(n, 2.0))
    assert mean.mean() == pytest.approx(came.mean(), rel=0.03)
    low, high = _money_interval(np.full(n, np.exp(-2.0)), mean, second)
    assert 0.78 < ((came >= low) & (came <= high)).mean() < 0.93


def test_the_same_shop_has_the_same_projection_in_whatever_order_its_rows_come() -> None:
    people = shops.drawn(TRUTH, customers=300, days=400, days_ahead=1, seed=5)
    shop, mixed = people.shop, np.random.default_rng(6).permutation(len(people.shop.buyer))
    again = Shop.of(
        (shop.customer_ids[::-1], shop.signed_up[::-1]),
        (shop.customer_ids[shop.buyer][mixed], shop.ordered[mixed], shop.amount[mixed], shop.kept[mixed]),
        shop.until,
        shop.margin_rate,
    )

    one, other = (CustomerValue.fit(found).project(found) for found in (shop, again))

    for name in (field.name for field in dataclasses.fields(one)):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("sales", [0, 1, 2, 5])
def test_a_shop_that_has_hardly_sold_has_a_finite_projection_with_wide_intervals(sales: int) -> None:
    ids, ones = np.arange(3), np.full(sales, 30.0)
    who, when = np.arange(sales) % 3, 18_000 + np.arange(sales) * 2.0
    shop = Shop.of((ids, np.full(3, 17_999.5)), (who, when, ones, ones), until=18_010.0)

    model = CustomerValue.fit(shop)
    found = model.project(shop)
    total, error = model.total(shop, found)

    assert np.isfinite(found.orders).all()
    assert np.isfinite(found.revenue).all()
    assert np.isnan(found.margin).all(), "no cost is known"
    assert ((found.alive >= 0) & (found.alive <= 1)).all()
    assert error > 0.3 * total


def test_two_orders_within_an_hour_are_one_purchase() -> None:
    hour = 1 / 24
    moments = np.array([18_000.0, 18_000 + 0.9 * hour, 18_000 + 2.5 * hour, 18_005])
    shop = Shop.of((np.array([7]), np.array([17_990.0])), (np.full(4, 7), moments, np.ones(4), np.ones(4)), 18_010.0)

    buyers = Buyers.of(shop)

    assert buyers.repeats.tolist() == [2.0]
    assert buyers.recency.tolist() == [5.0]
    assert buyers.orders_per_purchase == pytest.approx(4 / 3)


def test_the_past_knows_nothing_of_who_came_later() -> None:
    shop = Shop.of(
        (np.array([1, 2, 3]), np.array([100.0, 200.0, 300.0])),
        (np.array([1, 3, 1, 9]), np.array([110.0, 320.0, 310.0, 150.0]), np.ones(4), np.ones(4)),
        until=400.0,
    )

    past = shop.at(250.0)

    assert past.customer_ids.tolist() == [1, 2, 9]
    assert past.orders.tolist() == [1, 0, 1]
    assert past.until == 250.0
    assert np.isnan(past.signed_up[2])


def compared(predicted: float, came: int, last_period: float = 900, flat_rate: float = 2_000) -> Compared:
    return Compared("all", 100, predicted, came, last_period, flat_rate)


@pytest.mark.parametrize(
    ("found", "faults"),
    [
        (Backtest(730, 243, (compared(1_050, 1_000),), 20), 0),
        (Backtest(730, 243, (compared(1_150, 1_000, last_period=1_300),), 20), 1),
        (Backtest(730, 243, (compared(1_150, 1_000, last_period=1_300),), 80), 0),
        (Backtest(730, 243, (compared(1_090, 1_000, last_period=1_010),), 20), 1),
        (Backtest(730, 243, (compared(1_000, 1_000), Compared("loyal", 9, 300, 200, 0, 0)), 20), 1),
        (Backtest(730, 243, (compared(1_000, 1_000), Compared("loyal", 9, 300, 199, 0, 0)), 20), 0),
        (Backtest(400, 133, (compared(5_000, 1_000),), 20), 0),
    ],
    ids=["near", "far", "far but chance", "beaten", "a segment", "a small segment", "too short a history"],
)
def test_a_backtest_tells_what_is_further_off_than_it_may_be(found: Backtest, faults: int) -> None:
    assert len(found.faults) == faults


def test_the_check_warns_with_the_figures_of_both_sides_and_passes_a_history_that_is_too_short() -> None:
    key = dg.AssetKey("fits")
    far = Backtest(730, 243, (compared(1_150, 1_000, last_period=1_300),), 20)

    failed, short, none = (judged(key, found) for found in (far, dataclasses.replace(far, history_days=500), None))

    assert (failed.passed, short.passed, none.passed) == (False, True, True)
    assert failed.severity == dg.AssetCheckSeverity.WARN
    assert "1,150 orders were predicted and 1,000 came" in str(failed.description)
    assert failed.metadata["error"].value == pytest.approx(0.15)
    assert all(str(one.description).startswith("Not enough history") for one in (short, none))


@pytest.mark.long
def test_two_years_of_the_simulated_store_predict_what_its_customers_order_then() -> None:
    # Of the three stores in docs/marts.md two are within every bound; in the one of 2024-06-01 a segment is not.
    shop = shops.simulated(dt.date(2024, 1, 15), 730)

    found = backtest(shop)

    assert found is not None
    assert found.is_judged
    assert found.days == 243
    assert found.faults == []
    assert abs(found.total.error(found.total.predicted) or 0) < 0.1
    projection, ordered = CustomerValue.fit(shop).project(shop), shop.orders > 0
    # A shop's older buyers have mostly left it: who has no order yet is compared with buyers who came when they did.
    recent = shop.until - shop.signed_up < 60
    assert projection.orders[recent & ~ordered].mean() < 0.5 * np.median(projection.orders[recent & ordered])
    hibernating = segments(shop) == "hibernating"
    assert projection.orders[hibernating].mean() < 0.1 * projection.orders[ordered].mean()


@pytest.mark.long
@pytest.mark.skipif(not OLIST.is_dir(), reason=f"Olist's data is not in {OLIST}")
def test_olists_customers_order_again_as_seldom_as_predicted_within_what_chance_explains() -> None:
    found = backtest(shops.olist(OLIST))

    assert found is not None
    assert found.is_judged
    assert found.faults == []
    total = found.total
    assert total.predicted < 60
    assert min(total.last_period, total.flat_rate) > 20 * total.predicted
