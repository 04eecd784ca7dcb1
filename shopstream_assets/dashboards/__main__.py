"""Serves the pages in the foreground until it is told to end: `python -m shopstream_assets.dashboards --port 8501`.

Everything that a page imports is loaded before the first visitor comes.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from shopstream_assets.dashboards.style import THEME

PRELOADED = ("altair", "pandas", "snowflake.connector", "shopstream_assets.platform.definitions")
SETTINGS: dict[str, object] = {
    "server.address": "127.0.0.1",
    "server.headless": True,
    # Nothing is edited while it is served.
    "server.fileWatcherType": "none",
    # Otherwise the browser tells Streamlit's makers who uses it for what.
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "viewer",
    # What went wrong is for the log; the page has words of its own for what a reader can do.
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "logger.level": "warning",
    # The address is told by whoever starts this.
    "logger.hideWelcomeMessage": True,
    **THEME,
}


def main() -> None:
    """Serve on 127.0.0.1 until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m shopstream_assets.dashboards")
    parser.add_argument("--port", type=int, required=True)
    settings = {**SETTINGS, "server.port": parser.parse_args().port}
    for name in PRELOADED:
        import_module(name)
    from streamlit.web import bootstrap

    # As the command `streamlit run` names them.
    options = {name.replace(".", "_"): value for name, value in settings.items()}
    bootstrap.load_config_options(options)
    bootstrap.run(str(Path(__file__).with_name("app.py")), False, [], options)


if __name__ == "__main__":
    main()
