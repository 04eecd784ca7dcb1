"""What is taken along from a page, and the days that it compares."""

import datetime as dt
import io

import pandas as pd
import pytest

from shopstream_assets.dashboards.periods import Period, latest
from shopstream_assets.dashboards.spreadsheet import csv


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@sum(A1)", "\t=1", "\r=1", '=HYPERLINK("http://a","b")'])
def test_text_that_a_spreadsheet_would_compute_begins_with_an_apostrophe(cell: str) -> None:
    read = csv(pd.DataFrame({cell: [cell]})).decode("utf-8-sig")
    assert pd.read_csv(io.StringIO(read), lineterminator="\n").iloc[0, 0] == f"'{cell}"
    assert read.lstrip('"').startswith("'")


def test_numbers_and_days_stay_what_they_are_also_below_zero() -> None:
    table = pd.DataFrame({"eur": [-1.5], "day": [pd.Timestamp("2026-11-05")], "name": ["Büro-Stuhl"], "none": [None]})
    assert csv(table).decode("utf-8-sig") == "eur,day,name,none\n-1.5,2026-11-05,Büro-Stuhl,\n"


def test_a_period_is_compared_with_as_many_days_right_before_it() -> None:
    november = Period(dt.date(2026, 11, 1), dt.date(2026, 11, 28))
    assert november.before == Period(dt.date(2026, 10, 4), dt.date(2026, 10, 31))
    assert november.before.days == november.days == 28
    assert latest(november, 7) == Period(dt.date(2026, 11, 22), dt.date(2026, 11, 28))
    assert latest(november, 365) == november
