"""Maps: the world's outlines, the part of them that is looked at, and what is told of a country."""

from __future__ import annotations

import itertools
import json
import random

import altair as alt
import pandas as pd
import pytest

from shopstream_assets.dashboards import charts
from shopstream_assets.dashboards.style import THEME
from shopstream_assets.dashboards.world import _cut, around, countries
from shopstream_assets.domains.streamvision.simulator.calendar import CODES
from shopstream_assets.simulation.names import COUNTRY_CODES


def points(feature: dict) -> list[tuple[float, float]]:
    return [point for polygon in feature["geometry"]["coordinates"] for ring in polygon for point in ring]


def area(ring: list[tuple[float, float]]) -> float:
    return (
        abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, [*ring[1:], ring[0]], strict=True))) / 2
        if ring
        else 0.0
    )


def test_every_country_of_both_businesses_is_on_the_map_by_its_name() -> None:
    world = countries()
    assert {*COUNTRY_CODES, *CODES} <= set(world)
    assert (world["FR"][0], world["GB"][0], len(world)) == ("France", "United Kingdom", 174)


def test_no_outline_jumps_around_the_world() -> None:
    for code, (_, rings) in countries().items():
        for ring in rings:
            assert len(ring) > 3, code
            assert ring[0] == ring[-1], code
            assert all(abs(a[0] - b[0]) < 90 for a, b in itertools.pairwise(ring)), code


def test_a_map_is_of_the_part_of_the_world_that_is_looked_at() -> None:
    europe = {feature["id"]: feature for feature in around(frozenset({"FR", "DE"}))}
    assert {"FR", "DE", "CH", "GB"} <= set(europe)
    assert not {"US", "AU", "BR"} & set(europe)
    across, up = zip(*(point for feature in europe.values() for point in points(feature)), strict=True)
    assert -25 < min(across) < -4
    assert 15 < max(across) < 35
    # Guiana is France, and South America: its map is Europe's.
    assert min(up) > 40
    world = {feature["id"] for feature in around(frozenset({"AU", "US", "AR", "FR"}))}
    assert len(world) > 160
    assert all(-180 <= x <= 180 for feature in around(frozenset({"AU", "US", "RU"})) for x, _ in points(feature))


@pytest.mark.parametrize("codes", [[], ["ZZ", "unknown"]])
def test_without_a_country_there_is_no_map(codes: list[str]) -> None:
    assert around(frozenset(codes)) == []
    rows = pd.DataFrame({"name": codes, "orders": [1.0] * len(codes)})
    assert charts.world_map(rows, "name", "orders", ",.0f", []) is None


def test_what_is_cut_off_a_rectangle_is_what_lies_outside() -> None:
    rng = random.Random(5)
    for _ in range(300):
        (west, east), (south, north) = (sorted(rng.sample(range(-50, 50), 2)) for _ in range(2))
        box = (-20.0, -10.0, 20.0, 10.0)
        ring = [(west, south), (west, north), (east, north), (east, south)]
        found = _cut([(float(x), float(y)) for x, y in ring], box)
        width, height = min(east, 20) - max(west, -20), min(north, 10) - max(south, -10)
        assert area(found) == pytest.approx(max(width, 0) * max(height, 0) if width > 0 and height > 0 else 0.0)


def test_a_country_within_another_is_drawn_above_it_and_one_on_the_date_line_has_a_width() -> None:
    order = [feature["id"] for feature in around(frozenset({"ZA", "LS"}))]
    assert order.index("LS") > order.index("ZA")
    across = [x for feature in around(frozenset({"FJ"})) for x, _ in points(feature)]
    assert max(across) - min(across) > 1


def test_countries_that_the_map_does_not_have_are_told_with_their_share() -> None:
    rows = pd.DataFrame({"name": ["SG", "FR", "ZZ"], "orders": [6.0, 3.0, 3.0]})
    assert charts.not_on_the_map(rows, "name", "orders") == "Not on the map: SG, ZZ (75.0%)."
    assert charts.not_on_the_map(rows[rows["name"] == "FR"], "name", "orders") is None


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it, of #RRGGBB."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_country_with_a_figure_stands_out_from_those_without_in_light_and_in_dark(theme: str) -> None:
    # Those without are outlines on the page itself.
    assert charts.LAND == "transparent"
    page = luminance(str(THEME[f"theme.{theme}.backgroundColor"]))
    for colour in charts.PALE_TO_DARK:
        low, high = sorted((page, luminance(colour)))
        assert (high + 0.05) / (low + 0.05) > 2, colour
    most = luminance(charts.PALE_TO_DARK[1])
    low, high = sorted((page, most))
    assert (high + 0.05) / (low + 0.05) > 3


def test_a_country_without_a_figure_is_drawn_without_one_and_tells_nothing() -> None:
    rows = pd.DataFrame({"name": ["FR", "DE", "ZZ"], "orders": [3.0, 5.0, 7.0], "change": [0.5, float("nan"), 0.1]})
    drawn = charts.world_map(rows, "name", "orders", ",.0f", [alt.Tooltip("orders:Q")])
    assert drawn is not None
    spec = json.loads(drawn.to_json())
    land, told = (layer["data"]["values"] for layer in spec["layer"])
    assert {shape["id"] for shape in land} > {"FR", "DE", "CH"}
    assert {shape["id"]: (shape["country"], shape["orders"], shape["change"]) for shape in told} == {
        "FR": ("France", 3.0, 0.5),
        "DE": ("Germany", 5.0, None),
    }
    assert [tip["field"] for tip in spec["layer"][1]["encoding"]["tooltip"]] == ["country", "orders"]
