"""Names of people and companies: a few thousand values drawn once from Faker, from which numpy then chooses.

Faker yields some thousand rows a second when called per row; choosing from its pools, some hundred thousand. Values
repeat within a pool as they do in the country: that is what makes common names common.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

LOCALES = ("fr_FR", "en_US", "de_DE", "es_ES", "it_IT")
NAMES_PER_LOCALE = 800
COMPANIES_PER_LOCALE = 100

# (country, share of customers, time zone of most of them, locale of the names used there)
COUNTRIES = (
    ("FR", 0.32, "Europe/Paris", "fr_FR"),
    ("DE", 0.17, "Europe/Berlin", "de_DE"),
    ("US", 0.14, "America/Chicago", "en_US"),
    ("ES", 0.11, "Europe/Madrid", "es_ES"),
    ("GB", 0.09, "Europe/London", "en_US"),
    ("IT", 0.06, "Europe/Rome", "it_IT"),
    ("BE", 0.05, "Europe/Brussels", "fr_FR"),
    ("CH", 0.03, "Europe/Zurich", "de_DE"),
    ("AT", 0.02, "Europe/Vienna", "de_DE"),
    ("CA", 0.01, "America/Toronto", "en_US"),
)


def columns_of(
    countries: Sequence[tuple[str, float, str, str]],
) -> tuple[tuple[str, ...], tuple[float, ...], tuple[ZoneInfo, ...], np.ndarray]:
    """Codes, shares, time zones, and positions in LOCALES of countries that are given as COUNTRIES is."""
    codes, shares, zones, locales = zip(*countries, strict=True)
    return codes, shares, tuple(map(ZoneInfo, zones)), np.array([LOCALES.index(locale) for locale in locales])


COUNTRY_CODES, COUNTRY_SHARES, COUNTRY_ZONES, LOCALE_OF_COUNTRY = columns_of(COUNTRIES)

# Reserved for documentation by RFC 2606: mail to them reaches nobody.
MAIL_DOMAINS = ("example.com", "example.org", "example.net")


@dataclass(frozen=True)
class Pools:
    """Drawn values, one locale after the other; the slugs are the names as written in an e-mail address."""

    first_names: pa.Array
    last_names: pa.Array
    first_slugs: pa.Array
    last_slugs: pa.Array
    companies: pa.Array


@functools.lru_cache(maxsize=4)
def pools(seed: int) -> Pools:
    """The pools of a seed; they take about 0.15 s, once per process, besides the import of Faker."""
    from faker import Faker

    first: list[str] = []
    last: list[str] = []
    companies: list[str] = []
    for locale in LOCALES:
        # Two providers of its thirty: the others' word lists would take most of the time.
        fake = Faker(locale, providers=["faker.providers.person", "faker.providers.company"])
        fake.seed_instance(seed)
        first += [fake.first_name() for _ in range(NAMES_PER_LOCALE)]
        last += [fake.last_name() for _ in range(NAMES_PER_LOCALE)]
        companies += [fake.company() for _ in range(COMPANIES_PER_LOCALE)]
    return Pools(
        pa.array(first), pa.array(last), pa.array(map(_slug, first)), pa.array(map(_slug, last)), pa.array(companies)
    )


def name_indices(rng: np.random.Generator, country: np.ndarray) -> np.ndarray:
    """Indices into a pool of names, of the locale of each country."""
    return LOCALE_OF_COUNTRY[country] * NAMES_PER_LOCALE + rng.integers(NAMES_PER_LOCALE, size=len(country))


def company_indices(rng: np.random.Generator, country: np.ndarray) -> np.ndarray:
    """Indices into the pool of companies, of the locale of each country."""
    return LOCALE_OF_COUNTRY[country] * COMPANIES_PER_LOCALE + rng.integers(COMPANIES_PER_LOCALE, size=len(country))


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return "".join(letter for letter in plain if letter.isalnum()) or "x"
