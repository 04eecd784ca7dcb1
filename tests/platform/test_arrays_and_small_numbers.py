"""Lists of texts and numbers of every width, value by value from Postgres to the warehouse."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bad_input import DAY, FIRST, NOON, Spoiled, told

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.tables import (
    BIGINT,
    DOUBLE,
    INTEGER,
    REAL,
    SMALLINT,
    TEXT,
    TEXTS,
    TIMESTAMP,
    Column,
    SourceTable,
    numeric,
)
from shopstream_assets.platform.errors import LayerError
from shopstream_assets.platform.staging.integrity import changed

TITLES = SourceTable(
    name="titles",
    grain="One row per title.",
    description="Titles.",
    owner="team:content",
    columns=(
        Column("id", BIGINT, "Key."),
        Column("tags", TEXTS, "Tags.", nullable=True),
        Column("year", SMALLINT, "Year.", nullable=True),
        Column("weight", REAL, "Weight.", nullable=True),
        Column("score", DOUBLE, "Score.", nullable=True),
        Column("rate", numeric(5, 4), "Rate.", nullable=True),
        Column("updated_at", TIMESTAMP, "Cursor."),
    ),
)
LISTS: dict[str, list[str | None] | None] = {
    "null": None,
    "empty": [],
    "one": ["a"],
    "a null element": ["a", None, "b"],
    "nothing but null": [None],
    "the word null": ["NULL", "null", None],
    "empty texts": ["", " ", ""],
    "quotes": ['"', "'", '""', 'a"b', "it's", "`", "$$"],
    "commas and braces": ["a,b", "{a}", "{{a},{b}}", "}", ",", "[", "]", '["a"]'],
    "backslashes": ["\\", "\\\\", '\\"', "\\n", "\\u0041", "C:\\x"],
    "controls": ["a\nb", "\t", "\r\n", "\x01\x1f\x7f"],
    "emoji": ["👩‍👩‍👧‍👦", "🇫🇷", "🙂", "e\u0301", "日本語", "שלום"],
    "numbers": ["1", "1.0", "true", "1e5", "NaN"],
    "many": [f"tag {n}" for n in range(500)],
    "long": ["é🙂x" * 50_000],
}
FLOATS = [0.1, -0.0, 1e300, 5e-324, -1.7976931348623157e308, 1 / 3, math.inf, -math.inf, math.nan]


@pytest.fixture
def titles(services: Services) -> Spoiled:
    return Spoiled(services, TITLES).create()


def postgres_array(values: list[str | None]) -> str:
    """A list as Postgres writes one: every text in quotes."""
    quoted = (
        "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values
    )
    return "{" + ",".join(quoted) + "}"


@pytest.fixture
def listed(titles: Spoiled) -> Spoiled:
    for number, values in enumerate(LISTS.values()):
        titles.insert(id=number, tags=None if values is None else postgres_array(values))
    return titles


def arrived(titles: Spoiled) -> dict[int, list[str | None] | None]:
    return {id: None if tags is None else json.loads(tags) for id, tags in titles.staged("id", "tags")}


def test_every_list_of_texts_arrives_as_it_was(listed: Spoiled) -> None:
    manifest = listed.stage()
    assert manifest.quarantined_rows == 0
    assert {name: arrived(listed)[number] for number, name in enumerate(LISTS)} == LISTS


def test_lists_lie_in_the_lake_as_lists_of_the_parquet_standard(listed: Spoiled) -> None:
    [item] = listed.extract()[FIRST].objects
    file = pq.ParquetFile(pa.BufferReader(listed.services.store.get(item.key)))
    assert file.read().column("tags").to_pylist() == list(LISTS.values())
    assert "tags.list.element" in [file.schema.column(n).path for n in range(len(file.schema))]


def test_sql_of_the_warehouse_tells_null_elements_and_empty_lists_apart(listed: Spoiled) -> None:
    listed.stage()
    relation = f"{listed.services.warehouse.database}.STAGING.STG_TITLES"
    numbers = dict(zip(LISTS, range(len(LISTS)), strict=True))
    with listed.services.warehouse.connection("REPORTING_WH") as session, session.cursor() as cursor:
        cursor.execute(
            f"select id, array_size(tags), tags is null, tags[0]::varchar from {relation} where id <= 3 order by id"
        )
        assert cursor.fetchall() == [(0, None, True, None), (1, 0, False, None), (2, 1, False, "a"), (3, 3, False, "a")]
        cursor.execute(
            f"select element.index, element.value::varchar from {relation} as t, lateral flatten(input => t.tags) "
            f"as element where t.id = {numbers['a null element']} order by element.index"
        )
        assert cursor.fetchall() == [(0, "a"), (1, None), (2, "b")]


def test_an_array_that_is_no_plain_list_goes_to_quarantine(titles: Spoiled) -> None:
    titles.insert(id=1, tags="{a}").insert(id=2, tags="{{a,b},{c,d}}").insert(id=3, tags="[2:3]={a,b}")
    manifest = titles.stage()
    assert arrived(titles) == {1: ["a"]}
    assert {line["row"]["id"]: (line["row"]["tags"], line["reasons"]) for line in titles.quarantined(manifest)} == {
        id: (tags, "tags is no plain list: an array of one dimension, numbered from 1")
        for id, tags in ((2, [["a", "b"], ["c", "d"]]), (3, ["a", "b"]))
    }


def test_a_list_longer_than_snowflake_takes_goes_to_quarantine(titles: Spoiled) -> None:
    # As JSON, each control character takes six bytes.
    titles.run(
        f"insert into {{t}} (id, tags, updated_at) values (1, array[repeat('x', {2**23})], '{NOON}'), "
        f"(2, array[repeat('x', {2**23}), repeat('x', {2**23})], '{NOON}'), "
        f"(3, array[repeat(chr(1), {2**22})], '{NOON}')"
    )
    manifest = titles.extract()[FIRST]
    assert {line["row"]["id"]: line["reasons"] for line in titles.quarantined(manifest)} == {
        id: "tags is longer than 16777216 bytes" for id in (2, 3)
    }


def test_numbers_of_every_width_arrive_as_they_were(titles: Spoiled) -> None:
    single = [pa.scalar(value, pa.float32()).as_py() for value in (0.1, 3.4028234663852886e38, 1e-45, -2.5)]
    for number, value in enumerate(FLOATS):
        titles.insert(id=number, score=repr(value))
    for number, value in enumerate([*single, math.nan, math.inf], start=100):
        titles.insert(id=number, weight=repr(value))
    titles.insert(id=200, year=-(2**15)).insert(id=201, year=2**15 - 1).insert(id=202, rate="0.0001")
    titles.stage()
    found = {id: values for id, *values in titles.staged("id", "year", "weight", "score", "rate")}
    assert [repr(found[number][2]) for number in range(len(FLOATS))] == list(map(repr, FLOATS))
    assert list(map(repr, (found[100 + n][1] for n in range(6)))) == list(map(repr, [*single, math.nan, math.inf]))
    assert (found[200][0], found[201][0], str(found[202][3])) == (-(2**15), 2**15 - 1, "0.0001")


def test_a_list_that_leaves_its_day_is_kept_as_history_once(titles: Spoiled) -> None:
    both = Window(FIRST, FIRST + 2 * ONE_DAY)
    titles.insert(id=1, tags='{"old",NULL}').insert(id=2, tags="{gone}").stage(both)
    titles.run(
        "update {t} set tags = '{new}', updated_at = '2026-03-02 12:00+00' where id = 1", "delete from {t} where id = 2"
    )
    for _ in range(2):
        manifest = titles.stage(both)
    assert (manifest.moved, manifest.deleted, manifest.history) == (1, 1, 2)
    assert arrived(titles) == {1: ["new"]}
    [kept] = [item for item in manifest.objects if item.kind == "history"]
    history = pq.read_table(pa.BufferReader(titles.services.store.get(kept.key)))
    assert history.column("tags").to_pylist() == [["old", None], ["gone"]]
    assert titles.extract(both)[FIRST] == manifest


def test_an_append_only_table_tells_which_of_its_lists_have_changed(titles: Spoiled) -> None:
    titles.insert(id=1, tags="{a,b}").insert(id=2, tags="{a}").stage()
    titles.run("update {t} set tags = '{b,a}' where id = 1", "update {t} set weight = 1 where id = 2")
    later = Window(FIRST + ONE_DAY, FIRST + 2 * ONE_DAY)
    titles.run(f"update {{t}} set updated_at = '{later.first} 12:00+00'")
    titles.stage(Window(FIRST, later.end))
    with titles.services.warehouse.connection("REPORTING_WH") as session, session.cursor() as cursor:
        assert changed(cursor, titles.services.warehouse.database, TITLES).rows == 2


def test_a_text_of_old_does_not_take_lists_and_a_list_of_old_no_texts(titles: Spoiled) -> None:
    titles.insert(id=1, tags="{a}").stage()
    as_text = tuple(Column("tags", TEXT, "Tags.") if c.name == "tags" else c for c in TITLES.columns)
    texts = Spoiled(titles.services, SourceTable(**{**vars(TITLES), "columns": as_text}))
    with pytest.raises(LayerError, match="column tags is now text\\[\\], declared text"):
        texts.extract()
    titles.run("alter table {t} alter tags type text using 'x'").run("update {t} set tags = 'y'")
    texts.extract()
    with pytest.raises(LayerError, match="cannot hold what the lake has: tags of varchar"):
        texts.load()
    result = titles.materialize("lake")
    assert "column tags is now text, declared text[]" in told(result)


@pytest.mark.parametrize(("wider", "value"), [("integer", 2**31 - 1), ("bigint", 2**62)])
def test_a_smallint_that_grew_travels_in_the_type_it_has_now(titles: Spoiled, wider: str, value: int) -> None:
    titles.insert(id=1, year=7).stage()
    titles.run(f"alter table {{t}} alter year type {wider}").insert(id=2, year=value)
    assert titles.stage().drift == "widened: year"
    assert sorted(titles.staged("year")) == [(7,), (value,)]


def test_the_page_of_a_layer_shows_a_list_as_json(titles: Spoiled) -> None:
    titles.insert(id=1, tags='{"a",NULL}', year=7)
    result = titles.materialize("lake", DAY)
    [materialization] = result.asset_materializations_for_node("shop__lake__titles")
    shown = [record.data for record in materialization.metadata["preview"].records]  # type: ignore[union-attr]
    assert {"tags": '["a", null]', "year": 7}.items() <= shown[0].items()


@pytest.mark.parametrize("kind", [TEXTS, REAL, DOUBLE])
def test_a_key_that_could_not_be_compared_is_refused(kind: object) -> None:
    columns = (Column("id", kind, "Key."), Column("updated_at", TIMESTAMP, "Cursor."))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="table t: its key 'id' cannot be a"):
        SourceTable(name="t", grain="One row.", description="", columns=columns, owner="team:a")


def test_types_say_what_they_are_in_each_system() -> None:
    told = {kind.postgres: (kind.snowflake, str(kind.arrow)) for kind in (TEXTS, SMALLINT, INTEGER, REAL, DOUBLE)}
    assert told == {
        "text[]": ("array", "list<element: string>"),
        "smallint": ("number(38,0)", "int16"),
        "integer": ("number(38,0)", "int32"),
        "real": ("float", "float"),
        "double precision": ("float", "double"),
    }
