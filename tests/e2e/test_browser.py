"""Dagster's page in a real browser: what somebody sees who opens it for the first time, and a run launched by clicks.

Skipped without a browser.
"""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest
from chromium import skip_without_browser, visit
from dagster_process import Dagster, dagster, wait_for

from shopstream_assets.platform.declare.domain import LAYERS

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

ANSWER_SECONDS, RUN_SECONDS = 30, 90


@pytest.fixture(scope="module")
def running(local_stack: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    skip_without_browser()
    with dagster(local_stack, tmp_path_factory.mktemp("dagster"), sensors=False) as started:
        yield started


@pytest.fixture
def page(running: Dagster) -> Iterator["Page"]:
    """The page as a new visitor gets it."""
    address = f"http://127.0.0.1:{running.ports['webserver']}"
    with visit(address, ANSWER_SECONDS, viewport={"width": 1400, "height": 900}) as visited:
        yield visited


def left(element: "Locator") -> float:
    box = element.bounding_box()
    assert box is not None
    return box["x"]


def test_a_visitor_sees_the_layers_from_left_to_right_launches_a_partition_by_clicks_and_looks_at_its_rows(
    page: "Page", running: Dagster
) -> None:
    from playwright.sync_api import expect

    page.goto("/")
    # By its address: that of the jobs has "lineage" in the name of its icon.
    page.locator('a[href="/asset-groups"]').click()
    groups = page.locator("foreignObject.group")
    # The platform's page about itself is apart; what people look at is the end.
    expect(groups).to_have_count(len(LAYERS) + 2)
    from_left = sorted((left(group), (group.text_content() or "").rpartition("_")[2].strip()) for group in groups.all())
    assert [layer for _, layer in from_left if layer != "operations"] == [*LAYERS, "dashboards"]
    expect(page.get_by_role("dialog")).to_have_count(0)

    page.get_by_placeholder("Jump to").fill("crm_contacts")
    page.get_by_text("shopstream/postgres").first.click()
    expect(page.get_by_text("One row per contact of the CRM.")).to_be_visible()
    page.get_by_role("button", name="Materialize selected").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Latest", exact=True).click()
    dialog.get_by_role("button", name=re.compile("Launch")).last.click()
    page.get_by_text("View", exact=True).first.click()
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=RUN_SECONDS * 1000)
    runs = running.ask("{ runsOrError { ... on Runs { results { status assetSelection { path } } } } }")["runsOrError"]
    # Other tests of the session leave runs without assets in the same storage.
    assert [run for run in runs["results"] if run["assetSelection"]] == [
        {"status": "SUCCESS", "assetSelection": [{"path": ["shopstream", "postgres", "crm_contacts"]}]}
    ]

    # A day that is over has contacts; today has none yet right after midnight.
    yesterday = (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)).isoformat()
    run_id = running.launch([["shopstream", "postgres", "crm_contacts"]], yesterday, yesterday)
    wait_for(lambda: running.run(run_id)["status"] == "SUCCESS", f"the success of {run_id}", RUN_SECONDS)

    page.goto("/assets/shopstream/postgres/crm_contacts")
    expect(page.get_by_text("Salesperson in charge.")).to_be_visible()
    expect(page.get_by_role("link", name="tables.py")).to_be_visible()
    masked = page.get_by_role("row").filter(has_text="***")
    expect(masked.first).to_be_visible()
    assert "@" not in masked.first.inner_text()
