"""What becomes of rows that leave their day, whatever the order in which days are read: the newest snapshot decides."""

import datetime as dt
import json
from itertools import permutations

import psycopg
import pytest
from bad_input import DAYS, FIRST, LINES, NOON, Spoiled

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.lake import extraction
from shopstream_assets.platform.lake.head import SourceChanged, accept, head_key, read_head
from shopstream_assets.platform.lake.manifest import read_manifests
from shopstream_assets.platform.refresh.reconcile import reconcile
from shopstream_assets.platform.staging.change_log import staging_relation

SECOND = FIRST + ONE_DAY
THIRD = SECOND + ONE_DAY
DAY_2 = Window.day(SECOND)


@pytest.fixture
def lines(services: Services) -> Spoiled:
    """A table of two rows, on the first and the third day, that is staged for all three."""
    spoiled = Spoiled(services, LINES).create()
    spoiled.insert(id=1, note="first").insert(id=2, note="third", updated_at=f"{THIRD} 08:00+00")
    spoiled.stage(DAYS)
    return spoiled


def move(lines: Spoiled, key: int, day: dt.date, note: str) -> None:
    lines.run(f"update {{t}} set updated_at = '{day} 09:00+00', note = '{note}' where id = {key}")


@pytest.mark.parametrize("order", list(permutations((FIRST, SECOND, THIRD))), ids=lambda order: str(order[0]))
def test_a_row_that_moves_is_the_same_in_whatever_order_the_days_are_read(
    lines: Spoiled, order: tuple[dt.date, ...]
) -> None:
    move(lines, 2, SECOND, "moved back")
    move(lines, 1, THIRD, "moved on")
    for day in order:
        lines.stage(Window.day(day))
        assert {key for key, _ in lines.staged("id", "note")} == {1, 2}, "nothing may vanish in between"
    assert set(lines.staged("id", "note")) == {(1, "moved on"), (2, "moved back")}


def test_a_row_that_comes_back_to_its_day_unchanged_is_true_again(lines: Spoiled) -> None:
    move(lines, 1, SECOND, "away")
    lines.stage(DAY_2)
    lines.run(f"update {{t}} set updated_at = '{NOON}', note = 'first' where id = 1")
    lines.stage(Window.day(FIRST))
    assert (1, "first") in lines.staged("id", "note")


def test_a_deleted_row_becomes_a_tombstone_that_keeps_the_time_it_was_first_missed(lines: Spoiled) -> None:
    lines.run("delete from {t} where id = 1")
    first = lines.stage()
    assert (first.rows, first.deleted, first.history) == (0, 1, 1)
    assert lines.staged("id") == [(2,)]
    times = gone(lines)
    lines.insert(id=3)
    lines.stage()
    assert gone(lines) == times
    assert lines.staged("id") == [(2,), (3,)]


def gone(lines: Spoiled) -> list[tuple[object, ...]]:
    relation = staging_relation(lines.services.warehouse.database, LINES)
    with lines.services.warehouse.connection("REPORTING_WH") as session, session.cursor() as cursor:
        cursor.execute(f"select id, _deleted_at from {relation} where _deleted")
        return [tuple(row) for row in cursor.fetchall()]


def test_a_key_that_is_deleted_and_used_again_lives(lines: Spoiled) -> None:
    lines.run("delete from {t} where id = 1")
    lines.stage()
    lines.insert(id=1, note="again", updated_at=f"{SECOND} 10:00+00")
    lines.stage(DAY_2)
    assert (1, "again") in lines.staged("id", "note")
    lines.stage()
    assert (1, "again") in lines.staged("id", "note")


def test_a_row_that_comes_to_break_a_rule_leaves_and_returns_when_it_is_corrected(lines: Spoiled) -> None:
    lines.run(f"update {{t}} set quantity = 0, updated_at = '{SECOND} 10:00+00' where id = 1")
    lines.stage(DAY_2)
    assert lines.staged("id") == [(2,)], "what is in quarantine is in no other layer"
    lines.run("update {t} set quantity = 5 where id = 1")
    lines.stage(DAY_2)
    assert lines.staged("id", "quantity") == [(1, 5), (2, None)]


def test_the_personal_data_of_a_deleted_row_leaves_its_history(services: Services) -> None:
    from dataclasses import replace

    columns = tuple(replace(column, pii=column.name == "note") for column in LINES.columns)
    people = Spoiled(services, replace(LINES, columns=columns)).create().insert(id=1, note="Ann Smith").insert(id=2)
    people.stage()
    people.run("delete from {t} where id = 1")
    manifest = people.stage()
    kept = b"".join(services.store.get(item.key) for item in manifest.objects)
    assert manifest.history == 1
    assert b"Ann Smith" not in kept


def test_extracting_an_unchanged_day_again_publishes_nothing(lines: Spoiled) -> None:
    before = read_manifests(lines.services.store, LINES, DAYS.days)
    assert lines.extract(DAYS) == before


def test_a_rule_that_is_loosened_releases_the_rows_that_broke_it(services: Services) -> None:
    from dataclasses import replace

    lines = Spoiled(services, LINES).create().insert(id=1, note="gift", amount="1.00")
    assert lines.stage().quarantined_rows == 1
    loosened = Spoiled(services, replace(LINES, rules=()))
    now = dt.datetime.now(dt.UTC)
    everything = Window.everything(FIRST, now)
    found = reconcile(services.source, services.store, services.warehouse, loosened.table, everything)
    assert FIRST in found.days
    assert loosened.stage().quarantined_rows == 0
    assert loosened.staged("note") == [("gift",)]


# The source itself.


def test_a_loss_of_too_many_rows_stops_before_it_is_published_until_it_is_accepted(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "LOSS_FLOOR", 1)
    lines.run("truncate {t}")
    with pytest.raises(Exception, match=r"2 rows are gone .* 100% of the table, and 20% may go at once") as caught:
        lines.stage(DAYS)
    assert "shopstream accept lines" in str(caught.value)
    assert lines.staged("id") == [(1,), (2,)]
    accept(lines.services.store, LINES, dt.datetime.now(dt.UTC))
    lines.stage(DAYS)
    assert lines.staged("id") == []


def test_another_server_or_an_older_history_is_refused_until_it_is_accepted_and_then_counts_as_newer(
    lines: Spoiled,
) -> None:
    store = lines.services.store
    before = read_head(store, LINES)
    assert before
    ahead = before.lsn * 2 + 10**12
    others = {"identity": before.identity.model_copy(update={"timeline": 77})}, {"lsn": ahead, "durable": ahead}
    # The last is a head of before `durable` was kept.
    for change in (*others, {"lsn": ahead, "durable": None}):
        store.put(head_key(LINES), before.model_copy(update=change).model_dump_json().encode(), "application/json")
        lines.run("update {t} set note = 'restored' where id = 1")
        with pytest.raises(Exception, match="the source is not the one that was read before") as caught:
            lines.stage()
        assert "shopstream accept lines" in str(caught.value)
    assert (1, "first") in lines.staged("id", "note")
    accept(store, LINES, dt.datetime.now(dt.UTC))
    assert lines.stage().snapshot.startswith("0002/")
    assert (1, "restored") in lines.staged("id", "note")


def test_a_server_that_lost_the_end_of_its_log_in_a_crash_is_read_on_and_counts_as_newer(lines: Spoiled) -> None:
    store = lines.services.store
    before = read_head(store, LINES)
    assert before
    assert before.durable
    assert before.durable <= before.lsn
    # Read while much was written that was not on disk when the server crashed.
    crashed = before.model_copy(update={"lsn": before.lsn + 10**12})
    store.put(head_key(LINES), crashed.model_dump_json().encode(), "application/json")
    lines.run("update {t} set note = 'after the crash' where id = 1")

    assert lines.stage().snapshot.startswith("0002/")
    assert (1, "after the crash") in lines.staged("id", "note")


def test_a_head_that_is_damaged_says_what_to_type(lines: Spoiled) -> None:
    lines.services.store.put(head_key(LINES), b"{", "application/json")
    with pytest.raises(Exception, match="shopstream accept lines"):
        lines.extract()
    accept(lines.services.store, LINES, dt.datetime.now(dt.UTC))
    lines.extract()


def test_the_source_changed_error_is_not_tried_again() -> None:
    assert not SourceChanged("found", "next").retry


# Reconciliation.


def everything() -> Window:
    now = dt.datetime.now(dt.UTC)
    return Window.everything(FIRST, now)


def compared(lines: Spoiled) -> tuple[set[dt.date], int, int]:
    services = lines.services
    found = reconcile(services.source, services.store, services.warehouse, LINES, everything())
    return found.days & set(DAYS.days), found.gone, found.new


def test_reconciliation_finds_deleted_and_new_rows_and_nothing_where_all_is_equal(lines: Spoiled) -> None:
    assert compared(lines) == (set(), 0, 0)
    lines.run("delete from {t} where id = 1").insert(id=5, updated_at=f"{SECOND} 10:00+00")
    assert compared(lines) == ({FIRST, SECOND}, 1, 1)
    lines.stage(Window(FIRST, THIRD))
    assert compared(lines) == (set(), 0, 0)


def test_reconciliation_finds_a_row_that_rose_from_the_dead_with_a_lost_manifest(lines: Spoiled) -> None:
    """Day 1 knows the row as moved to day 2; day 2 alone knew that it was deleted, and loses all."""
    move(lines, 1, SECOND, "moved")
    lines.stage(DAYS)
    lines.run("delete from {t} where id = 1")
    lines.stage(DAY_2)
    assert lines.staged("id") == [(2,)]
    client, bucket = lines.services.store.client, lines.services.store.bucket
    for prefix in (f"raw/postgres/lines/dt={SECOND}/", f"raw/postgres/lines/_manifests/dt={SECOND}"):
        for key, _, _ in list(lines.services.store.listed(prefix)):
            client.delete_object(Bucket=bucket, Key=key)
    lines.stage(DAY_2)
    assert (1, "moved") in lines.staged("id", "note")
    days, gone_rows, _ = compared(lines)
    assert gone_rows == 1
    assert FIRST in days
    lines.stage(Window.day(FIRST))
    assert lines.staged("id") == [(2,)]
    assert compared(lines)[1:] == (0, 0)


def test_reconciliation_descends_into_the_ranges_that_differ_only(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shopstream_assets.platform.refresh import reconcile as module

    lines.run(f"insert into {{t}} (id, updated_at) select n, '{NOON}' from generate_series(10, 3000) as n")
    lines.stage()
    lines.run("delete from {t} where id in (77, 2500)")
    monkeypatch.setattr(module, "FETCH_KEYS", 1)
    fetched: list[int] = []
    keys = module._Staging.keys

    def counted(self: module._Staging, within: list[str]) -> set[str]:
        found = keys(self, within)
        fetched.append(len(found))
        return found

    monkeypatch.setattr(module._Staging, "keys", counted)
    assert compared(lines)[1] == 2
    assert fetched[0] < 20


def test_two_extractions_of_a_day_at_once_take_turns(lines: Spoiled) -> None:
    """The second waits before it chooses its snapshot, so it cannot put an older truth over a newer one."""
    import threading

    services = lines.services
    turn = f"extract {services.store.bucket}/{LINES.lake_prefix}"
    done: list[str] = []
    with psycopg.connect(services.source.dsn) as holder:
        holder.execute("select pg_advisory_lock(hashtextextended(%s, 0))", (turn,))
        second = threading.Thread(target=lambda: done.append(lines.extract()[FIRST].snapshot))
        second.start()
        while not holder.execute("select 1 from pg_locks where locktype = 'advisory' and not granted").fetchone():
            assert second.is_alive()
        lines.run("update {t} set note = 'while it waited' where id = 1")
        assert not done
    second.join(30)
    assert len(done) == 1
    lines.load()
    assert (1, "while it waited") in lines.staged("id", "note")


def test_a_slow_loader_does_not_put_older_manifests_over_newer_ones(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shopstream_assets.platform.staging import loading

    lines.run("update {t} set note = 'newer' where id = 1")
    read = loading.read_manifests
    extracted: list[object] = []

    def read_and_be_overtaken(*arguments: object) -> object:
        found = read(*arguments)  # type: ignore[arg-type]
        if not extracted:
            extracted.append(lines.extract())
        return found

    monkeypatch.setattr(loading, "read_manifests", read_and_be_overtaken)
    lines.load()
    assert (1, "newer") in lines.staged("id", "note")


def test_the_quarantine_of_an_unchanged_day_stays_in_its_manifest(lines: Spoiled) -> None:
    lines.insert(id=9, quantity=0)
    before = lines.stage()
    lines.insert(id=8, updated_at=f"{SECOND} 10:00+00")
    after = lines.extract(Window(FIRST, THIRD))[FIRST]
    assert after == before
    assert json.loads(lines.services.store.get(after.quarantine_objects[0].key).splitlines()[0])["row"]["id"] == 9
