"""Serves the pages in the foreground until it is told to end; nothing of it leaves the machine."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from shopstream_assets.dashboards.style import THEME

# What every page imports: loaded before the first visitor comes, who would wait for it.
PRELOADED = ("altair", "pandas", "snowflake.connector", "shopstream_assets.platform.definitions")
SETTINGS: dict[str, object] = {
    "server.address": "127.0.0.1",
    "server.headless": True,
    # Nothing is edited while it is served.
    "server.fileWatcherType": "none",
    # Otherwise the browser tells Streamlit's makers who uses it for what.
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "viewer",
    # What went wrong is for the log; the page has words of its own for what a reader can do, and no links outside.
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "logger.level": "warning",
    # The address is told by whoever starts this.
    "logger.hideWelcomeMessage": True,
    **THEME,
}


def serve(port: int, ready: Callable[[], None] = lambda: None) -> None:
    """Serve on 127.0.0.1:`port` until SIGINT or SIGTERM; `ready` is called when everything is loaded."""
    for name in PRELOADED:
        import_module(name)
    import streamlit as st
    from streamlit.web import bootstrap

    from shopstream_assets.dashboards.catalogue import routes

    # As the command `streamlit run` names them.
    options = {name.replace(".", "_"): value for name, value in {**SETTINGS, "server.port": port}.items()}
    bootstrap.load_config_options(options)
    script = str(Path(__file__).with_name("app.py"))
    pages = st.App(script, routes=routes())
    ready()
    bootstrap.run_asgi_app(script, pages, [], options)  # type: ignore[arg-type]  # its server takes the app as well
