"""The environment, as typed settings. Nothing has a default that could reach a wrong account or database.

Secrets and addresses are not here: resources read those themselves, when they connect, so that definitions load
without them and they never show in the UI.
"""

import datetime as dt
import os
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SourceMode = Literal["simulated", "live"]


class SettingsError(Exception):
    """The environment lacks a variable or holds a value that cannot be right."""


class DomainSettings(BaseModel):
    """What a domain is told by its environment.

    `source_mode`: `simulated` plays a store into Postgres, `live` only reads the user's own tables.
    `start_date`: first partition (UTC day). `scale` and `seed` shape the simulated store only. `repair_attempts`: how
    often a failed or missing day of an asset is asked for by itself before it is left to people; 0: never.
    """

    model_config = ConfigDict(frozen=True)

    source_mode: SourceMode
    start_date: dt.date
    scale: float = Field(default=1.0, gt=0)
    seed: int = Field(default=42, ge=0)
    repair_attempts: int = Field(default=2, ge=0)


def domain_settings(domain: str, environment: Mapping[str, str] = os.environ) -> DomainSettings:
    """Settings of `domain` from variables that begin with its name, as SHOPSTREAM_START_DATE.

    Raises SettingsError, naming every variable that is missing or wrong and what it should hold.
    """
    prefix = f"{domain.upper()}_"
    values = {
        name: environment[prefix + name.upper()]
        for name in DomainSettings.model_fields
        if environment.get(prefix + name.upper(), "") != ""
    }
    try:
        return DomainSettings.model_validate(values)
    except ValidationError as error:
        problems = [
            f"{prefix}{str(problem['loc'][0]).upper()}: {problem['msg'].lower()}"
            + (f", found {problem['input']!r}" if problem["type"] != "missing" else "")
            for problem in error.errors()
        ]
        raise SettingsError(
            f"reading the settings of {domain}: {'; '.join(problems)}. "
            "Next: set them as .env.example describes, or start the local stack with `shopstream stack up`, "
            "which writes them to .shopstream/env."
        ) from None
