"""The administrator's SQL of each domain, parsed once."""

from __future__ import annotations

import logging

import pytest
from account_sql import Grants, Statement, add_up, parse_all

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.registry import domains


@pytest.fixture(scope="session", params=domains(), ids=lambda domain: domain.name)
def domain(request: pytest.FixtureRequest) -> Domain:
    return request.param


@pytest.fixture(scope="session")
def statements(domain: Domain) -> list[Statement]:
    # sqlglot warns of every statement that it only knows by its first word; a test lists those that may be.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    return parse_all(domain.name)


@pytest.fixture(scope="session")
def grants(statements: list[Statement]) -> Grants:
    return add_up(statements)
