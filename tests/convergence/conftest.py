"""Services for the machine, kept from world to world: a world empties them when it is opened."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Mapping

import pytest
from small_shop import DAYS
from world import World

from shopstream_assets.platform.resources.postgres import PostgresResource
from shopstream_assets.summary import Services

SCHEMA = "small_shop"


@pytest.fixture(scope="session")
def small_services(local_stack: Mapping[str, str]) -> Iterator[Services]:
    with pytest.MonkeyPatch.context() as patch:
        first = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=DAYS - 1)
        patch.setenv("SHOPSTREAM_START_DATE", first.isoformat())
        yield dataclasses.replace(
            Services.of("shopstream"),
            source=PostgresResource(dsn=local_stack["SHOPSTREAM_POSTGRES_DSN"], schema_name=SCHEMA),
        )


@pytest.fixture
def open_world(small_services: Services) -> Iterator[Callable[..., World]]:
    opened: list[World] = []

    def open_one(with_models: bool = True) -> World:
        opened.append(World(small_services, with_models))
        return opened[-1]

    yield open_one
    for world in opened:
        world.close()


@pytest.fixture
def world(open_world: Callable[..., World]) -> World:
    """A shop with some rows in it, whose every layer is up to date."""
    world = open_world()
    world.fill()
    world.rest()
    return world


@pytest.fixture
def staged_world(open_world: Callable[..., World]) -> World:
    """The same as far as staging, without core and marts."""
    world = open_world(with_models=False)
    world.fill()
    world.rest()
    return world
