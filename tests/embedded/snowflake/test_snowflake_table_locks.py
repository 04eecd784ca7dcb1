import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shopstream_assets.embedded.snowflake.errors import SnowflakeError
from shopstream_assets.embedded.snowflake.locks import TableLocks


def never() -> bool:
    return False


def test_appends_share_a_table_and_other_writers_do_not() -> None:
    locks = TableLocks()
    locks.acquire("a", "T", False, 0, never)
    locks.acquire("b", "T", False, 0, never)
    with pytest.raises(SnowflakeError, match="locked table 'T'"):
        locks.acquire("c", "T", True, 0, never)


def test_one_owner_may_take_a_lock_twice_and_make_it_exclusive() -> None:
    locks = TableLocks()
    locks.acquire("a", "T", False, 0, never)
    locks.acquire("a", "T", True, 0, never)
    locks.acquire("a", "T", False, 0, never)
    with pytest.raises(SnowflakeError):
        locks.acquire("b", "T", False, 0, never)


def test_release_gives_back_everything() -> None:
    locks = TableLocks()
    for table in ("T", "U"):
        locks.acquire("a", table, True, 0, never)
    locks.release("a")
    for table in ("T", "U"):
        locks.acquire("b", table, True, 0, never)


def test_a_waiter_goes_on_when_the_lock_is_released() -> None:
    locks = TableLocks()
    locks.acquire("a", "T", True, 0, never)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(locks.acquire, "b", "T", True, 10, never)
        locks.release("a")
        waiting.result(timeout=10)


def test_a_cancelled_waiter_stops_waiting() -> None:
    locks = TableLocks()
    locks.acquire("a", "T", True, 0, never)
    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(locks.acquire, "b", "T", True, 30, cancelled.is_set)
        cancelled.set()
        with pytest.raises(SnowflakeError) as stopped:
            waiting.result(timeout=10)
    assert stopped.value.errno == 604


def test_a_deadlock_is_told_at_once() -> None:
    locks = TableLocks()
    locks.acquire("a", "T", True, 0, never)
    locks.acquire("b", "U", True, 0, never)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(locks.acquire, "a", "U", True, 20, never)
        while "a" not in locks._waiting:  # until the other thread waits; the locks' own wait is bounded
            assert not waiting.done()
        with pytest.raises(SnowflakeError, match="deadlock"):
            locks.acquire("b", "T", True, 20, never)
        locks.release("b")
        waiting.result(timeout=10)


def test_a_table_that_another_has_changed_since_the_snapshot_is_refused_until_the_next_one() -> None:
    locks = TableLocks()
    locks.takes_snapshot("a")
    locks.acquire("b", "T", True, 0, never)
    locks.acquire("b", "U", True, 0, never)
    locks.release("b", committed=True)
    with pytest.raises(SnowflakeError, match="changed table 'T'") as refused:
        locks.refuse_if_changed("a", "T")
    assert refused.value.errno == 625
    locks.refuse_if_changed("a", "V")
    locks.release("a")
    locks.takes_snapshot("a")
    locks.refuse_if_changed("a", "T")


def test_what_was_rolled_back_has_changed_nothing_and_nothing_is_remembered_for_nobody() -> None:
    locks = TableLocks()
    locks.takes_snapshot("a")
    locks.acquire("b", "T", True, 0, never)
    locks.release("b")
    locks.refuse_if_changed("a", "T")
    locks.acquire("b", "T", True, 0, never)
    locks.release("b", committed=True)
    locks.release("a")
    assert locks._committed == {}
