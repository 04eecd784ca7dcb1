"""The few kinds of chart that the pages are made of, alike in light and in dark: colours come from the theme."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from shopstream_assets.dashboards.world import around, countries

Drawn = alt.Chart | alt.LayerChart | alt.FacetChart
# One hue for what is looked at, a quiet one for what it is compared with; both can be told apart in light and dark.
MAIN, QUIET, WARM, TEAL = "#4C78DB", "#9AA5B8", "#E07B1F", "#2BA58A"
# Of numbers beside bars: reads on white and on the dark ground.
INK = "#6F7B91"
# Of a map: countries without a figure, and those with one; and its height, in pixels.
LAND, PALE_TO_DARK, MAP_HEIGHT = "transparent", ("#8CABF0", "#2F5FD3"), 320
# Of a grid: from nothing to the most. Its own ground, so that its numbers read alike in light and in dark.
GRID = ("#E9EFFC", "#2F5FD3")
# The axis of what bars are drawn for.
NAMES = alt.Axis(labelLimit=150, ticks=False, domain=False)


def course(
    days: pd.DataFrame, before: pd.DataFrame, column: str, label: str, form: str, names: tuple[str, str]
) -> Drawn:
    """A figure by day, and the period before behind it, laid over the same days.

    Both frames have `day` and `column`; `before` also `was`, the day that it really was. `names` are those of the two.
    """
    colour = alt.Color(
        "period:N",
        title=None,
        scale=alt.Scale(domain=list(names), range=[MAIN, QUIET]),
        legend=alt.Legend(orient="top", direction="horizontal", offset=4),
    )
    x = by_day("day", days["day"])
    y = alt.Y(f"{column}:Q", title=None, axis=alt.Axis(format=form, tickCount=5))
    tip = [
        alt.Tooltip("on:N", title="Day"),
        alt.Tooltip(f"{column}:Q", title=label, format=","),
    ]
    now = days.assign(period=names[0], on=named(days["day"]))
    line = alt.Chart(now).mark_line(strokeWidth=2.5, interpolate="monotone").encode(x=x, y=y, color=colour)
    area = alt.Chart(now).mark_area(opacity=0.14, interpolate="monotone", color=MAIN).encode(x=x, y=y)
    points = alt.Chart(now).mark_point(opacity=0, size=300).encode(x=x, y=y, tooltip=tip)
    layers: list[alt.Chart] = [area]
    if len(before):
        earlier = before.assign(period=names[1], on=named(before["was"]))
        layers.append(
            alt.Chart(earlier)
            .mark_line(strokeWidth=1.5, strokeDash=[4, 3], interpolate="monotone")
            .encode(x=x, y=y, color=colour, tooltip=tip)
        )
    return alt.layer(*layers, line, points).properties(height=280)


def by_day(column: str, days: pd.Series, form: str = "%-d %b") -> alt.X:
    """An axis of days, with some ten labels. Days are drawn as they are, whatever the reader's own time zone."""
    step = max(1, round(len(days) / 10))
    ticks = [alt.DateTime(year=day.year, month=day.month, date=day.day, utc=True) for day in days.iloc[::step]]
    return alt.X(
        f"{column}:T",
        title=None,
        scale=alt.Scale(type="utc"),
        axis=alt.Axis(format=form, grid=False, values=ticks, labelOverlap=True),
    )


def named(days: pd.Series) -> pd.Series:
    """Days as a tooltip says them, whatever the time zone of the reader."""
    return days.dt.strftime("%a %-d %b %Y")


def bars(
    rows: pd.DataFrame,
    label: str,
    value: str,
    form: str,
    tips: Sequence[alt.Tooltip] = (),
    colour: str = MAIN,
    height: int = 30,
) -> Drawn:
    """A bar for each row, in their order, with its number at its end."""
    reach = max(0.0, float(rows[value].max() or 0)) * 1.18
    y = alt.Y(f"{label}:N", sort=list(rows[label]), title=None, axis=NAMES)
    x = alt.X(f"{value}:Q", title=None, axis=None, scale=alt.Scale(domainMax=reach) if reach else alt.Undefined)
    shown = alt.Chart(rows).encode(y=y, x=x, tooltip=list(tips) or alt.Undefined)
    numbers = shown.mark_text(align="left", dx=5, color=INK).encode(text=alt.Text(f"{value}:Q", format=form))
    bar = shown.mark_bar(color=colour, cornerRadiusEnd=3, height={"band": 0.72})
    return alt.layer(bar, numbers).properties(height=max(60, height * len(rows)))


def world_map(rows: pd.DataFrame, code: str, value: str, form: str, tips: Sequence[alt.Tooltip]) -> Drawn | None:
    """The countries of the rows on a map, the darker the more, in the part of the world where they are.

    `code` is the column of their ISO 3166 alpha-2 codes, `tips` what is told of each. None where no code is one. What
    the map does not hold, `not_on_the_map` says.
    """
    known = {row[code]: row for row in rows.astype(object).where(rows.notna(), None).to_dict("records")}
    shapes = around(frozenset(known))
    if not shapes:
        return None
    found = [{**known[shape["id"]], **shape} for shape in shapes if shape["id"] in known]
    colour = alt.Color(
        f"{value}:Q",
        title=None,
        scale=alt.Scale(type="sqrt", range=PALE_TO_DARK, zero=True),
        legend=alt.Legend(orient="bottom", format=form, gradientLength=180, gradientThickness=8, tickCount=4),
    )
    # Screen readers are told of countries with a figure.
    land = alt.Chart(alt.Data(values=shapes)).mark_geoshape(fill=LAND, stroke=INK, strokeWidth=0.4, aria=False)
    told = alt.Chart(alt.Data(values=found)).mark_geoshape(stroke=INK, strokeWidth=0.4)
    told = told.encode(color=colour, tooltip=[alt.Tooltip("country:N", title="Country"), *tips])
    # The outlines are projected already.
    return alt.layer(land, told).project(type="identity", reflectY=True).properties(height=MAP_HEIGHT)


def not_on_the_map(rows: pd.DataFrame, code: str, value: str) -> str | None:
    """Which of the rows a map cannot show, and their share of the whole; None where it shows all."""
    left_out = rows[~rows[code].isin(countries())]
    if left_out.empty:
        return None
    return f"Not on the map: {', '.join(left_out[code].head(5))} ({left_out[value].sum() / rows[value].sum():.1%})."


def grid(rows: pd.DataFrame, x: alt.X, y: alt.Y, value: str, form: str, tips: Sequence[alt.Tooltip]) -> Drawn:
    """A cell for each row, the darker the more, with its number in it."""
    height = 30 * rows[y.shorthand.removesuffix(":N")].nunique()
    top = float(rows[value].max() or 1)
    shown = alt.Chart(rows).encode(x=x, y=y, tooltip=list(tips))
    colour = alt.Color(f"{value}:Q", legend=None, scale=alt.Scale(domain=[0, top], range=GRID))
    # White can be read on the darker half only.
    ink = alt.condition(f"datum['{value}'] > {top * 0.55}", alt.value("white"), alt.value("#1B2330"))
    cells = shown.mark_rect(cornerRadius=2, stroke="transparent", strokeWidth=2).encode(color=colour)
    numbers = shown.mark_text(fontSize=11, aria=False).encode(text=alt.Text(f"{value}:Q", format=form), color=ink)
    return alt.layer(cells, numbers).properties(height=max(60, height))


def columns(
    rows: pd.DataFrame, x: alt.X, y: alt.Y, tips: Sequence[alt.Tooltip], height: int = 260, colour: str = MAIN
) -> Drawn:
    """A column for each row."""
    return (
        alt.Chart(rows)
        .mark_bar(color=colour, cornerRadiusEnd=2)
        .encode(x=x, y=y, tooltip=list(tips))
        .properties(height=height)
    )
