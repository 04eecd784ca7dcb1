import datetime as dt

import dagster as dg
import pytest
from bad_input import retried, told

from shopstream_assets.platform.declare.partitions import ONE_DAY, Window, daily
from shopstream_assets.platform.hosting.retries import RETRY

TODAY = dt.datetime.now(dt.UTC).date()


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


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        ("2026-02-20", "2026-03-02", "only the days 2026-03-01 to "),
        ("2026-02-20", "2026-02-22", "only the days 2026-03-01 to "),
        (str(TODAY), str(TODAY + 3 * ONE_DAY), f"only the days 2026-03-01 to {TODAY} exist; no work was done."),
        ("2026-03-02", "2026-03-01", "the range ends before it begins. Next: launch days in their order"),
    ],
)
def test_a_range_of_days_that_do_not_all_exist_is_refused_before_any_work(start: str, end: str, found: str) -> None:
    worked = []

    @dg.asset(
        partitions_def=daily(dt.date(2026, 3, 1)), backfill_policy=dg.BackfillPolicy.single_run(), retry_policy=RETRY
    )
    def orders(context: dg.AssetExecutionContext) -> None:
        worked.append(Window.of(context))

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [orders],
            tags={"dagster/asset_partition_range_start": start, "dagster/asset_partition_range_end": end},
            instance=instance,
            raise_on_error=False,
        )
    assert not result.success
    assert not retried(result)
    assert worked == []
    assert told(result).startswith(f"orders, partition {start}..{end}: taking the days of the run: {found}")


def test_a_range_of_days_that_exist_is_one_window() -> None:
    worked = []

    @dg.asset(partitions_def=daily(dt.date(2026, 3, 1)), backfill_policy=dg.BackfillPolicy.single_run())
    def orders(context: dg.AssetExecutionContext) -> None:
        worked.append(Window.of(context))

    tags = {"dagster/asset_partition_range_start": "2026-03-01", "dagster/asset_partition_range_end": "2026-03-03"}
    assert dg.materialize([orders], tags=tags, instance=dg.DagsterInstance.ephemeral()).success
    assert worked == [Window(dt.date(2026, 3, 1), dt.date(2026, 3, 4), from_start=True)]


def test_a_part_of_a_window_begins_at_the_start_or_is_open_only_where_the_whole_is_and_it_reaches_there() -> None:
    first, now = dt.date(2026, 3, 1), dt.datetime(2026, 3, 9, 12, tzinfo=dt.UTC)
    whole = Window.everything(first, now)
    assert whole == Window(first, dt.date(2026, 3, 10), open_ended=True, from_start=True)
    assert whole.part(first, dt.date(2026, 3, 5)) == Window(first, dt.date(2026, 3, 5), from_start=True)
    assert whole.part(dt.date(2026, 3, 5), dt.date(2027, 1, 1)) == Window(
        dt.date(2026, 3, 5), dt.date(2026, 3, 10), open_ended=True
    )
    closed = Window(first, dt.date(2026, 3, 10))
    assert closed.part(first, dt.date(2026, 3, 10)) == closed
    with pytest.raises(ValueError, match="holds no day"):
        closed.part(dt.date(2026, 4, 1), dt.date(2026, 4, 2))
    before_the_first = Window.everything(dt.date(2026, 4, 1), now)
    assert before_the_first == Window(now.date(), dt.date(2026, 3, 10), open_ended=True, from_start=True)
