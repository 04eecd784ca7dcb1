"""Objects that no manifest names are deleted after a while, and no others, whatever else happens to the table."""

from __future__ import annotations

import datetime as dt
import random
import threading
from dataclasses import replace

import dagster as dg
import psycopg
import pytest
from bad_input import DAYS, FIRST, LINES, Spoiled, told
from dagster_process import wait_for

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.lake.extraction import its_turn
from shopstream_assets.platform.lake.manifest import Manifest, ManifestDamaged, read_manifests, write_manifest
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.lake.superseded import delete_superseded
from shopstream_assets.platform.lake.verification import lake_differences
from shopstream_assets.platform.operate.lake_pruning import prune_lake

STRAY = f"{LINES.lake_prefix}/dt={FIRST}/current-00000-of-a-killed-extraction.parquet"


@pytest.fixture
def lines(services: Services) -> Spoiled:
    return Spoiled(services, LINES).create().insert(id=1, note="old")


def later() -> dt.datetime:
    """A moment at which all that is there now is old."""
    return dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)


def prune(lines: Spoiled, before: dt.datetime | None = None) -> int:
    return delete_superseded(lines.services.source, lines.services.store, lines.table, before or later())


def stored(lines: Spoiled) -> set[str]:
    prefixes = (lines.table.lake_prefix, lines.table.quarantine_prefix)
    return {key for prefix in prefixes for key, *_ in lines.services.store.listed(f"{prefix}/dt=")}


def manifests(lines: Spoiled, window: Window = DAYS) -> list[Manifest]:
    found = read_manifests(lines.services.store, lines.table, window.days).values()
    return [manifest for manifest in found if manifest]


def named(lines: Spoiled, window: Window = DAYS) -> set[str]:
    found = manifests(lines, window)
    return {item.key for manifest in found for item in (*manifest.objects, *manifest.quarantine_objects)}


def put(lines: Spoiled, key: str) -> None:
    lines.services.store.put(key, b"nothing", "application/octet-stream")


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


def test_what_a_killed_extraction_left_goes_on_a_day_without_a_manifest_too(lines: Spoiled) -> None:
    put(lines, STRAY)
    assert prune(lines) == 1
    assert stored(lines) == set()


def test_what_was_superseded_a_moment_ago_stays_for_whoever_reads_it_however_old_it_is(lines: Spoiled) -> None:
    lines.extract()
    store = lines.services.store
    [(old, at)] = store.dated(f"{LINES.lake_prefix}/dt=")

    def clock() -> dt.datetime:
        put(lines, "clock")
        return next(stored_at for _, stored_at in store.dated("clock"))

    wait_for(lambda: clock() > at, "a later second of S3's clock", 10)
    moment = clock()
    put(lines, STRAY)
    assert prune(lines, moment) == 0, "what was stored since may be about to be published"
    lines.insert(id=2).extract()

    assert prune(lines, moment) == 0
    assert {old, STRAY} <= stored(lines)
    assert prune(lines) == 2
    assert stored(lines) == named(lines)


def test_an_object_that_is_published_while_it_waits_for_the_extraction_stays(lines: Spoiled) -> None:
    lines.extract()
    put(lines, STRAY)
    [manifest] = manifests(lines)
    store, deleted = lines.services.store, list[int]()
    with lines.services.source.snapshot(alone=its_turn(store, LINES)):
        pruning = threading.Thread(target=lambda: deleted.append(prune(lines)))
        pruning.start()
        wait_for(lambda: waits(lines), "the pruning to wait for its turn", 30)
        [item] = manifest.objects
        [(_, etag)] = [(key, etag) for key, _, etag in store.listed(lines.manifest_key())]
        write_manifest(
            store, LINES, manifest.model_copy(update={"objects": (item.model_copy(update={"key": STRAY}),)}), etag
        )
    pruning.join(30)

    assert deleted, "it went on"
    assert STRAY in stored(lines)


def waits(lines: Spoiled) -> bool:
    with psycopg.connect(lines.services.source.dsn, autocommit=True) as connection:
        found = connection.execute("select count(*) from pg_locks where locktype = 'advisory' and not granted")
        return bool((found.fetchone() or (0,))[0])


def test_where_a_manifest_cannot_be_read_nothing_is_deleted(lines: Spoiled) -> None:
    lines.extract()
    lines.insert(id=2).extract()
    before = stored(lines)
    lines.services.store.put(lines.manifest_key(), b"{", "application/json")

    with pytest.raises(ManifestDamaged, match="materialize lake/lines for 2026-03-01 again"):
        prune(lines)

    assert stored(lines) == before


@pytest.mark.parametrize("seed", range(3))
def test_in_whatever_order_it_comes_every_object_that_is_named_is_there_and_at_the_end_no_other(
    lines: Spoiled, seed: int
) -> None:
    chance = random.Random(seed)
    for step in range(30):
        act, day = chance.choice("ccceeeesp"), FIRST + chance.randrange(3) * ONE_DAY
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
        else:
            prune(lines)
        assert not list(lake_differences(lines.services.store, manifests(lines))), f"after step {step}: {act}"
    lines.stage(DAYS)
    prune(lines)
    assert stored(lines) == named(lines)
    lines.load(DAYS)


def test_the_job_prunes_each_table_and_tells_what_is_wrong_with_one(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Spoiled(lines.services, replace(LINES, name="others")).create().insert(id=1)
    strays = {}
    for spoiled in (lines, other):
        spoiled.extract()
        put(spoiled, stray := f"{spoiled.table.lake_prefix}/dt={FIRST}/stray.parquet")
        strays[spoiled.table.name] = stray
    lines.services.store.put(lines.manifest_key(), b"{", "application/json")
    domain = Domain("shop", (LINES, other.table), simulator=lambda _: pytest.fail("nothing is simulated"))
    resources = {"source": lines.services.source, "store": lines.services.store}
    job = dg.Definitions(jobs=[prune_lake(domain)], resources=resources).resolve_job_def("prune_lake_shop")

    assert job.execute_in_process().success
    assert strays["others"] in stored(other), "it is of this very day"

    dated = ObjectStoreResource.dated
    monkeypatch.setattr(
        ObjectStoreResource,
        "dated",
        lambda store, prefix: ((key, at - dt.timedelta(days=2)) for key, at in dated(store, prefix)),
    )
    result = job.execute_in_process(raise_on_error=False)
    assert told(result).startswith("lake/lines: deleting objects that no manifest names: the manifest raw/postgres/")
    assert strays["lines"] in stored(lines)
    assert stored(other) == named(other)
