"""Each page over marts that are known: its numbers are the marts', and its states say what to do."""

import datetime as dt
from collections.abc import Mapping

import pytest
from known_marts import DAYS, MONTHS, Warehouse
from streamlit.testing.v1 import AppTest

from shopstream_assets.dashboards import marts as reading
from shopstream_assets.platform.declare.registry import domain_named

PAGES = [(name, page.path) for name in ("shopstream", "streamvision") for page in domain_named(name).pages]
LATEST = f"between '{DAYS[-28]}' and '{DAYS[-1]}'"


def _script(domain: str, path: str) -> None:
    from shopstream_assets.dashboards.app import HEALTH, show
    from shopstream_assets.platform.declare.registry import domain_named

    named = domain_named(domain)
    show(named, next(page for page in (*named.pages, HEALTH) if page.path == path))


@pytest.fixture(autouse=True)
def _anew(marts: Mapping[str, Warehouse]) -> None:
    """Nothing is remembered from one test to the next but the sessions."""
    import streamlit as st

    st.cache_data.clear()


def page(domain: str, path: str, **address: str | list[str]) -> AppTest:
    """The page as somebody sees it who opens that address."""
    shown = AppTest.from_function(_script, kwargs={"domain": domain, "path": path}, default_timeout=120)
    for name, value in address.items():
        shown.query_params[name] = value
    return shown.run()


def metric(shown: AppTest, label: str) -> str:
    return str(next(found.value for found in shown.metric if found.label == label))


@pytest.mark.parametrize(("domain", "path"), PAGES)
def test_a_page_shows_figures_with_their_meaning_and_as_of_when_they_are(domain: str, path: str) -> None:
    shown = page(domain, path)
    assert not shown.exception
    assert not shown.error
    assert shown.title[0].value
    assert len(shown.metric) >= 3
    assert all(found.help and found.value != "–" for found in shown.metric), [(m.label, m.value) for m in shown.metric]
    assert "UTC" in shown.caption[0].value


def test_the_numbers_of_the_sales_overview_are_the_marts_and_follow_the_filters(
    marts: Mapping[str, Warehouse],
) -> None:
    ask = marts["shopstream"].value
    of = "from marts.mart_sales_overview where order_date"
    shown = page("shopstream", "sales")
    assert metric(shown, "Net revenue") == f"€{ask(f'select sum(net_revenue) {of} {LATEST}'):,.0f}"
    assert metric(shown, "Orders") == f"{ask(f'select sum(orders) {of} {LATEST}'):,.0f}"
    average = ask(f"select sum(gross_revenue - discount_amount) / sum(orders) {of} {LATEST}")
    assert metric(shown, "Average order value") == f"€{average:,.2f}"
    now, before = (
        ask(f"select sum(orders) {of} between '{first}' and '{last}'")
        for first, last in ((DAYS[-28], DAYS[-1]), (DAYS[-56], DAYS[-29]))
    )
    assert next(found.delta for found in shown.metric if found.label == "Orders") == f"{now / before - 1:+.1%}"

    shown.multiselect(key="country").set_value(["FR"]).run()
    in_france = f"€{ask(f'''select sum(net_revenue) {of} {LATEST} and shipping_country = 'FR' '''):,.0f}"
    assert metric(shown, "Net revenue") == in_france
    # The same view, by its address alone.
    assert metric(page("shopstream", "sales", country="FR"), "Net revenue") == in_france


def test_refunds_count_on_the_day_of_the_order_or_on_their_own_and_each_figure_says_which(
    marts: Mapping[str, Warehouse],
) -> None:
    ask = marts["shopstream"].value
    marts["shopstream"].execute("update marts.mart_sales_as_booked set net_revenue = net_revenue - 1")
    sums = {
        "Order date": f"from marts.mart_sales_overview where order_date {LATEST}",
        "Refund date": f"from marts.mart_sales_as_booked where booked_date {LATEST}",
    }
    wanted = {name: f"€{ask(f'select sum(net_revenue) {of}'):,.0f}" for name, of in sums.items()}
    assert len(set(wanted.values())) == 2
    assert metric(page("shopstream", "sales"), "Net revenue") == wanted["Order date"]
    shown = page("shopstream", "sales", refunds="Refund date")
    assert metric(shown, "Net revenue") == wanted["Refund date"]
    of_figures = [found.value for found in shown.caption if "EUR" in found.value]
    assert len(of_figures) >= 3
    assert all("refunds by their own date" in told for told in of_figures), of_figures


def test_a_conversion_rate_counts_only_sign_ups_whose_days_are_over(marts: Mapping[str, Warehouse]) -> None:
    warehouse = marts["shopstream"]
    young = f"signup_date > '{DAYS[-31]}'"
    warehouse.execute(f"update marts.mart_signup_conversion set is_complete_30d = false where {young}")
    rate = warehouse.value(
        f"select sum(ordered_within_30d) / sum(signed_up) from marts.mart_signup_conversion where not ({young})"
    )
    assert metric(page("shopstream", "conversion"), "Ordered within 30 days") == f"{rate:.1%}"


def test_who_comes_back_leaves_out_small_cohorts_and_the_month_that_is_going_on(marts: Mapping[str, Warehouse]) -> None:
    warehouse = marts["shopstream"]
    mart, oldest, next_one = "marts.mart_customer_retention", MONTHS[0], MONTHS[1]
    warehouse.execute(f"update {mart} set buyers = 40, is_complete = true, active_customers = 10 + months_since")
    warehouse.execute(f"update {mart} set buyers = 29 where cohort_month = '{next_one}'")
    warehouse.execute(f"update {mart} set is_complete = false where months_since = 2")
    [listed] = [found.value for found in page("shopstream", "customers").dataframe if "active" in found.value]
    # Of month 0 nothing is told: everybody bought in it.
    of_oldest = listed[listed["cohort"] == f"{oldest:%b %Y}"]
    assert [*zip(of_oldest["months_since"], of_oldest["share"], strict=True)] == [(1, 11 / 40)]
    assert f"{next_one:%b %Y}" not in set(listed["cohort"])


def test_what_is_searched_for_is_bound_and_nothing_found_says_so() -> None:
    shown = page("shopstream", "products", q="' or 1 = 1 --")
    assert not shown.exception
    assert "No products in this choice" in shown.info[0].value
    assert metric(page("shopstream", "products", q="PRODUCT_NAME"), "Products") == "40"


def test_each_product_has_its_months_in_the_list_and_a_month_without_a_sale_is_none(
    marts: Mapping[str, Warehouse],
) -> None:
    warehouse = marts["shopstream"]
    warehouse.execute(f"delete from marts.mart_product_months where product_id = 7 and sales_month = '{MONTHS[0]}'")
    warehouse.execute("delete from marts.mart_product_months where product_id = 8")
    [listed] = [found.value for found in page("shopstream", "products").dataframe if "course" in found.value]
    courses = dict(zip(listed["product_id"], map(list, listed["course"]), strict=True))
    assert set(map(len, courses.values())) == {len(MONTHS)}
    assert (courses[7][0], courses[8]) == (0.0, [0.0] * len(MONTHS))
    assert all(courses[7][1:])
    total = warehouse.value("select sum(net_revenue) from marts.mart_product_months")
    assert sum(map(sum, courses.values())) == pytest.approx(total)


def test_a_build_is_shown_and_until_it_is_done_everyone_sees_the_one_before(marts: Mapping[str, Warehouse]) -> None:
    warehouse = marts["shopstream"]
    before = metric(page("shopstream", "sales"), "Orders")
    warehouse.execute(f"update marts.mart_sales_overview set orders = orders + 1 where order_date = '{DAYS[-1]}'")
    assert metric(page("shopstream", "sales"), "Orders") == before
    warehouse.build("mart_sales_overview", dt.datetime.now(dt.UTC).replace(tzinfo=None))
    reading.built.clear()
    after = warehouse.value(f"select sum(orders) from marts.mart_sales_overview where order_date {LATEST}")
    assert metric(page("shopstream", "sales"), "Orders") == f"{after:,.0f}" != before


def test_old_figures_are_shown_with_their_age_and_what_refreshes_them(marts: Mapping[str, Warehouse]) -> None:
    warehouse = marts["streamvision"]
    warehouse.execute("update core.built_partitions set built_at = dateadd(day, -3, built_at)")
    try:
        shown = page("streamvision", "search")
        assert "3 days old" in shown.warning[0].value
        assert "make up" in shown.warning[0].value
        assert shown.metric
    finally:
        warehouse.execute("update core.built_partitions set built_at = dateadd(day, 3, built_at)")


def test_marts_that_were_never_built_and_one_that_is_missing_say_what_to_do(marts: Mapping[str, Warehouse]) -> None:
    warehouse = marts["streamvision"]
    warehouse.execute("alter table marts.mart_search_effectiveness rename to marts.mart_away")
    try:
        shown = page("streamvision", "search")
        assert "The warehouse gives no figures" in shown.error[0].value
        assert any(found.value.startswith("Next: ") for found in shown.markdown)
    finally:
        warehouse.execute("alter table marts.mart_away rename to marts.mart_search_effectiveness")
    warehouse.execute("alter table core.built_partitions rename to core.away")
    try:
        reading.built.clear()
        assert "make demo DOMAIN=streamvision" in page("streamvision", "search").info[0].value
    finally:
        warehouse.execute("alter table core.away rename to core.built_partitions")


def test_data_health_tells_what_dagster_knows_of_every_layer() -> None:
    shown = page("shopstream", "health")
    assert not shown.exception
    assert not [found.value for found in shown.error if "Only the marts" in found.value]
    # Nothing has run on this stack, or some tests have: days of assets are missing, and it says how to repair them.
    assert "Not well" in shown.error[0].value
    assert list(shown.dataframe[0].value["layer"]) == ["postgres", "lake", "staging", "core", "models", "marts"]
    assert "dagster asset materialize" in shown.code[0].value


def test_what_is_expected_of_customers_stands_with_the_interval_and_the_error_of_the_backtest(
    marts: Mapping[str, Warehouse],
) -> None:
    ask = marts["shopstream"].value
    shown = page("shopstream", "customers")
    assert not shown.exception
    expected = ask("select sum(projected_12m_orders) from marts.mart_customer_ltv")
    assert metric(shown, "Orders expected") == f"{expected:,.0f}"
    latest = "from marts.mart_projection_backtest where rfm_segment = 'all' and as_of_date = "
    latest += "(select max(as_of_date) from marts.mart_projection_backtest)"
    error, low, high = (
        ask(f"select {name} {latest}")
        for name in ("prediction_error", "projected_12m_orders_low", "projected_12m_orders_high")
    )
    told = " ".join(caption.value for caption in shown.caption)
    assert f"{error:+.1%} off" in told
    assert f"{low:,.0f} to {high:,.0f} orders are expected of all customers" in told
