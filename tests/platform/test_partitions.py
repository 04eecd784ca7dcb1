import datetime as dt

import pytest

from shopstream_assets.platform.partitions import Window, daily


def test_a_window_is_half_open() -> None:
    window = Window(dt.date(2026, 2, 27), dt.date(2026, 3, 1))
    assert list(window.days) == [dt.date(2026, 2, 27), dt.date(2026, 2, 28)]
    assert str(window) == "2026-02-27..2026-02-28"


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no day"):
        Window(dt.date(2026, 1, 1), dt.date(2026, 1, 1))


def test_partitions_are_utc_days_up_to_today() -> None:
    keys = daily(dt.date(2026, 1, 1)).get_partition_keys(current_time=dt.datetime(2026, 1, 3, 23, 59, tzinfo=dt.UTC))
    assert keys == ["2026-01-01", "2026-01-02", "2026-01-03"]
