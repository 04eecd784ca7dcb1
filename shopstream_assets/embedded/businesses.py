"""What the stack keeps of each domain: where its data is, and the settings of its demo."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shopstream_assets.embedded.errors import StackError
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.settings import is_time_zone

HISTORY = dt.timedelta(days=90)


@dataclass
class Business:
    """A domain on this stack. What it was given at first stays, since its data is there."""

    name: str
    prefix: str
    source_database: str
    bucket: str
    database: str
    database_variable: str
    integration: str
    integration_variable: str
    source_mode: str
    start_date: str
    scale: str
    seed: str
    # Last, for a stack that was made before there were any remembers none.
    reporting_time_zone: str = "UTC"
    growth: str = "1"

    @classmethod
    def of(cls, domain: Domain) -> Business:
        """A domain that is new here: the simulated one, over the last 90 days where it says no start itself."""
        return cls(
            name=domain.name,
            prefix=domain.prefix,
            source_database=domain.source_database,
            bucket=domain.bucket,
            database=domain.database,
            database_variable=domain.database_variable,
            integration=domain.integration,
            integration_variable=domain.integration_variable,
            source_mode="simulated",
            start_date=str(domain.start_date or dt.datetime.now(dt.UTC).date() - HISTORY),
            scale="1",
            seed="42",
        )

    def adopt(self, environ: Mapping[str, str]) -> None:
        """Take over the settings a user may choose; what the shell sets wins and is remembered."""
        for name, is_valid, expected in CHOICES:
            variable = f"{self.prefix}_{name.upper()}"
            if not (value := environ.get(variable)):
                continue
            if not is_valid(value):
                raise StackError(f"Reading {variable}: found {value!r}, expected {expected}. Correct it or unset it.")
            setattr(self, name, value)

    def environment(self, server: str) -> dict[str, str]:
        """The variables of this domain alone; `server` is user, password and address of PostgreSQL."""
        return {
            f"{self.prefix}_SOURCE_MODE": self.source_mode,
            f"{self.prefix}_START_DATE": self.start_date,
            f"{self.prefix}_REPORTING_TIME_ZONE": self.reporting_time_zone,
            f"{self.prefix}_SCALE": self.scale,
            f"{self.prefix}_GROWTH": self.growth,
            f"{self.prefix}_SEED": self.seed,
            f"{self.prefix}_POSTGRES_DSN": f"postgresql://{server}/{self.source_database}",
            f"{self.prefix}_POSTGRES_SCHEMA": "public",
            f"{self.prefix}_LAKE_BUCKET": self.bucket,
            self.database_variable: self.database,
            self.integration_variable: self.integration,
        }


def _is_date(value: str) -> bool:
    try:
        return dt.date.fromisoformat(value).isoformat() == value and value <= dt.datetime.now(dt.UTC).date().isoformat()
    except ValueError:
        return False


def _is_positive(value: str) -> bool:
    try:
        return 0 < float(value) < float("inf")
    except ValueError:
        return False


CHOICES: list[tuple[str, Callable[[str], bool], str]] = [
    ("source_mode", lambda value: value in ("simulated", "live"), "simulated or live"),
    ("start_date", _is_date, "a day, YYYY-MM-DD, not in the future (UTC)"),
    ("reporting_time_zone", is_time_zone, "a time zone, as UTC or Europe/Berlin"),
    ("scale", _is_positive, "a number above zero"),
    ("growth", _is_positive, "a number above zero"),
    ("seed", lambda value: bool(re.fullmatch(r"\d+", value)), "a whole number, 0 or more"),
]
