"""A lake that lost or damaged something: told before staging is touched, and mended by one materialization."""

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import dagster as dg
import pytest
from bad_input import DAY, DAYS, FIRST, LINES, Spoiled, retried, told

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.partitions import ONE_DAY
from shopstream_assets.platform.errors import LayerError
from shopstream_assets.platform.lake import object_store
from shopstream_assets.platform.lake.manifest import Manifest, published, readable_manifests
from shopstream_assets.platform.staging import change_log

WHERE = "staging/lines, partition 2026-03-01: loading the lake's partitions: "
AGAIN = "Next: materialize lake/lines for"


@pytest.fixture
def lines(services: Services) -> Spoiled:
    return Spoiled(services, LINES).create().insert(id=1, note="old")


def write(lines: Spoiled, key: str, content: bytes) -> None:
    lines.services.store.put(key, content, "application/octet-stream")


def flipped(content: bytes, at: float = 0.4) -> bytes:
    place = int(len(content) * at)
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def but(manifest: bytes, **changes: str) -> bytes:
    return json.dumps(json.loads(manifest) | changes).encode()


def remanifest(lines: Spoiled, manifest: Manifest) -> None:
    write(lines, lines.manifest_key(), manifest.model_dump_json().encode())


def test_a_partition_that_was_never_extracted_is_asked_for(lines: Spoiled) -> None:
    result = lines.materialize("staging")
    assert told(result) == (
        f"{WHERE}1 of 1 partitions have no manifest in the lake, the first is 2026-03-01. "
        "Next: materialize lake/lines for 2026-03-01 first."
    )
    assert not retried(result)


def test_a_range_names_the_first_partition_without_a_manifest_and_loads_none(lines: Spoiled) -> None:
    lines.extract()
    with pytest.raises(
        LayerError, match=r"partition 2026-03-01\.\.2026-03-03: .* 2 of 3 partitions have no manifest"
    ) as caught:
        lines.load(DAYS)
    assert str(caught.value).endswith("Next: materialize lake/lines for 2026-03-02..2026-03-03 first.")


Damage = Callable[[Spoiled, Manifest], object]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "deleted": (
        lambda lines, m: lines.services.store.client.delete_object(
            Bucket=lines.services.store.bucket, Key=m.objects[0].key
        ),
        "is missing",
    ),
    "truncated": (lambda lines, m: write(lines, m.objects[0].key, b"PAR1"), "has 4 bytes, its manifest says"),
    "a flipped bit": (
        lambda lines, m: write(lines, m.objects[0].key, flipped(lines.services.store.get(m.objects[0].key))),
        "is not the one that was written (checksum differs from its manifest)",
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_object_is_told_before_staging_is_touched_and_mended_by_extracting_again(
    lines: Spoiled, kind: str
) -> None:
    lines.stage()
    lines.run("update {t} set note = 'new'")
    manifest = lines.extract()[FIRST]
    damage, found = DAMAGES[kind]
    damage(lines, manifest)
    with pytest.raises(LayerError) as caught:
        lines.load()
    assert f"{WHERE}the lake is damaged: object {manifest.objects[0].key} {found}" in str(caught.value)
    assert "Next: materialize lake/lines for these partitions again; the source still has the rows." in str(
        caught.value
    )
    assert not caught.value.allow_retries
    assert lines.staged("note") == [("old",)]
    lines.stage()
    assert lines.staged("note") == [("new",)]


def test_a_manifest_is_read_once_in_a_process_and_again_when_another_is_published(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, read = lines.services.store, Counter[str]()
    monkeypatch.setattr(object_store, "_kept", object_store._Contents())
    store.client.meta.events.register("before-parameter-build.s3.GetObject", count := _counted(read))
    try:
        written = lines.extract()[FIRST]
        etags = published(store, LINES, DAY)
        assert readable_manifests(store, LINES, etags) == readable_manifests(store, LINES, etags) == {FIRST: written}
        assert not read[lines.manifest_key()], "this process wrote it"
        # Of another writer, nothing is known here.
        remanifest(lines, written.model_copy(update={"source_rows": 5}))
        [found] = [readable_manifests(store, LINES, published(store, LINES, DAY))[FIRST] for _ in range(2)][1:]
        assert found
        assert found.source_rows == 5
        assert read[lines.manifest_key()] == 1
        # What was listed before is not what is there, and no day is without its manifest for that.
        monkeypatch.setattr(object_store, "_kept", object_store._Contents())
        assert readable_manifests(store, LINES, etags) == {FIRST: found}
        assert readable_manifests(store, LINES, etags) == {FIRST: found}
        assert read[lines.manifest_key()] == 3
        # No more are kept than are declared to be.
        monkeypatch.setattr(object_store, "KEPT", 1)
        store.replace("other", b"", "text/plain", None)
        assert readable_manifests(store, LINES, published(store, LINES, DAY)) == {FIRST: found}
        assert read[lines.manifest_key()] == 4
    finally:
        store.client.meta.events.unregister("before-parameter-build.s3.GetObject", count)


def _counted(read: Counter[str]) -> Callable[..., None]:
    def count(params: Mapping[str, str], **_: object) -> None:
        read[params["Key"]] += 1

    return count


def test_whichever_bit_of_an_object_is_flipped_extracting_again_mends_it(lines: Spoiled) -> None:
    """Few of them make an object that Parquet refuses to open; most one that it fails to read, or reads as another."""
    draw = random.Random(1)
    lines.insert(id=2, note="gone").stage()
    lines.run("delete from {t} where id = 2")
    manifest = lines.stage()
    assert {item.kind for item in manifest.objects} == {"current", "departed", "history"}
    for attempt in range(24):
        for item in manifest.objects:
            write(lines, item.key, flipped(lines.services.store.get(item.key), draw.random()))
        lines.run(f"update {{t}} set note = 'new {attempt}'")
        manifest = lines.stage()
        assert lines.staged("id", "note") == [(1, f"new {attempt}")]


@pytest.mark.parametrize("kind", DAMAGES)
def test_the_lake_says_so_when_what_it_wrote_is_not_there_any_more(
    lines: Spoiled, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shopstream_assets.platform.lake import writer

    damage, _ = DAMAGES[kind]
    publish = writer.LakeWriter.publish

    def publish_and_damage(self: writer.LakeWriter, *arguments: object) -> object:
        manifests = publish(self, *arguments)  # type: ignore[arg-type]
        damage(lines, manifests[FIRST])
        return manifests

    monkeypatch.setattr(writer.LakeWriter, "publish", publish_and_damage)
    result = lines.materialize("lake")
    [check] = [each for each in result.get_asset_check_evaluations() if each.check_name == "objects_hold_the_source"]
    assert not check.passed
    assert check.blocking
    assert ("is missing" if kind == "deleted" else "is not the one that was written") in (check.description or "")


CORRUPTIONS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", "Invalid JSON: EOF while parsing"),
    "truncated": (lambda content: content[: len(content) // 2], "Invalid JSON: EOF while parsing"),
    "flipped bit": (lambda content: flipped(content, 0), "Invalid JSON: "),
    "no text": (lambda content: b"\xff\xfe\x00", "Invalid JSON: "),
    "no object": (lambda content: b"[]", "Input should be an object"),
    "no number": (lambda content: but(content, rows="many"), "rows: Input should be a valid integer"),
    "another day": (lambda content: but(content, partition="2026-03-02"), "it is that of lines, 2026-03-02"),
    "another table": (lambda content: but(content, table="users"), "it is that of users, 2026-03-01"),
}


def test_a_corrupt_manifest_is_told_by_its_key_and_replaced_by_extracting_again(lines: Spoiled) -> None:
    lines.stage()
    whole = lines.manifest_bytes()
    for corrupt, found in CORRUPTIONS.values():
        write(lines, lines.manifest_key(), corrupt(whole))
        with pytest.raises(LayerError) as caught:
            lines.load()
        assert str(caught.value).startswith(f"{WHERE}the manifest {lines.manifest_key()} is damaged (")
        assert found in str(caught.value)
        assert f"{AGAIN} 2026-03-01 again; the source still has the rows." in str(caught.value)
        assert not caught.value.allow_retries
    assert lines.staged("note") == [("old",)]
    lines.stage()
    assert lines.staged("note") == [("old",)]


def test_a_manifest_that_counts_other_rows_than_its_objects_hold_rolls_the_load_back(lines: Spoiled) -> None:
    lines.stage()
    lines.run("update {t} set note = 'new'")
    manifest = lines.extract()[FIRST]
    more = manifest.objects[0].model_copy(update={"rows": 2})
    remanifest(lines, manifest.model_copy(update={"objects": (more, *manifest.objects[1:])}))
    with pytest.raises(LayerError) as caught:
        lines.load()
    assert str(caught.value) == (
        f"{WHERE}2026-03-01 has 1 rows after COPY, its manifest says 2; rolled back. "
        "Next: materialize the lake's partition again, then this one."
    )
    assert lines.staged("note") == [("old",)]


def test_an_object_that_vanishes_during_the_load_leaves_staging_as_it_was(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines.stage()
    lines.run("update {t} set note = 'new'")
    manifest = lines.extract()[FIRST]
    copy = change_log._copy

    def vanished(*arguments: object) -> None:
        DAMAGES["deleted"][0](lines, manifest)
        copy(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(change_log, "_copy", vanished)
    with pytest.raises(LayerError, match=manifest.objects[0].key.rpartition("/")[2]):
        lines.load()
    assert lines.staged("note") == [("old",)]


def test_an_object_that_is_no_parquet_leaves_staging_as_it_was(lines: Spoiled) -> None:
    lines.stage()
    manifest = lines.extract()[FIRST]
    [stored] = manifest.objects
    etag = lines.services.store.put(stored.key, b"x" * stored.bytes, "application/octet-stream")
    remanifest(lines, manifest.model_copy(update={"objects": (stored.model_copy(update={"etag": etag}),)}))
    with pytest.raises(LayerError, match=r"staging/lines, partition 2026-03-01: .* Next: ") as caught:
        lines.load()
    assert not caught.value.allow_retries
    assert lines.staged("note") == [("old",)]


def test_one_damaged_day_of_a_range_leaves_all_its_days_as_they_were(lines: Spoiled) -> None:
    lines.insert(id=2, note="old", updated_at="2026-03-02 12:00+00").extract(DAYS)
    lines.load(DAYS)
    lines.run("update {t} set note = 'new'")
    manifests = lines.extract(DAYS)
    DAMAGES["deleted"][0](lines, manifests[FIRST + ONE_DAY])
    with pytest.raises(LayerError):
        lines.load(DAYS)
    assert lines.staged("note") == [("old",), ("old",)]


def test_objects_that_no_manifest_names_are_never_loaded(lines: Spoiled) -> None:
    manifest = lines.extract()[FIRST]
    content = lines.services.store.get(manifest.objects[0].key)
    write(lines, manifest.objects[0].key.replace("part-00000", "part-00001"), content)
    lines.load()
    assert lines.staged("note") == [("old",)]


def test_repeated_keys_within_a_partition_fail_the_check_of_staging(services: Services) -> None:
    table = replace(LINES, name="keyless")
    lines = Spoiled(services, table).create(plain=True).insert(id=1).insert(id=1).insert(id=2)
    lines.extract()
    result = lines.materialize("staging")
    [check] = [each for each in result.get_asset_check_evaluations() if each.check_name == "keys_unique_and_not_null"]
    assert not check.passed
    assert check.blocking
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert check.description == "rows with a null or repeated id: {'2026-03-01': 1}"


def test_a_second_load_of_a_day_replaces_it_whatever_happened_between(lines: Spoiled) -> None:
    lines.stage(DAY)
    lines.run("delete from {t}").insert(id=9, note="other").stage(DAY)
    assert lines.staged("id", "note") == [(9, "other")]
