"""What customers pay in, and what that is worth: a rate of each currency is fixed every working day."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa

from shopstream_assets.domains.shopstream.tables import EXCHANGE_RATES
from shopstream_assets.simulation import arrow
from shopstream_assets.simulation.names import COUNTRY_CODES
from shopstream_assets.simulation.world import HOUR, MINUTE, World

# (currency, country that pays in it, EUR for one unit in the long run); the other countries pay in EUR.
CURRENCIES = (("CAD", "CA", 0.66), ("CHF", "CH", 1.05), ("GBP", "GB", 1.16), ("USD", "US", 0.91))
CODES = ("EUR", *(code for code, _, _ in CURRENCIES))
# Position in CODES of what each country pays in.
_PAID_IN = {country: 1 + number for number, (_, country, _) in enumerate(CURRENCIES)}
CURRENCY_OF_COUNTRY = np.array([_PAID_IN.get(code, 0) for code in COUNTRY_CODES], dtype=np.int8)

# Waves by which a rate swings around its long run: their length in days, and their height as a share of the rate.
WAVES = ((701, 0.035), (173, 0.020), (37, 0.008), (11, 0.004))
# When the rates of a day are fixed, in UTC; they hold from the next day on.
FIXED_AT = 15 * HOUR
# Decimals that rates are quoted with.
QUOTED = 5
SATURDAY = 5


class Currencies:
    """The rates of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._phases = world.rng("exchange_rates").uniform(0, 2 * np.pi, (len(CURRENCIES), len(WAVES)))

    def in_cents(self, euros: np.ndarray, currency: np.ndarray, day: int) -> np.ndarray:
        """Cents of EUR in cents of each one's currency (position in CODES), at the rate that holds on `day`."""
        rates = np.array([1.0, *self._fixed_on(self._last_fixing_before(day))])
        return np.round(euros / rates[currency]).astype(np.int64)

    def changes(self, first: int, last: int) -> pa.Table:
        """Rates fixed on days `first` to `last` excluded; none ever changes."""
        ids: list[int] = []
        currencies: list[str] = []
        from_when: list[dt.date] = []
        rates: list[float] = []
        created: list[int] = []
        for day in range(first, last):
            fixings = []
            if day == 0:
                # The store opens with rates. In zones behind UTC its first orders are of the day before.
                fixings.append((self._last_fixing_before(0), self._world.date_of(-1), MINUTE))
            if self._is_working(day):
                fixings.append((day, self._world.date_of(day + 1), FIXED_AT))
            for fixing, valid_from, at in fixings:
                rates += self._fixed_on(fixing)
                currencies += CODES[1:]
                from_when += [valid_from] * len(CURRENCIES)
                created += [self._world.midnight(day) + at] * len(CURRENCIES)
            ids += self._world.ids(day, len(fixings) * len(CURRENCIES)).tolist()
        at = arrow.timestamps(np.array(created, dtype=np.int64))
        return arrow.table(
            EXCHANGE_RATES,
            {
                "id": np.array(ids, dtype=np.int64),
                "currency": pa.array(currencies, pa.string()),
                "valid_from": pa.array(from_when, pa.date32()),
                "eur_per_unit": pa.array([Decimal(f"{rate:.8f}") for rate in rates], pa.decimal128(18, 8)),
                "created_at": at,
                "updated_at": at,
            },
        )

    def _is_working(self, day: int) -> bool:
        return self._world.date_of(day).weekday() < SATURDAY

    def _last_fixing_before(self, day: int) -> int:
        return next(before for before in range(day - 1, day - 4, -1) if self._is_working(before))

    def _fixed_on(self, day: int) -> list[float]:
        """EUR for one unit of each of CURRENCIES as fixed on a day, which may lie before the store's first."""
        days = (self._world.date_of(day) - dt.date(2000, 1, 1)).days
        lengths, heights = np.array(WAVES).T
        swing = (heights * np.sin(2 * np.pi * days / lengths + self._phases)).sum(axis=1)
        return [round(float(rate), QUOTED) for rate in np.array([rate for _, _, rate in CURRENCIES]) * np.exp(swing)]
