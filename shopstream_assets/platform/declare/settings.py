"""What a domain is told by its environment, and the names that are the same for every domain."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

SourceMode = Literal["simulated", "live"]
# Of the warehouse, whatever the business: the virtual warehouses of the account, and the schemas of each database.
LOADING, TRANSFORMING, REPORTING = WAREHOUSES = ("LOADING_WH", "TRANSFORMING_WH", "REPORTING_WH")
SCHEMAS = ("RAW", "STAGING", "CORE", "MARTS")


def is_time_zone(name: str) -> bool:
    """Whether the IANA database knows a zone of that name."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _known(zone: str) -> str:
    if not is_time_zone(zone):
        raise ValueError("should be a time zone as 'UTC' or 'Europe/Berlin'")
    return zone


class DomainSettings(BaseSettings):
    """What a domain is told by its environment.

    `source_mode`: `simulated` plays a store into Postgres, `live` only reads the user's own tables.
    `start_date`: first partition (UTC day). `reporting_time_zone`: the zone whose days are dates in facts and marts, as
    the IANA database names it ("Europe/Berlin"); a partition is a UTC day all the same. `scale`, `seed` and
    `growth` (how many times as much comes anew a year later) shape the simulated store only. `repair_attempts`: how
    often a failed or missing day of an asset is asked for by itself before it is left to people; 0: never.
    """

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    source_mode: SourceMode
    start_date: dt.date
    reporting_time_zone: Annotated[str, AfterValidator(_known)] = "UTC"
    scale: float = Field(default=1.0, gt=0)
    growth: float = Field(default=1.0, gt=0)
    seed: int = Field(default=42, ge=0)
    repair_attempts: int = Field(default=2, ge=0)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, read where `_env_prefix` names a domain, comes before what the domain declares."""
        named = isinstance(env_settings, EnvSettingsSource) and env_settings.env_prefix
        return (env_settings, init_settings) if named else (init_settings,)
