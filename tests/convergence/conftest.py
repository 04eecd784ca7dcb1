"""Services for the machine, kept from world to world: a world empties them when it is opened."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module

import pytest
from small_shop import DAYS, impatient
from world import World

from shopstream_assets.cli.summary import Services
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.platform.sources.postgres.resource import PostgresResource

SCHEMA = "small_shop"


@pytest.fixture(scope="session")
def small_services(local_stack: Mapping[str, str]) -> Services:
    # With the days of the stack, as other tests of this process know it, not with those of the small shop.
    import_module("shopstream_assets.domains.shopstream.definitions")
    return dataclasses.replace(
        Services.of(SHOPSTREAM),
        source=PostgresResource(dsn=impatient(local_stack["SHOPSTREAM_POSTGRES_DSN"]), schema_name=SCHEMA),
    )


@pytest.fixture(autouse=True)
def start_date(monkeypatch: pytest.MonkeyPatch) -> None:
    first = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=DAYS - 1)
    monkeypatch.setenv("SHOPSTREAM_START_DATE", first.isoformat())


@pytest.fixture(scope="session")
def worlds(small_services: Services) -> Iterator[Callable[[bool], World]]:
    """Opens a world, or gives back the last one of its kind where its test left it at rest: that saves the filling."""
    last: list[World] = []

    def world(with_models: bool) -> World:
        if last and last[-1].is_at_rest and last[-1].with_models == with_models:
            return last[-1]
        if last:
            last.pop().close()
        last.append(World(small_services, with_models))
        last[-1].fill()
        last[-1].rest()
        return last[-1]

    yield world
    for each in last:
        each.close()


@pytest.fixture
def world(worlds: Callable[[bool], World]) -> World:
    """A shop whose every layer is up to date, with the rows of `fill` as far as earlier tests left them."""
    return worlds(True)


@pytest.fixture
def staged_world(worlds: Callable[[bool], World]) -> World:
    """A shop with exactly the rows of `fill`, up to date as far as staging; it has no core and marts."""
    world = worlds(False)
    world.restore()
    world.rest()
    return world
