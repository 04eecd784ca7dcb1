"""What a domain is told by its environment, and the names that are the same for every domain."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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


class DomainSettings(BaseModel):
    """What a domain is told by its environment.

    `source_mode`: `simulated` plays a store into Postgres, `live` only reads the user's own tables.
    `start_date`: first partition (UTC day). `reporting_time_zone`: the zone whose days are dates in facts and marts, as
    the IANA database names it ("Europe/Berlin"); a partition is a UTC day all the same. `scale`, `seed` and
    `growth` (how many times as much comes anew a year later) shape the simulated store only. `repair_attempts`: how
    often a failed or missing day of an asset is asked for by itself before it is left to people; 0: never.
    """

    model_config = ConfigDict(frozen=True)

    source_mode: SourceMode
    start_date: dt.date
    reporting_time_zone: Annotated[str, AfterValidator(_known)] = "UTC"
    scale: float = Field(default=1.0, gt=0)
    growth: float = Field(default=1.0, gt=0)
    seed: int = Field(default=42, ge=0)
    repair_attempts: int = Field(default=2, ge=0)
