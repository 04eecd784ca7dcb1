"""The dashboards as people get them: served by the command's server, looked at in Debian's chromium."""

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from chromium import skip_without_browser, visit
from dagster_process import OPENER, wait_for
from known_marts import DAYS, Warehouse

from shopstream_assets.embedded.process import free_ports
from shopstream_assets.platform.declare.registry import domain_named

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request

START_SECONDS, ANSWER_SECONDS, PARSE_SECONDS = 90, 60, 300
PATHS = [
    ("", "Sales overview"),
    *(
        (f"{name}-{page.path}", page.title)
        for name in ("shopstream", "streamvision")
        for page in domain_named(name).pages
    ),
]


@pytest.fixture
def address(marts: Mapping[str, Warehouse]) -> Iterator[str]:
    """The server, in a process of its own."""
    skip_without_browser()
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "shopstream_assets.dashboards", "--port", str(port)]
    with subprocess.Popen(command) as server:
        try:
            wait_for(lambda: _answers(port, server), "the dashboards", START_SECONDS)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


def _answers(port: int, server: subprocess.Popen[bytes]) -> bool:
    assert server.poll() is None, "the server ended at its start"
    with suppress(urllib.error.URLError, OSError):
        OPENER.open(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).close()
        return True
    return False


@pytest.fixture
def visitor(address: str) -> Iterator["Page"]:
    """A browser far from UTC, whose requests and errors are noted in `outside` and `errors`."""
    with visit(address, ANSWER_SECONDS, timezone_id="America/Los_Angeles") as page:
        yield page


# Of Streamlit's own making: items of its list of pages are wrapped, and its small charts in cards have no words.
STREAMLITS, IN_CARDS = ("list", "listitem"), "metric_chart_"
# Parts of a page that is being drawn anew are pale for a moment: what counts is what every look finds.
LOOKS = 4


def barriers(page: "Page") -> set[str]:
    """What keeps people with weak eyes, a keyboard or a screen reader from a page: what axe calls serious or worse."""
    from axe_playwright_python.sync_playwright import Axe

    rules = {rule: {"enabled": False} for rule in STREAMLITS}
    staying: set[str] | None = None
    for _ in range(LOOKS):
        violations = Axe().run(page, options={"resultTypes": ["violations"], "rules": rules}).response["violations"]
        found = {
            f"{violation['help']}: {node['html']}"
            for violation in violations
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
            if IN_CARDS not in node["html"]
        }
        staying = found if staying is None else staying & found
        if not staying:
            break
    return staying or set()


def test_every_page_is_drawn_without_an_error_or_a_request_outside_and_new_figures_come_by_themselves(
    visitor: "Page", address: str, marts: Mapping[str, Warehouse]
) -> None:
    from playwright.sync_api import expect

    outside, errors = [], []

    def note(asked: "Request") -> None:
        if not asked.url.startswith((address, "data:", "blob:")):
            outside.append(asked.url)

    visitor.on("request", note)
    # Streamlit looks below the page's own address for its server first, and finds it above.
    visitor.on(
        "console",
        lambda said: (
            errors.append(f"{said.text} {said.location}")
            if said.type == "error" and "_stcore" not in said.location["url"]
            else None
        ),
    )
    visitor.on("pageerror", lambda error: errors.append(str(error)))
    for path, title in PATHS:
        visitor.goto(f"/{path}")
        expect(visitor.get_by_role("heading", name=title, exact=True)).to_be_visible()
        expect(visitor.get_by_test_id("stMetric").first).to_be_visible()
        expect(visitor.locator("[data-testid=stVegaLiteChart] svg").first).to_be_visible()
        expect(visitor.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible()
        expect(visitor.get_by_test_id("stException")).to_have_count(0)
        expect(visitor.get_by_role("dialog")).to_have_count(0)
        assert not barriers(visitor), path

    # The catalogue is one click away, and says what the model says of its column. dbt may have to parse the project.
    OPENER.open(f"{address}/catalogue/shopstream/manifest.json", timeout=PARSE_SECONDS).close()
    with visitor.expect_popup() as opened:
        visitor.get_by_role("link", name="Catalogue of ShopStream").click()
    catalogue = opened.value
    catalogue.on("request", note)
    catalogue.goto(f"{address}/catalogue/shopstream/#!/model/model.shopstream.mart_sales_overview")
    catalogue.reload()
    expect(catalogue.get_by_role("heading", name="mart_sales_overview")).to_be_visible()
    row = catalogue.get_by_role("row").filter(has_text="orders_placed")
    expect(row.first).to_contain_text("number(38,0)")
    expect(row.first).to_contain_text("Orders whose")
    catalogue.close()

    # The other way to a file, which would write a formula as it is, is not offered.
    visitor.goto("/shopstream-products?q=sku 7")
    with visitor.expect_download() as taken:
        visitor.get_by_test_id("stDownloadButton").get_by_role("button").click()
    assert len(taken.value.path().read_text(encoding="utf-8-sig").splitlines()) == 2
    expect(visitor.locator("button[aria-label^='Download as CSV']").filter(visible=True)).to_have_count(0)

    # A link with a filter shows that view, and a choice by keyboard is part of the address.
    warehouse = marts["shopstream"]

    def orders(where: str) -> str:
        days = f"order_date between '{DAYS[-28]}' and '{DAYS[-1]}'"
        return f"{warehouse.value(f'select sum(orders) from marts.mart_sales_overview where {days} and {where}'):,.0f}"

    shown = visitor.get_by_test_id("stMetric").filter(has_text="Orders").get_by_test_id("stMetricValue")
    visitor.goto("/?country=FR")
    expect(shown).to_have_text(orders("shipping_country = 'FR'"))
    visitor.get_by_role("combobox", name="Category").press_sequentially("Toys")
    visitor.keyboard.press("Enter")
    expect(shown).to_have_text(orders("shipping_country = 'FR' and product_category = 'Toys'"))
    assert "category=Toys" in visitor.url

    # Nobody touches the page, and a mart is built.
    warehouse.execute(f"update marts.mart_sales_overview set orders = orders + 7 where order_date = '{DAYS[-1]}'")
    warehouse.execute("update core.built_partitions set built_at = dateadd(second, 1, sysdate()::timestamp_ntz(6))")
    expect(shown).to_have_text(orders("shipping_country = 'FR' and product_category = 'Toys'"))
    assert not outside
    assert not errors
