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
    from playwright.sync_api import Page

START_SECONDS, ANSWER_SECONDS = 90, 60
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


def test_every_page_is_drawn_without_an_error_or_a_request_outside_and_new_figures_come_by_themselves(
    visitor: "Page", address: str, marts: Mapping[str, Warehouse]
) -> None:
    from playwright.sync_api import expect

    outside, errors = [], []
    visitor.on(
        "request",
        lambda asked: None if asked.url.startswith((address, "data:", "blob:")) else outside.append(asked.url),
    )
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
