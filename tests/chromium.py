"""Debian's chromium, or the one that SHOPSTREAM_CHROMIUM names, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

BROWSER = os.environ.get("SHOPSTREAM_CHROMIUM") or shutil.which("chromium")
# Nothing but the page is to be asked for; root, as in a container, has no sandbox.
OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


def skip_without_browser() -> None:
    """Skip the test where there is no browser, or nothing to drive it with."""
    if not BROWSER:
        pytest.skip("no chromium here: install it (Debian: apt install chromium) or name one in SHOPSTREAM_CHROMIUM")
    pytest.importorskip("playwright.sync_api", reason="Playwright's Python package is not installed")


@contextmanager
def visit(address: str, seconds: int, **context: Any) -> Iterator["Page"]:
    """A page of a new visitor to the server at `address`, which may take `seconds` for each answer."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=seconds * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, headless=True, args=OPTIONS)
        page = browser.new_context(base_url=address, **context).new_page()
        page.set_default_timeout(seconds * 1000)
        yield page
        browser.close()
