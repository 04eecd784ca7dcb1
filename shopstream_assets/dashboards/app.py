"""The frame around every page: which there are, whether their figures are there, fresh and reachable.

Streamlit runs this file for each visitor, and again for each thing that a visitor does.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

import streamlit as st

from shopstream_assets.dashboards.catalogue import address
from shopstream_assets.dashboards.marts import (
    Built,
    Marts,
    built,
    database_in_snowflake,
    is_in_snowflake,
    marts_of,
)
from shopstream_assets.dashboards.periods import elapsed
from shopstream_assets.dashboards.style import STYLE
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.environment import warehouse_database
from shopstream_assets.platform.declare.page import Page
from shopstream_assets.platform.declare.registry import domains_that_load
from shopstream_assets.platform.errors import Problem, ServiceError

# Of every domain, behind its own.
HEALTH = Page("health", "Data health", "health_and_safety", "shopstream_assets.dashboards.health")
# A file: an icon by name would be fetched from Google.
ICON = Path(__file__).with_name("icon.svg")
LOOK_SECONDS = 2
# A day, and the hours that a refresh at night may take.
STALE = dt.timedelta(hours=26)


def main() -> None:
    """Draw the page that the address names."""
    st.set_page_config(page_title="ShopStream", page_icon=str(ICON), layout="wide")
    st.logo(str(ICON), size="large")
    st.html(STYLE)
    left_out: list[str] = []
    found = domains_that_load(lambda name, problem: left_out.append(f"The domain {name} is left out: {problem}"))
    if is_in_snowflake():
        found = _of_the_apps_database(found)
    # Dagster, which knows of their health, is not to be reached from there.
    of_all = () if is_in_snowflake() else (HEALTH,)
    pages = {
        domain.title: [
            st.Page(
                partial(show, domain, page),
                title=page.title,
                icon=f":material/{page.icon}:",
                url_path=page.address(domain.name),
            )
            for page in (*domain.pages, *of_all)
        ]
        for domain in found
    }
    first = pages[found[0].title][0]
    # Streamlit does not know the first page by its own address, only as "/": so that is a page that leads there.
    home = st.Page(partial(_lead, first), title=first.title, url_path="home", default=True, visibility="hidden")
    chosen = st.navigation({"": [home], **pages})
    if not is_in_snowflake():
        _link_catalogues(found)
    for problem in left_out:
        st.warning(problem, icon=":material/extension_off:")
    chosen.run()


def _of_the_apps_database(found: list[Domain]) -> list[Domain]:
    """The domain whose marts lie in the database of the app: its owner reads no other."""
    try:
        database = database_in_snowflake()
    except ServiceError as problem:
        _refused(problem)
        st.stop()
    own = [domain for domain in found if warehouse_database(domain) == database]
    if not own:
        st.error(
            f"**No business has its marts in the database {database}.** Create the app in the schema DASHBOARDS of "
            "one that has: deploy/snowflake has a script for each.",
            icon=":material/database_off:",
        )
        st.stop()
    return own


def _link_catalogues(found: list[Domain]) -> None:
    links = [f"[:material/menu_book: Catalogue of {domain.title}]({address(domain.name)})" for domain in found]
    st.sidebar.caption("\n\n".join(links))


def _lead(page: st.Page) -> None:
    st.switch_page(page, query_params=st.query_params.to_dict())


def show(domain: Domain, page: Page) -> None:
    """A page of a domain, or what to do where it has no figures."""
    st.title(page.title, anchor=False)
    try:
        marts = marts_of(domain)
        watch(domain, marts.built)
        if marts.built.newest is None:
            _empty(domain)
            return
        _warn_of_age(domain, marts.built.newest)
        drawn: Callable[[Marts], None] = import_module(page.module).show
        drawn(marts)
    except ServiceError as problem:
        _refused(problem)
    except Problem as problem:
        st.error(f"**This page cannot be shown:** {problem.found}", icon=":material/error:")
        st.markdown(f"Next: {problem.next_step}")


def _refused(problem: ServiceError) -> None:
    st.error(f"**The warehouse gives no figures:** {problem.found}", icon=":material/cloud_off:")
    st.markdown(f"Next: {problem.next_step} This page tries again by itself.")
    _try_again()


@st.fragment(run_every=LOOK_SECONDS)
def watch(domain: Domain, shown: Built) -> None:
    """As of when the figures are; draws the page anew once a mart was built."""
    now = built(domain.name)
    if now.at != shown.at:
        st.rerun()
    if now.newest is None:
        return
    state = " · :blue-badge[:material/sync: a mart is being built]" if now.is_building else ""
    st.caption(f"{domain.title} · built {now.newest:%-d %b %Y, %H:%M:%S} UTC, {_ago(now.newest)} ago{state}")


@st.fragment(run_every=LOOK_SECONDS * 2)
def _try_again() -> None:
    """Nothing of its own: whoever sees an error gets the page as soon as there is one."""
    if st.session_state.get("tried"):
        st.session_state["tried"] = False
        st.rerun()
    st.session_state["tried"] = True


def _empty(domain: Domain) -> None:
    command = "make demo" if domain.name == "shopstream" else f"make demo DOMAIN={domain.name}"
    st.info(
        f"**No mart of {domain.title} was built yet.** Play and build one with `{command}`, or, with a source of your "
        f"own, materialize the job `{domain.refresh_job}` in Dagster. The figures appear here by themselves.",
        icon=":material/hourglass_empty:",
    )


def _warn_of_age(domain: Domain, newest: dt.datetime) -> None:
    if _now() - newest > STALE:
        st.warning(
            f"**These figures are {_ago(newest)} old.** Nothing has built a mart since {newest:%-d %b %Y, %H:%M} UTC. "
            f"Start Dagster (`make up`), which refreshes them by itself; `shopstream status --domain {domain.name}` "
            "says what failed.",
            icon=":material/history:",
        )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def _ago(moment: dt.datetime) -> str:
    count, unit = elapsed((_now() - moment).total_seconds())
    return f"{count} {unit}{'s' if count > 1 else ''}" if count else "less than a minute"


if __name__ == "__main__":
    main()
