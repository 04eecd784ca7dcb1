"""How long the dashboards' pages take: `python -m benchmarks.pages [SCALE]`, at SCALE times the reference volumes (1).

Plays a demo of both businesses in a folder that is deleted, serves its marts, and opens each page in Debian's chromium,
which has nothing in its cache, twice: no one has asked for the page's figures before; then they are known.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shopstream_assets.embedded import stack
from shopstream_assets.embedded.process import free_ports
from shopstream_assets.platform.declare.registry import domain_named
from tests.chromium import visit
from tests.dagster_process import OPENER, wait_for

DOMAINS = [domain_named(name) for name in ("shopstream", "streamvision")]
SECONDS = 120
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
# The script has ended, nothing is awaited, and every chart is drawn, but for those behind another tab.
WHOLE = """() => document.querySelector('[data-testid=stApp][data-test-script-state=notRunning]')
    && document.querySelector('[data-testid=stMetric]')
    && !document.querySelector('[data-testid=stSkeleton]')
    && [...document.querySelectorAll('[data-testid=stVegaLiteChart]')]
        .every(chart => !chart.offsetParent || chart.querySelector('svg'))
"""


@dataclass(frozen=True)
class Visit:
    """Seconds from the address to the first thing that is painted, and until the whole page is there."""

    paint: float
    whole: float


def visited(address: str, path: str) -> Visit:
    """A visit by somebody who was never there."""
    with visit(address, SECONDS) as page:
        begun = time.monotonic()
        page.goto(path, wait_until="commit")
        page.wait_for_function(WHOLE)
        whole = time.monotonic() - begun
        if page.get_by_test_id("stException").count():
            raise SystemExit(f"{path} shows an error instead of its figures.")
        return Visit(page.evaluate(PAINT) / 1000, whole)


@contextmanager
def served() -> Iterator[str]:
    """Address of the dashboards of this environment."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "shopstream_assets.dashboards", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: _answers(port), "the dashboards", SECONDS)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _answers(port: int) -> bool:
    try:
        OPENER.open(urllib.request.Request(f"http://127.0.0.1:{port}/_stcore/health"), timeout=2).close()
    except OSError:
        return False
    return True


@contextmanager
def played(scale: float) -> Iterator[None]:
    """A demo of both businesses on a stack of its own; this process's environment leads to it."""
    settings = {f"{domain.prefix}_SCALE": str(scale) for domain in DOMAINS}
    command = [sys.executable, "-c", "from shopstream_assets.cli import main; main()", "demo", "--domain", "all"]
    with tempfile.TemporaryDirectory(prefix="shopstream-bench-") as folder:
        os.environ.update({**settings, "SHOPSTREAM_HOME": folder})
        try:
            subprocess.run([*command, "--quiet"], check=True, stdout=subprocess.DEVNULL)
            os.environ.update(stack.up(Path(folder)))
            yield
        finally:
            stack.down(Path(folder))


def main(scale: float) -> None:
    """Print a Markdown table."""
    with played(scale), served() as address:
        print(f"{os.cpu_count()} cores, {scale:g} times the reference volumes:\n")
        print("| page | first paint | whole, when nobody asked before | whole, figures known |")
        print("|---|---:|---:|---:|")
        for domain in DOMAINS:
            for shown in domain.pages:
                new, known = (visited(address, f"/{domain.name}-{shown.path}") for _ in range(2))
                print(
                    f"| {domain.title}: {shown.title} | {max(new.paint, known.paint):.1f} s | {new.whole:.1f} s "
                    f"| {known.whole:.1f} s |",
                    flush=True,
                )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1)
