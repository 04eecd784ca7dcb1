"""The rules that the simulated streaming service keeps, over its first year."""

import datetime as dt
import random
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from shopstream_assets.domains.streamvision.simulator import Simulator
from shopstream_assets.domains.streamvision.tables import DEVICES, FREE, PAID_PLANS, RESOLUTIONS, TABLES
from shopstream_assets.platform.declare.tables import arrow_schema

START, END = dt.date(2025, 1, 1), dt.date(2026, 1, 1)
DAY = dt.timedelta(days=1)
ZONES = {
    "US": "America/Chicago",
    "GB": "Europe/London",
    "DE": "Europe/Berlin",
    "FR": "Europe/Paris",
    "AU": "Australia/Sydney",
}
REFERENCE = {
    "users": (10_000, 0),
    "content": (2_000, 0),
    "episodes": (5_000, 0.05),
    "viewing_sessions": (100_000, 0.005),
    "episode_viewing": (30_000, 0.03),
    "ratings": (20_000, 0.005),
    "subscription_events": (12_000, 0.05),
    "search_queries": (25_000, 0.005),
}


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    """The first year, as it stood at its end."""
    simulator = Simulator(START)
    return {table.name: simulator.changes(table.name, START, END) for table in TABLES}


@pytest.fixture(scope="module")
def year(tables: dict[str, pa.Table]) -> dict[str, Any]:
    """The same as data frames."""
    return {
        name: table.set_column(
            table.schema.get_field_index("completion_rate"),
            "completion_rate",
            table.column("completion_rate").cast(pa.float64()),
        ).to_pandas()
        if name == "viewing_sessions"
        else table.to_pandas()
        for name, table in tables.items()
    }


@pytest.fixture(scope="module")
def watched(year: dict[str, Any]) -> pd.DataFrame:
    """Sessions with their title and user."""
    sessions = year["viewing_sessions"]
    titles = year["content"].set_index("id").add_prefix("title_")
    return sessions.join(titles, on="content_id").join(year["users"].set_index("id").add_prefix("user_"), on="user_id")


def test_the_first_year_has_the_reference_volumes(tables: dict[str, pa.Table]) -> None:
    for name, (rows, tolerance) in REFERENCE.items():
        assert abs(len(tables[name]) - rows) <= rows * tolerance, f"{name}: {len(tables[name])}"


def test_rows_are_of_the_declared_types_and_keep_the_declared_rules(tables: dict[str, pa.Table]) -> None:
    for declared in TABLES:
        played = tables[declared.name]
        assert played.schema == arrow_schema(declared)
        assert pc.count_distinct(played.column("id")).as_py() == len(played)
        for column in declared.columns:
            values = played.column(column.name)
            if not column.nullable:
                assert values.null_count == 0, column.name
            if column.values:
                assert set(values.unique().drop_null().to_pylist()) <= set(column.values), column.name
            if column.minimum is not None:
                assert pc.min(values).as_py() >= column.minimum, column.name
        cursor = played.column(declared.cursor)
        times = cursor.cast(pa.int64()).to_numpy()
        assert (times[1:] >= times[:-1]).all()
        assert pc.min(cursor).as_py().date() >= START
        assert pc.max(cursor).as_py().date() < END


def test_every_reference_is_to_a_row_that_was_there_before(year: dict[str, Any]) -> None:
    created = {
        "users": year["users"].set_index("id").created_at,
        "content": None,
        "episodes": year["episodes"].set_index("id").updated_at,
        "viewing_sessions": year["viewing_sessions"].set_index("id").started_at,
    }
    for declared in TABLES:
        rows = year[declared.name]
        for column in declared.columns:
            if column.references:
                parent, _ = column.references.split(".")
                named = rows[rows[column.name].notna()]
                known = set(year[parent].id)
                missing = set(named[column.name].astype("int64")) - known
                # A session may have ended after the year did.
                assert len(missing) <= (20 if parent == "viewing_sessions" else 0), (declared.name, column.name)
                if (times := created[parent]) is not None:
                    named = named[named[column.name].isin(known)]
                    assert (named[declared.cursor] >= named[column.name].map(times)).all(), (declared.name, column.name)


def test_another_instance_plays_the_same_and_another_seed_does_not() -> None:
    first, end = START + 40 * DAY, START + 43 * DAY
    one, other, else_ = Simulator(START, scale=0.2), Simulator(START, scale=0.2), Simulator(START, seed=7, scale=0.2)
    for table in TABLES:
        played = one.changes(table.name, first, end)
        assert played.equals(other.changes(table.name, first, end)), table.name
        if len(played):
            assert not played.equals(else_.changes(table.name, first, end)), table.name


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_days_alone_and_in_any_order_end_in_what_the_range_gives(table: Any) -> None:
    first, days = START + 50 * DAY, 16
    whole = Simulator(START, scale=0.2).changes(table.name, first, first + days * DAY)
    order = list(range(days))
    random.Random(1).shuffle(order)
    simulator = Simulator(START, scale=0.2)
    rows: dict[int, dict[str, Any]] = {}
    for day in order:
        played = simulator.changes(table.name, first + day * DAY, first + (day + 1) * DAY).to_pylist()
        for row in played:
            assert row[table.cursor].date() == first + day * DAY
            if row["id"] not in rows or row[table.cursor] > rows[row["id"]][table.cursor]:
                rows[row["id"]] = row
    assert sorted(rows.values(), key=lambda row: (row[table.cursor], row["id"])) == whole.to_pylist()
    batches = list(simulator.batches(table.name, first, first + days * DAY, rows=200))
    assert sum(map(len, batches)) >= len(whole)


def test_no_session_is_longer_than_its_content(watched: pd.DataFrame) -> None:
    assert (watched.duration_seconds <= 60 * watched.title_duration_minutes).all()
    assert ((watched.ended_at - watched.started_at).dt.total_seconds() == watched.duration_seconds).all()
    assert watched.completion_rate.between(0, 1).all()
    movies = watched[watched.title_content_type != "series"]
    share = movies.duration_seconds / (60 * movies.title_duration_minutes)
    assert (share - movies.completion_rate).abs().max() <= 0.0001


def test_the_episodes_of_a_session_follow_each_other_and_make_up_its_time(year: dict[str, Any]) -> None:
    sessions = year["viewing_sessions"].set_index("id")
    series = set(year["content"][year["content"].content_type == "series"].id)
    episodes = year["episodes"].sort_values(["content_id", "season", "episode"])
    episodes["place"] = episodes.groupby("content_id").cumcount()
    running = year["content"].set_index("id").duration_minutes.loc[sorted(series)]
    assert (episodes.groupby("content_id").duration_minutes.sum() == running).all()
    viewings = year["episode_viewing"].join(episodes.set_index("id").add_prefix("of_"), on="episode_id")
    viewings = viewings[viewings.session_id.isin(sessions.index)].sort_values(["session_id", "id"])
    whole = sessions[sessions.content_id.isin(series) & (sessions.started_at >= pd.Timestamp(START + DAY, tz="UTC"))]
    watched = viewings.groupby("session_id").watched_seconds.sum()
    assert (watched.reindex(whole.index) == whole.duration_seconds).all()
    assert (viewings.of_content_id == viewings.session_id.map(sessions.content_id)).all()
    assert (viewings.user_id == viewings.session_id.map(sessions.user_id)).all()
    steps = viewings.groupby("session_id").of_place.diff().dropna()
    assert (steps == 1).all()
    assert (viewings.watched_seconds <= 60 * viewings.of_duration_minutes).all()
    assert (viewings.completed == (viewings.watched_seconds >= 54 * viewings.of_duration_minutes)).all()


def test_plans_change_only_by_events(year: dict[str, Any]) -> None:
    price = {"basic": 5.99, "standard": 11.99, "premium": 17.99}
    rank = {plan: at for at, plan in enumerate(PAID_PLANS)}
    plan: dict[int, str | None] = {}
    began: dict[int, dt.date] = {}
    ended: dict[int, dt.date | None] = {}
    for event in year["subscription_events"].sort_values(["occurred_at", "id"]).itertuples():
        assert event.from_plan == plan.get(event.user_id)
        match event.event_type:
            case "new":
                began[event.user_id], ended[event.user_id] = event.occurred_at.date(), None
            case "cancel":
                assert event.to_plan is None
                ended[event.user_id] = event.occurred_at.date()
            case "renewal":
                assert event.to_plan == event.from_plan
            case kind:
                assert (rank[event.to_plan] > rank[event.from_plan]) == (kind == "upgrade")
        assert float(event.amount) == price.get(event.to_plan, 0)
        plan[event.user_id] = event.to_plan
    for user in year["users"].itertuples():
        assert user.subscription_plan == (plan.get(user.id) or FREE)
        assert user.subscription_start == began.get(user.id)
        assert user.subscription_end == ended.get(user.id)


def test_an_event_changes_the_row_of_its_user_at_the_same_moment() -> None:
    simulator, seen = Simulator(START), 0
    for day in (START + n * DAY for n in range(180, 200)):
        users = {row["id"]: row for row in simulator.changes("users", day, day + DAY).to_pylist()}
        for event in simulator.changes("subscription_events", day, day + DAY).to_pylist():
            if event["event_type"] != "renewal":
                user = users[event["user_id"]]
                assert user["updated_at"] >= event["occurred_at"]
                seen += user["updated_at"] == event["occurred_at"]
    assert seen > 100


def test_nobody_watches_in_more_than_the_plan_allows(year: dict[str, Any]) -> None:
    best = {FREE: 1, "basic": 1, "standard": 2, "premium": 3}
    sessions = year["viewing_sessions"].sort_values("started_at")
    events = year["subscription_events"].sort_values("occurred_at")[["user_id", "to_plan", "occurred_at"]]
    at = pd.merge_asof(sessions, events, left_on="started_at", right_on="occurred_at", by="user_id")
    allowed = at.to_plan.fillna(FREE).map(best)
    assert (at.resolution.map(RESOLUTIONS.index) <= allowed).all()
    assert (at.resolution == "4K").sum() > 1_000


def test_titles_are_shown_only_where_they_may_be(year: dict[str, Any]) -> None:
    simulator = Simulator(START)
    versions: dict[int, list[tuple[dt.datetime, Any]]] = {}
    for day in range((END - START).days):
        for row in simulator.changes("content", START + day * DAY, START + (day + 1) * DAY).to_pylist():
            versions.setdefault(row["id"], []).append((row["updated_at"], row["available_countries"]))
    assert any(len(told) > 1 and told[0][1] != told[-1][1] for told in versions.values())
    for session in year["viewing_sessions"].itertuples():
        allowed = [where for since, where in versions[session.content_id] if since <= session.started_at]
        assert allowed, session
        assert allowed[-1] is None or session.country in allowed[-1], session


def test_people_watch_in_the_evening_and_at_weekends_by_their_own_clocks(watched: pd.DataFrame) -> None:
    for country, zone in ZONES.items():
        local = watched[watched.country == country].started_at.dt.tz_convert(ZoneInfo(zone))
        hours = local.dt.hour.value_counts(normalize=True)
        assert hours[hours.index.isin([19, 20, 21, 22])].sum() > 0.33, country
        assert hours[hours.index.isin([2, 3, 4, 5])].sum() < 0.04, country
        days = local.dt.dayofweek.value_counts()
        assert days[days.index >= 5].mean() > 1.25 * days[days.index < 4].mean(), country
    utc = {country: rows.started_at.dt.hour.mode()[0] for country, rows in watched.groupby("country")}
    assert utc["US"] in (1, 2, 3)
    assert utc["AU"] in (9, 10)


def test_a_few_titles_have_half_of_the_viewing_and_the_tail_is_long(watched: pd.DataFrame) -> None:
    views = watched.content_id.value_counts()
    assert views.head(200).sum() > 0.42 * len(watched)
    assert len(views) > 1_900
    assert views.tail(len(views) // 2).sum() < 0.25 * len(watched)


def test_a_release_draws_a_crowd_that_goes(watched: pd.DataFrame) -> None:
    released = watched[watched.title_added_date.between(START + DAY, END - 40 * DAY)]
    age = (released.started_at.dt.tz_localize(None) - pd.to_datetime(released.title_added_date)).dt.days
    first_week, fourth_week = ((age >= 0) & (age < 7)).sum(), ((age >= 21) & (age < 28)).sum()
    assert first_week > 3 * fourth_week > 100


def test_the_picture_stands_still_by_device_resolution_and_hour(watched: pd.DataFrame) -> None:
    def an_hour(rows: pd.DataFrame) -> float:
        return float(3600 * rows.buffering_events.sum() / rows.duration_seconds.sum())

    by_device = {device: an_hour(watched[watched.device == device]) for device in DEVICES}
    assert min(by_device, key=by_device.__getitem__) == "smart_tv"
    assert max(by_device, key=by_device.__getitem__) == "mobile"
    by_resolution = [an_hour(watched[(watched.device == "smart_tv") & (watched.resolution == r)]) for r in RESOLUTIONS]
    assert by_resolution == sorted(by_resolution)
    german = watched[watched.country == "DE"]
    hour = german.started_at.dt.tz_convert(ZoneInfo("Europe/Berlin")).dt.hour
    assert an_hour(german[hour.between(19, 22)]) > 1.4 * an_hour(german[hour.between(9, 17)])
    assert (watched.groupby("resolution").bitrate_kbps.mean()[list(RESOLUTIONS)].diff().dropna() > 0).all()


def test_ratings_come_after_watching_and_say_why_in_many_languages(year: dict[str, Any]) -> None:
    ratings, sessions = year["ratings"], year["viewing_sessions"]
    pairs = sessions.groupby(["user_id", "content_id"]).ended_at.min()
    first = pairs.reindex(pd.MultiIndex.from_frame(ratings[["user_id", "content_id"]]))
    assert (ratings.created_at.to_numpy() >= first.to_numpy())[~first.isna().to_numpy()].all()
    assert first.isna().sum() <= 5
    assert set(ratings.rating) == {1, 2, 3, 4, 5}
    assert 0.03 < (ratings.updated_at > ratings.created_at).mean() < 0.09
    comments = " ".join(ratings.comment.dropna())
    for part in ("🔥", "chef-d'œuvre", "Großartig", "¡", "最高", "رائع", "Шедевр", "\n", '"'):
        assert part in comments, part
    assert 0.3 < ratings.comment.notna().mean() < 0.5


def test_better_titles_are_rated_better(year: dict[str, Any]) -> None:
    rated = year["ratings"].join(year["content"].set_index("id").imdb_rating.astype(float), on="content_id")
    assert np.corrcoef(rated.rating, rated.imdb_rating)[0, 1] > 0.3


def test_searches_find_what_the_catalogue_has(year: dict[str, Any]) -> None:
    searches = year["search_queries"]
    assert (searches.results_count[searches.clicked_content_id.notna()] > 0).all()
    assert 0.4 < searches.clicked_content_id.notna().mean() < 0.65
    assert 0.08 < (searches.results_count == 0).mean() < 0.2
    opened = searches[searches.clicked_content_id.notna()].head(2_000)
    titles = year["content"].set_index("id").title
    exact = opened["query"].str.lower() == opened.clicked_content_id.astype("int64").map(titles).str.lower()
    assert exact.mean() > 0.4


def test_a_closed_account_is_silent(year: dict[str, Any]) -> None:
    closed = year["users"][~year["users"].is_active].set_index("id")
    assert len(closed) > 200
    assert (closed.subscription_plan == FREE).all()
    for name, moment in (("viewing_sessions", "ended_at"), ("search_queries", "occurred_at")):
        rows = year[name][year[name].user_id.isin(closed.index)]
        assert (rows[moment] < rows.user_id.map(closed.updated_at)).all()


def test_lists_of_the_catalogue_are_null_empty_and_full(year: dict[str, Any]) -> None:
    content = year["content"]
    assert content.available_countries.isna().mean() > 0.3
    assert content[content.is_original].available_countries.isna().all()
    sizes = content.tags.map(len)
    assert sizes.min() == 0
    assert sizes.max() == 4


def test_before_the_service_opened_nothing_happened() -> None:
    simulator = Simulator(START, scale=0.01)
    for table in TABLES:
        assert len(simulator.changes(table.name, START - 9 * DAY, START)) == 0
        assert simulator.changes(table.name, START - 9 * DAY, START + DAY).equals(
            simulator.changes(table.name, START, START + DAY)
        )


@pytest.mark.parametrize("scale", [0.002, 2.5])
def test_a_tiny_service_and_a_large_one_play(scale: float) -> None:
    simulator = Simulator(dt.date(2024, 2, 20), scale=scale)
    rows = sum(len(simulator.changes(t.name, dt.date(2024, 2, 20), dt.date(2024, 3, 5))) for t in TABLES)
    assert rows > 0


def test_growth_brings_more_users_and_viewing_later_and_the_same_in_the_first_year() -> None:
    def volume(name: str, growth: float) -> tuple[int, float]:
        simulator = Simulator(START, scale=0.2, growth=growth)
        late = simulator.changes(name, END - 30 * DAY, END)
        moment = "created_at" if name == "users" else "started_at"
        new = pc.sum(pc.greater_equal(late[moment], pd.Timestamp(END - 30 * DAY, tz="UTC"))).as_py()
        return simulator.changes(name, START, END).num_rows, new

    for name in ("users", "viewing_sessions"):
        (same, late), (grown, late_grown) = volume(name, 1.0), volume(name, 4.0)
        assert grown == pytest.approx(same, rel=0.01), name
        assert late_grown > 1.5 * late, name


def test_an_unknown_table_and_wrong_arguments_are_refused() -> None:
    with pytest.raises(KeyError, match="plays no table 'orders'"):
        Simulator(START).changes("orders", START, END)
    with pytest.raises(TypeError, match=r"must be a datetime.date"):
        Simulator(dt.datetime(2025, 1, 1))
    with pytest.raises(ValueError, match="scale must be a positive number"):
        Simulator(START, scale=0)
    with pytest.raises(ValueError, match="seed must be 0 or more"):
        Simulator(START, seed=-1)
