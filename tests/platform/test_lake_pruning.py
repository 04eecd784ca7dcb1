"""Objects that no manifest names are deleted after a while, and no others, whatever else happens to the table."""

from __future__ import annotations

import datetime as dt
import random
import threading
from collections.abc import Callable
from dataclasses import replace

import dagster as dg
import psycopg
import pytest
from bad_input import DAY, DAYS, FIRST, LINES, Spoiled
from dagster_process import wait_for

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.lake.extraction import its_turn
from shopstream_assets.platform.lake.manifest import Manifest, read_manifests, write_manifest
from shopstream_assets.platform.lake.superseded import delete_superseded
from shopstream_assets.platform.lake.verification import lake_differences
from shopstream_assets.platform.operate.lake_pruning import prune_lake

NOON = dt.datetime(2026, 3, 9, 12, tzinfo=dt.UTC)
FOLDER = f"{LINES.lake_prefix}/dt={FIRST}"
STRAY = f"{FOLDER}/current-00000-of-a-killed-extraction.parquet"


@pytest.fixture
def lines(services: Services) -> Spoiled:
    return Spoiled(services, LINES).create().insert(id=1, note="old")


def prune(lines: Spoiled, now: dt.datetime = NOON, before: dt.datetime | None = None) -> int:
    """As the job does it; of all that is superseded now, unless `before` says otherwise."""
    return delete_superseded(lines.services.source, lines.services.store, lines.table, before or now, now)


def stored(lines: Spoiled) -> set[str]:
    prefixes = (lines.table.lake_prefix, lines.table.quarantine_prefix)
    return {key for prefix in prefixes for key, *_ in lines.services.store.listed(f"{prefix}/dt=")}


def manifests(lines: Spoiled) -> list[Manifest]:
    found = read_manifests(lines.services.store, lines.table, DAYS.days).values()
    return [manifest for manifest in found if manifest]


def named(lines: Spoiled) -> set[str]:
    return {item.key for found in manifests(lines) for item in (*found.objects, *found.quarantine_objects)}


def put(lines: Spoiled, key: str) -> None:
    lines.services.store.put(key, b"nothing", "application/octet-stream")


def lose(lines: Spoiled, key: str) -> None:
    lines.services.store.client.delete_object(Bucket=lines.services.store.bucket, Key=key)


def test_what_a_newer_extraction_took_the_place_of_goes_and_what_is_named_stays(lines: Spoiled) -> None:
    lines.insert(id=2, note="gift", amount=1).extract()
    before = stored(lines)
    lines.insert(id=3, note="gift", amount=2).stage()
    assert len(before) == 3, "an object, one in quarantine, and a marker of its key"

    assert prune(lines) == 3

    assert stored(lines) == named(lines)
    assert not stored(lines) & before
    assert prune(lines) == 0
    lines.load()
    assert lines.staged("id", "note") == [(1, "old")]
    assert [line["row"]["id"] for line in lines.quarantined(manifests(lines)[0])] == [2, 3]


def test_each_is_kept_for_a_day_from_when_it_was_found_however_often_its_day_is_published_anew(lines: Spoiled) -> None:
    def superseded() -> set[str]:
        return stored(lines) - named(lines)

    lines.extract()
    lines.insert(id=2).extract()
    first = superseded()
    assert prune(lines, NOON, NOON - ONE_DAY) == 0
    lines.insert(id=3).extract()
    second = superseded() - first
    assert first
    assert second

    later = NOON + dt.timedelta(hours=24)
    assert prune(lines, later, later - ONE_DAY) == len(first)
    assert superseded() == second
    assert prune(lines, later, later - dt.timedelta(seconds=1)) == 0
    assert prune(lines, later + ONE_DAY, later) == len(second)
    assert superseded() == set()


def test_what_is_named_once_more_meanwhile_counts_from_anew(lines: Spoiled) -> None:
    lines.extract()
    put(lines, STRAY)
    [manifest] = manifests(lines)
    assert prune(lines, NOON, NOON - ONE_DAY) == 0
    publish(lines, manifest, STRAY)
    lose(lines, manifest.objects[0].key)
    assert prune(lines, NOON + ONE_DAY, NOON) == 0

    put(lines, manifest.objects[0].key)
    publish(lines, manifest, manifest.objects[0].key)

    assert prune(lines, NOON + 2 * ONE_DAY, NOON + ONE_DAY) == 0
    assert STRAY in stored(lines)


def publish(lines: Spoiled, manifest: Manifest, key: str) -> None:
    """The manifest, with another object in the place of its only one."""
    [item] = manifest.objects
    [etag] = [etag for _, _, etag in lines.services.store.listed(lines.manifest_key())]
    changed = manifest.model_copy(update={"objects": (item.model_copy(update={"key": key}),)})
    write_manifest(lines.services.store, LINES, changed, etag)


def test_an_object_that_is_published_while_it_waits_for_the_extraction_stays(lines: Spoiled) -> None:
    lines.extract()
    put(lines, STRAY)
    [manifest] = manifests(lines)
    pruned = list[int]()
    with lines.services.source.snapshot(alone=its_turn(lines.services.store, LINES)):
        pruning = threading.Thread(target=lambda: pruned.append(prune(lines)))
        pruning.start()
        wait_for(lambda: waits(lines), "the pruning to wait for its turn", 30)
        publish(lines, manifest, STRAY)
    pruning.join(30)

    assert pruned == [0]
    assert STRAY in stored(lines)


def waits(lines: Spoiled) -> bool:
    with psycopg.connect(lines.services.source.dsn, autocommit=True) as connection:
        found = connection.execute("select count(*) from pg_locks where locktype = 'advisory' and not granted")
        return bool((found.fetchone() or (0,))[0])


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lose(lines, lines.manifest_key()),
        lambda lines: put(lines, lines.manifest_key()),
        lambda lines: lose(lines, manifests(lines)[0].objects[0].key),
    ],
    ids=["is lost", "cannot be read", "names what is lost"],
)
def test_a_day_whose_manifest(lines: Spoiled, damage: Callable[[Spoiled], None]) -> None:
    """... is damaged keeps all that lies there, which may be needed to put it right."""
    lines.insert(id=2, updated_at=f"{FIRST + ONE_DAY} 10:00+00").extract(DAYS)
    lines.insert(id=3).extract()
    put(lines, other := f"{LINES.lake_prefix}/dt={FIRST + ONE_DAY}/stray.parquet")
    damage(lines)
    before = stored(lines)

    assert prune(lines) == 1

    assert stored(lines) == before - {other}


def test_what_is_no_partition_of_the_table_is_left_alone(lines: Spoiled) -> None:
    lines.extract()
    foreign = {f"{LINES.lake_prefix}/dt={day}/rows.parquet" for day in ("backup", "20260301", "2026-03-01-old")}
    for key in foreign:
        put(lines, key)
    assert prune(lines) == 0
    assert stored(lines) == named(lines) | foreign


def test_a_day_that_lost_its_manifest_after_it_was_pruned_is_read_again_with_its_history(lines: Spoiled) -> None:
    lines.insert(id=2, note="gone").stage()
    lines.run("delete from {t} where id = 2").stage()
    assert prune(lines) > 0
    assert [item.kind for item in manifests(lines)[0].objects] == ["current", "departed", "history"]
    lose(lines, lines.manifest_key())

    again = lines.stage()

    assert (again.rows, again.deleted, again.history) == (1, 1, 1)
    assert not list(lake_differences(lines.services.store, [again]))
    assert lines.staged("id") == [(1,)]


def test_a_quarantine_that_has_expired_is_no_damage_of_a_day_that_still_names_it(lines: Spoiled) -> None:
    lines.insert(id=2, note="gift", amount=1)
    [item] = lines.extract()[FIRST].quarantine_objects
    lose(lines, item.key)

    assert lines.materialize("lake", DAY).success
    assert not list(lake_differences(lines.services.store, manifests(lines)))


@pytest.mark.parametrize("seed", range(3))
def test_in_whatever_order_it_comes_every_object_that_is_named_is_there_and_at_the_end_no_other(
    lines: Spoiled, seed: int
) -> None:
    chance = random.Random(seed)
    for step in range(30):
        act, day = chance.choice("ccceeeespl"), FIRST + chance.randrange(3) * ONE_DAY
        key = chance.randrange(8)
        if act == "c":
            lines.run(f"delete from {{t}} where id = {key}")
            if chance.random() < 0.8:
                note, amount = chance.choice([("gift", 1), ("gift", 0), (f"at {step}", 2)])
                lines.insert(id=key, note=note, amount=amount, updated_at=f"{day} 10:00+00")
        elif act == "e":
            lines.extract(chance.choice([Window.day(day), DAYS]))
        elif act == "s":
            lines.stage(DAYS)
        elif act == "l":
            lose(lines, lines.manifest_key(day))
        else:
            prune(lines, NOON + step * ONE_DAY, NOON + (step - chance.randrange(2)) * ONE_DAY)
        assert not list(lake_differences(lines.services.store, manifests(lines))), f"after step {step}: {act}"
    lines.stage(DAYS)
    prune(lines, NOON + 40 * ONE_DAY)
    assert stored(lines) == named(lines)
    lines.load(DAYS)


def test_the_job_prunes_every_table_of_what_an_earlier_one_found(lines: Spoiled) -> None:
    other = Spoiled(lines.services, replace(LINES, name="others")).create().insert(id=1)
    for spoiled in (lines, other):
        spoiled.extract()
        put(spoiled, f"{spoiled.table.lake_prefix}/dt={FIRST}/stray.parquet")
    domain = Domain("shop", (LINES, other.table), simulator=lambda _: pytest.fail("nothing is simulated"))
    resources = {"source": lines.services.source, "store": lines.services.store}
    job = dg.Definitions(jobs=[prune_lake(domain)], resources=resources).resolve_job_def("prune_lake_shop")
    at_once = {"ops": {"shop__prune_lake": {"config": {"days_kept": 1e-9}}}}

    assert job.execute_in_process(run_config=at_once).success
    assert len(stored(lines) - named(lines)) == len(stored(other) - named(other)) == 1
    assert job.execute_in_process().success
    assert len(stored(lines) - named(lines)) == len(stored(other) - named(other)) == 1, "a day has not passed"
    assert job.execute_in_process(run_config=at_once).success
    assert stored(lines) - named(lines) == stored(other) - named(other) == set()
