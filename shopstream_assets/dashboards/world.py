"""The world's countries for maps, without a request to anyone: the part of the world around those that are looked at.

world.json holds outlines of Natural Earth (1:110 million, public domain, naturalearthdata.com), taken from the npm
package world-atlas 2.0.2: for each ISO 3166 alpha-2 code its name and its outlines, as longitude, latitude, longitude,
… in degrees. Antarctica, and states of a few islands, are not in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""West, south, east, north."""

_FILE = Path(__file__).with_name("world.json")
# Of a map, by which its part of the world is made wider or higher; and the room around the countries, of its size.
_WIDTH_BY_HEIGHT, _ROOM = 2.2, 0.06
# Mercator's map goes on for ever towards the poles; nobody lives beyond.
_NORTH, _SOUTH = 83.0, -56.0


@cache
def countries() -> dict[str, tuple[str, tuple[tuple[Point, ...], ...]]]:
    """By code: the name of each country, and its outlines in Mercator's projection (1 is a degree at the equator)."""
    found = json.loads(_FILE.read_text())
    return {
        code: (
            country["name"],
            tuple(
                tuple(_projected(*pair) for pair in zip(ring[::2], ring[1::2], strict=True))
                for ring in country["rings"]
            ),
        )
        for code, country in found.items()
    }


@lru_cache(maxsize=64)
def around(codes: frozenset[str]) -> list[dict[str, Any]]:
    """The countries of the part of the world that holds the main land of each of these, as GeoJSON features.

    Each has `id`, its code, and `country`, its name; those that lie within others (Lesotho) come after them. Empty
    where none of the codes is one of a country.
    """
    world = countries()
    main = [max(world[code][1], key=_seen) for code in codes if code in world]
    if not main:
        return []
    box = _framed([_box(ring) for ring in main])
    features = []
    for code, (name, rings) in sorted(world.items(), key=lambda item: -max(map(_size, item[1][1]))):
        if cut := [part for ring in rings if len(part := _cut(ring, box)) > 2]:
            # A list of polygons, each a list of rings, each closed by its first point.
            shape = {"type": "MultiPolygon", "coordinates": [[[*part, part[0]]] for part in cut]}
            features.append({"type": "Feature", "id": code, "country": name, "geometry": shape})
    return features


def _projected(longitude: float, latitude: float) -> Point:
    held = min(max(latitude, _SOUTH), _NORTH)
    return longitude, round(math.degrees(math.log(math.tan(math.pi / 4 + math.radians(held) / 2))), 2)


def _box(ring: Sequence[Point]) -> Box:
    across, up = zip(*ring, strict=True)
    return min(across), min(up), max(across), max(up)


def _size(ring: Sequence[Point]) -> float:
    west, south, east, north = _box(ring)
    return (east - west) * (north - south)


def _seen(ring: Sequence[Point]) -> float:
    """How much of an outline lies on this side of the date line: what is beyond is there a second time."""
    west, south, east, north = _box(ring)
    return (min(east, 180.0) - max(west, -180.0)) * (north - south)


def _framed(boxes: Sequence[Box]) -> Box:
    """A box around all of them, with some room, in the shape of a map, within the world."""
    west, south, east, north = (bound(one[side] for one in boxes) for side, bound in enumerate((min, min, max, max)))
    width, height = (east - west) * (1 + 2 * _ROOM), (north - south) * (1 + 2 * _ROOM)
    width, height = max(width, height * _WIDTH_BY_HEIGHT), max(height, width / _WIDTH_BY_HEIGHT)
    across, up = (west + east) / 2, (south + north) / 2
    return max(across - width / 2, -180.0), up - height / 2, min(across + width / 2, 180.0), up + height / 2


def _cut(ring: Sequence[Point], box: Box) -> list[Point]:
    """What of an outline is within a box: I. E. Sutherland and G. W. Hodgman, "Reentrant Polygon Clipping",
    Communications of the ACM 17(1), 1974.
    """
    points = list(ring)
    for side, bound in enumerate(box):
        axis, sign = side % 2, 1 if side < 2 else -1
        kept: list[Point] = []
        for before, point in zip([*points[-1:], *points[:-1]], points, strict=True):
            was_in, is_in = (sign * (each[axis] - bound) >= 0 for each in (before, point))
            if was_in != is_in:
                share = (bound - before[axis]) / (point[axis] - before[axis])
                kept.append(
                    (
                        round(before[0] + share * (point[0] - before[0]), 2),
                        round(before[1] + share * (point[1] - before[1]), 2),
                    )
                )
            if is_in:
                kept.append(point)
        points = kept
    return points
