"""The administrator's SQL, parsed once."""

from __future__ import annotations

import logging

import pytest
from account_sql import Grants, Statement, add_up, parse_all


@pytest.fixture(scope="session")
def statements() -> list[Statement]:
    # sqlglot warns of every statement that it only knows by its first word; a test lists those that may be.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    return parse_all()


@pytest.fixture(scope="session")
def grants(statements: list[Statement]) -> Grants:
    return add_up(statements)
