"""Reads the environment. Nothing has a default that could reach a wrong account or database.

Secrets and addresses are not here: resources read those themselves, when they connect, so that definitions load
without them and they never show in the UI.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.settings import DomainSettings


class SettingsError(Exception):
    """The environment lacks a variable or holds a value that cannot be right."""


def domain_settings(domain: Domain) -> DomainSettings:
    """Settings of `domain` from variables that begin with its prefix, as SHOPSTREAM_START_DATE.

    Raises SettingsError, naming every variable that is missing or wrong and what it should hold.
    """
    given: dict[str, Any] = {"_env_prefix": f"{domain.prefix}_"}
    if domain.start_date:
        given["start_date"] = domain.start_date
    try:
        return DomainSettings(**given)
    except ValidationError as error:
        problems = [
            f"{domain.variable(str(problem['loc'][0]).upper())}: {problem['msg'].lower()}"
            + (f", found {problem['input']!r}" if problem["type"] != "missing" else "")
            for problem in error.errors()
        ]
        raise SettingsError(
            f"reading the settings of {domain.name}: {'; '.join(problems)}. "
            "Next: set them as .env.example describes, or start the local stack with `shopstream stack up`, "
            "which writes them to .shopstream/env."
        ) from None


def variable_of(domain: Domain, name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The variable that tells a domain something about a service that it shares with others.

    That of the domain alone where it is set (STREAMVISION_SNOWFLAKE_ROLE), else the one of all (SNOWFLAKE_ROLE).
    """
    own = domain.variable(name)
    return own if environment.get(own) else name


def lake_bucket(domain: Domain, environment: Mapping[str, str] = os.environ) -> str:
    """The domain's bucket: <PREFIX>_LAKE_BUCKET, or the one that it declares."""
    return environment.get(domain.variable("LAKE_BUCKET")) or domain.bucket


def warehouse_database(domain: Domain, environment: Mapping[str, str] = os.environ) -> str:
    """The domain's database in the warehouse: what its variable says, or the one that it declares."""
    return environment.get(domain.database_variable) or domain.database


def storage_integration(domain: Domain, environment: Mapping[str, str] = os.environ) -> str:
    """The integration that lets the warehouse read the domain's bucket: what its variable says, or what it declares."""
    return environment.get(domain.integration_variable) or domain.integration


def reporting_time_zone(domain: Domain, environment: Mapping[str, str] = os.environ) -> str:
    """The zone whose days are dates in the domain's marts: what its variable says, or UTC."""
    return environment.get(domain.variable("REPORTING_TIME_ZONE")) or "UTC"
