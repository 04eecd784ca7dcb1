"""What the models say of a small service, held against its own Postgres: after a backfill and then a refresh."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from decimal import Decimal

import dagster as dg
import pytest
from streaming_road import START, Road, day, days

from shopstream_assets.domains.streamvision.charts import CHARTS
from shopstream_assets.domains.streamvision.checks import CHECKS, ON_THE_CLOCK, SUBJECTS, VIEWING
from shopstream_assets.domains.streamvision.domain import STREAMVISION
from shopstream_assets.platform.declare.partitions import SPAN_TAGS, Window
from shopstream_assets.platform.present.charts import drawn
from shopstream_assets.platform.transform.comparison import Comparison, Subject, compare
from shopstream_assets.platform.transform.comparison_checks import told

# The days at whose ends the service is looked at; the first look takes all days before it.
LOOKS = (31, 45)
PLAYED = LOOKS[-1]
DELETES_FROM = 5
MODELS = (
    "CORE.DIM_USERS",
    "CORE.DIM_CONTENT",
    "CORE.FACT_VIEWING_SESSIONS",
    "CORE.FACT_EPISODE_VIEWING",
    "CORE.FACT_RATINGS",
    "CORE.FACT_SUBSCRIPTION_EVENTS",
    "CORE.FACT_SEARCHES",
    "MARTS.MART_CONTENT_PERFORMANCE",
    "MARTS.MART_VIEWING_BY_COUNTRY",
    "MARTS.MART_SUBSCRIPTION_DYNAMICS",
    "MARTS.MART_DAILY_ENGAGEMENT",
    "MARTS.MART_STREAMING_QUALITY",
    "MARTS.MART_SEARCH_EFFECTIVENESS",
)
FOREVER = dt.datetime(9999, 12, 31)


@dataclass(frozen=True)
class Gone:
    """What the source deleted between the two looks."""

    user: int
    session: int


@pytest.fixture(scope="module")
def gone() -> list[Gone]:
    return []


@pytest.fixture(scope="module")
def service(road: Road, gone: list[Gone]) -> Road:
    """Backfilled and built whole with all tests; then refreshed by what has happened since, and what was deleted."""
    road.play(days(0, LOOKS[0]))
    road.stage(days(0, LOOKS[0]))
    road.dbt("build")
    road.play(days(*LOOKS))
    [(user, event)] = road.postgres(
        f"""
        select e.user_id, e.id from subscription_events e
        where e.event_type = 'new' and e.occurred_at between '{day(DELETES_FROM)}' and '{day(LOOKS[0])}'
          and not exists (select from subscription_events o where o.user_id = e.user_id and o.id <> e.id)
          and not exists (select from viewing_sessions s where s.user_id = e.user_id)
          and not exists (select from search_queries q where q.user_id = e.user_id)
        order by e.id limit 1
        """
    )
    [(session,)] = road.postgres(
        f"""
        select session_id from episode_viewing
        where occurred_at between '{day(DELETES_FROM)}' and '{day(LOOKS[0])}' order by id limit 1
        """
    )
    for table, column, id in (
        ("subscription_events", "id", event),
        ("users", "id", user),
        ("ratings", "user_id", user),
        ("episode_viewing", "session_id", session),
        ("viewing_sessions", "id", session),
    ):
        road.postgres(f"with d as (delete from {table} where {column} = {id} returning 1) select count(*) from d")
    gone.append(Gone(user, session))
    # The days of before are looked at once more, as the hourly look at all days does where rows were deleted.
    road.stage(days(0, LOOKS[1]))
    road.dbt("run", "--select", "tag:partitioned", window=days(*LOOKS))
    road.dbt("run", "--select", "tag:partitioned", window=days(0, LOOKS[0]))
    return road


def test_engagement_is_what_postgres_counts(service: Road) -> None:
    found = {
        row["viewing_date"]: (
            row["sessions"],
            row["watched_seconds"],
            row["daily_active_users"],
            row["weekly_active_users"],
            row["monthly_active_users"],
        )
        for row in service.records("MARTS.MART_DAILY_ENGAGEMENT")
    }
    counted = service.postgres(
        """
        select d.day, count(*), sum(s.duration_seconds), count(distinct s.user_id),
               (select count(distinct w.user_id) from viewing_sessions w
                where w.started_at::date between d.day - 6 and d.day),
               (select count(distinct m.user_id) from viewing_sessions m
                where m.started_at::date between d.day - 29 and d.day)
        from (select distinct started_at::date as day from viewing_sessions) d
        join viewing_sessions s on s.started_at::date = d.day
        group by d.day
        """
    )
    assert found == {row[0]: row[1:] for row in counted}
    assert len(found) >= PLAYED - 2


def test_recurring_revenue_and_subscribers_are_what_postgres_counts(service: Road) -> None:
    found: dict[dt.date, tuple[Decimal, int]] = {}
    for row in service.records("MARTS.MART_SUBSCRIPTION_DYNAMICS"):
        mrr, subscribers = found.get(row["event_date"], (Decimal(0), 0))
        found[row["event_date"]] = mrr + row["mrr"], subscribers + row["subscribers_at_end"]
    counted = service.postgres(
        """
        select d.day, sum(now.amount), count(*) filter (where now.to_plan is not null)
        from (select distinct occurred_at::date as day from subscription_events) d
        cross join lateral (
            select distinct on (user_id) amount, to_plan from subscription_events
            where occurred_at::date <= d.day order by user_id, occurred_at desc, id desc
        ) as now
        group by d.day
        """
    )
    assert found == {row[0]: row[1:] for row in counted}
    assert max(mrr for mrr, _ in found.values()) > 500


# What each metric must be over all days, in the service's own tables.
SESSIONS, LATEST = "from viewing_sessions", "(select max(started_at)::date from viewing_sessions)"
TRUTH = {
    "viewing_sessions": f"select count(*) {SESSIONS}",
    "sessions_by_country": f"select count(*) {SESSIONS}",
    "quality_sessions": f"select count(*) {SESSIONS}",
    "watched_hours": f"select sum(duration_seconds) / 3600.0 {SESSIONS}",
    "quality_hours": f"select sum(duration_seconds) / 3600.0 {SESSIONS}",
    "completion_sum": f"select sum(completion_rate) {SESSIONS}",
    "completed_sessions": f"select count(*) {SESSIONS} where completion_rate >= 0.9",
    "buffering_events": f"select sum(buffering_events) {SESSIONS}",
    "sessions_with_buffering": f"select count(*) {SESSIONS} where buffering_events > 0",
    "ratings": "select count(*) from ratings",
    "rating_sum": "select sum(rating) from ratings",
    "daily_active_users": f"select count(distinct user_id) {SESSIONS} where started_at::date = {LATEST}",
    "monthly_active_users": f"select count(distinct user_id) {SESSIONS} where started_at::date > {LATEST} - 30",
    "searches": "select count(*) from search_queries",
    "searches_with_click": "select count(clicked_content_id) from search_queries",
    "searches_without_results": "select count(*) from search_queries where results_count = 0",
    "mrr": "select sum(amount) from (select distinct on (user_id) amount from subscription_events "
    "order by user_id, occurred_at desc, id desc) as latest",
    "subscribers": "select count(to_plan) from (select distinct on (user_id) to_plan from subscription_events "
    "order by user_id, occurred_at desc, id desc) as latest",
}
# The history of countries, and the clocks of each, are in no table of the source.
OTHERWISE = {
    "sessions_abroad": "select count_if(u.country <> s.country) from core.fact_viewing_sessions as s "
    "join core.dim_users as u on u.user_id = s.user_id and s.started_at >= u.valid_from and s.started_at < u.valid_to",
    "prime_time_sessions": "select count(*) from core.fact_viewing_sessions "
    "where local_minute_of_day between 1140 and 1379",
}
CHANGES = ("new_mrr", "expansion_mrr", "contraction_mrr", "churned_mrr", "new_subscribers", "churned_subscribers")


def test_metrics_over_all_days_are_what_postgres_counts(service: Road) -> None:
    manifest, database = service.manifest, service.services.warehouse.database
    found = {}
    for semantic in manifest.semantic_models.values():
        mart = manifest.nodes[semantic.depends_on.nodes[0]].name
        for measure in semantic.measures:
            level = measure.non_additive_dimension
            day = level.name if level else ""
            only = f"where {day} = (select max({day}) from {database}.marts.{mart})" if level else ""
            of = f"from {database}.marts.{mart} {only}"
            found[measure.name] = float(service.query(f"select sum({measure.expr or measure.name}) {of}")[0][0])
    simple = {metric.name for metric in manifest.metrics.values() if metric.type.value == "simple"}
    assert simple == found.keys() == TRUTH.keys() | OTHERWISE.keys() | set(CHANGES)
    for name, question in TRUTH.items():
        assert found[name] == pytest.approx(float(service.postgres(question)[0][0]), rel=1e-4), name
    for name, question in OTHERWISE.items():
        [(counted,)] = service.query(question.replace("core.", f"{database}.core."))
        assert found[name] == counted > 0, name
    # The service began with nobody.
    assert found["mrr"] == pytest.approx(
        found["new_mrr"] + found["expansion_mrr"] - found["contraction_mrr"] - found["churned_mrr"]
    )
    assert found["subscribers"] == found["new_subscribers"] - found["churned_subscribers"]
    for metric in manifest.metrics.values():
        assert metric.label, metric.name
        assert metric.description.endswith("."), metric.name


def test_a_days_revenue_begins_with_what_the_day_before_ended_with(service: Road) -> None:
    sums = service.query(
        "select event_date, sum(mrr_at_start), sum(mrr), sum(subscribers_at_start), sum(subscribers_at_end) "
        "from STREAMVISION_WH.MARTS.MART_SUBSCRIPTION_DYNAMICS group by event_date order by event_date"
    )
    assert [row[1] for row in sums[1:]] == [row[2] for row in sums[:-1]]
    assert [row[3] for row in sums[1:]] == [row[4] for row in sums[:-1]]


def test_the_current_version_of_every_user_is_the_row_in_postgres(service: Road) -> None:
    current = service.query(
        "select user_id, country, subscription_plan, is_active, updated_at from STREAMVISION_WH.CORE.DIM_USERS "
        "where is_current"
    )
    users = service.postgres(
        "select id, country, subscription_plan, is_active, updated_at at time zone 'UTC' from users"
    )
    assert sorted(current) == sorted(users)


def test_what_users_were_on_each_day_seen_stays_in_their_history(service: Road, gone: list[Gone]) -> None:
    versions = service.records("CORE.DIM_USERS")
    changed = {row["user_id"] for row in versions if row["version_number"] > 1}
    assert len(changed) >= 3
    for number in LOOKS:
        # As the simulator has the state at the end of a day, which is when the day was extracted.
        end = dt.datetime.combine(day(number), dt.time())
        seen = service.simulator.changes("users", day(0), day(number)).to_pylist()
        if number == PLAYED:
            # Closed at the moment of the look, which is later than all days of the service.
            seen = [row for row in seen if row["id"] != gone[0].user]
            versions = [row for row in versions if row["user_id"] != gone[0].user]
        was = {
            row["user_id"]: (row["subscription_plan"], row["country"])
            for row in versions
            if row["valid_from"] < end <= row["valid_to"]
        }
        assert was == {row["id"]: (row["subscription_plan"], row["country"]) for row in seen}, number


def test_lists_of_the_catalogue_arrive_in_the_dimension(service: Road) -> None:
    found = {
        id: (*told, json.loads(tags))
        for id, *told, tags in service.query(
            "select content_id, country_count, tag_count, is_available_everywhere, tags "
            "from STREAMVISION_WH.CORE.DIM_CONTENT"
        )
    }
    source = service.postgres(
        "select id, cardinality(available_countries), cardinality(tags), available_countries is null, tags from content"
    )
    assert found == {row[0]: row[1:] for row in source}
    assert {row[2] for row in source} >= {0, 1, 2, 3, 4}


def test_titles_resolutions_countries_and_terms_add_up_to_the_source(service: Road) -> None:
    [(sessions, seconds, stalls)] = service.postgres(
        "select count(*), sum(duration_seconds), sum(buffering_events) from viewing_sessions"
    )
    for mart in ("MART_CONTENT_PERFORMANCE", "MART_VIEWING_BY_COUNTRY", "MART_STREAMING_QUALITY"):
        assert service.query(f"select sum(sessions), sum(watched_seconds) from STREAMVISION_WH.MARTS.{mart}") == [
            (sessions, seconds)
        ]
    assert service.query("select sum(buffering_events) from STREAMVISION_WH.MARTS.MART_STREAMING_QUALITY") == [
        (stalls,)
    ]
    assert service.query(
        "select sum(ratings), sum(rating_sum) from STREAMVISION_WH.MARTS.MART_CONTENT_PERFORMANCE"
    ) == service.postgres("select count(*), sum(rating) from ratings")
    assert service.query(
        "select sum(searches), sum(searches_with_click), sum(searches_without_results) "
        "from STREAMVISION_WH.MARTS.MART_SEARCH_EFFECTIVENESS"
    ) == service.postgres(
        "select count(*), count(clicked_content_id), count(*) filter (where results_count = 0) from search_queries"
    )


def test_what_the_source_deleted_leaves_the_facts_and_ends_the_history(service: Road, gone: list[Gone]) -> None:
    [deleted] = gone
    versions = [row for row in service.records("CORE.DIM_USERS") if row["user_id"] == deleted.user]
    assert versions
    assert not any(row["is_current"] for row in versions)
    assert max(row["valid_to"] for row in versions) < FOREVER
    for table in ("FACT_VIEWING_SESSIONS", "FACT_EPISODE_VIEWING"):
        assert deleted.session not in {row["session_id"] for row in service.records(f"CORE.{table}")}
    assert deleted.user not in {row["user_id"] for row in service.records("CORE.FACT_SUBSCRIPTION_EVENTS")}


def test_refreshed_step_by_step_the_models_are_what_a_full_refresh_makes(service: Road) -> None:
    refreshed = {model: service.rows(model) for model in MODELS}
    service.dbt("run", "--full-refresh", "--select", "tag:partitioned")
    for model in MODELS:
        assert service.rows(model) == refreshed[model], model
        assert refreshed[model], model


@pytest.fixture(params=SUBJECTS, ids=lambda subject: subject.mart)
def subject(request: pytest.FixtureRequest) -> Subject:
    found: Subject = request.param
    return found


def compared(service: Road, subject: Subject, window: Window | None = None, zone: str = "UTC") -> Comparison:
    services = service.services
    return compare(subject, services.source, services.store, services.warehouse, START, window, zone=zone)


def test_the_check_finds_every_day_of_the_mart_as_postgres_has_it(service: Road, subject: Subject) -> None:
    everything = compared(service, subject)
    assert not everything.faults
    assert not everything.moving
    assert everything.source == everything.mart
    assert len(everything.mart) > 15
    some = compared(service, subject, days(20, 23))
    assert some.source == some.mart == {d: f for d, f in everything.mart.items() if day(19) <= d < day(23)}


def test_a_day_that_only_the_mart_has_is_no_fault_while_a_build_is_under_way(service: Road) -> None:
    mart, ledger = "STREAMVISION_WH.MARTS.MART_DAILY_ENGAGEMENT", "STREAMVISION_WH.CORE.BUILT_PARTITIONS"
    nowhere, day_of_build = day(PLAYED + 20), day(5)
    names = [row[0] for row in service.query(f"describe table {mart}")]
    columns = ", ".join(f"'{nowhere}'::date" if name == "VIEWING_DATE" else name for name in names)
    lines = (
        f"table_name = 'viewing_sessions' and partition_date = '{day_of_build}' "
        f"and model_name in ('{VIEWING.mart}', '{VIEWING.fact}')"
    )
    [(built,)] = service.query(f"select distinct manifest_hash from {ledger} where {lines}")
    service.query(f"insert into {mart} select {columns} from {mart} where viewing_date = '{day(10)}'")
    assert compared(service, VIEWING).faults == {nowhere: set()}

    service.query(f"update {ledger} set manifest_hash = 'building a run' where {lines}")
    under_way = compared(service, VIEWING)
    assert not under_way.faults
    assert nowhere in under_way.moving
    service.query(f"update {ledger} set manifest_hash = '{built}' where {lines}")
    service.query(f"delete from {mart} where viewing_date = '{nowhere}'")


def test_the_check_tells_a_mart_that_is_wrong_from_a_source_that_has_moved_on(service: Road) -> None:
    wrong, moved = day(20), day(22)
    mart = "STREAMVISION_WH.MARTS.MART_DAILY_ENGAGEMENT"
    [(id, before)] = service.postgres(
        "select id, buffering_events from viewing_sessions where started_at::date = ended_at::date "
        f"and ended_at::date = '{moved}' limit 1"
    )
    [(sessions,)] = service.postgres(f"select count(*) from viewing_sessions where started_at::date = '{wrong}'")
    service.query(f"update {mart} set sessions = sessions + 1 where viewing_date in ('{wrong}', '{moved}')")
    service.postgres(f"update viewing_sessions set buffering_events = {before + 1} where id = {id} returning 1")

    found = compared(service, VIEWING)
    assert set(found.faults) == {wrong}
    assert found.moving == [moved]
    message = told(STREAMVISION, VIEWING, found) or ""
    assert f"1 days differ, though the mart was built from what the source has now. {wrong}: Postgres has" in message
    assert f"{sessions} sessions and" in message
    assert f"the mart {sessions + 1} sessions and" in message
    assert '\'key:"streamvision/lake/viewing_sessions"+ and not ' in message
    assert not compared(service, VIEWING, days(27, 28)).faults


@pytest.mark.parametrize("check", [*CHECKS, *ON_THE_CLOCK])
def test_dagster_runs_the_check_over_the_days_of_a_run(
    service: Road, monkeypatch: pytest.MonkeyPatch, check: dg.AssetChecksDefinition
) -> None:
    monkeypatch.setenv("STREAMVISION_SOURCE_MODE", "simulated")
    services = service.services
    definitions = dg.Definitions(
        asset_checks=[check],
        jobs=[dg.define_asset_job("checking", selection=dg.AssetSelection.checks(check))],
        resources={"source": services.source, "store": services.store, "warehouse": services.warehouse},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        tags = {SPAN_TAGS[0]: str(day(30)), SPAN_TAGS[1]: str(day(33))}
        result = definitions.resolve_job_def("checking").execute_in_process(instance=instance, tags=tags)
    [evaluation] = result.get_asset_check_evaluations()
    everywhere = evaluation.check_name.endswith("everywhere")
    compared_days = evaluation.metadata["days_compared"].value
    assert isinstance(compared_days, int)
    assert compared_days > 15 if everywhere else 0 < compared_days <= 5
    # One day of engagement was spoiled by the test before.
    assert evaluation.passed or (everywhere and "mart_daily_engagement" in evaluation.asset_key.path)


def test_every_chart_draws_something(service: Road) -> None:
    for mart, chart in CHARTS.items():
        rows = service.query(chart.sql.format(table=f"STREAMVISION_WH.MARTS.{mart}"))
        assert "chart" in drawn(chart, rows), mart


def test_what_breaks_a_rule_counts_on_neither_side(service: Road) -> None:
    affected = day(25)
    service.postgres(
        "update viewing_sessions set completion_rate = 1.5 where id in (select id from viewing_sessions "
        f"where started_at::date = '{affected}' and ended_at::date = '{affected}' limit 2) returning 1"
    )
    before = compared(service, VIEWING).mart[affected]
    service.stage(days(22, 26), "viewing_sessions")
    service.dbt("run", "--select", "fact_viewing_sessions", "mart_daily_engagement", window=days(22, 26))
    found = compared(service, VIEWING)
    assert found.mart[affected] == found.source[affected]
    assert found.mart[affected][0] == before[0] - 2


@pytest.mark.long
def test_in_another_reporting_time_zone_both_sides_agree_on_every_day(
    service: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = "America/New_York"
    in_utc = {subject.mart: compared(service, subject).mart for subject in SUBJECTS}
    monkeypatch.setenv("STREAMVISION_REPORTING_TIME_ZONE", zone)
    service.dbt("run", "--full-refresh", "--select", "tag:partitioned")
    for subject in SUBJECTS:
        everything = compared(service, subject, zone=zone)
        assert everything.source == everything.mart != in_utc[subject.mart]
        some = compared(service, subject, days(20, 23), zone=zone)
        assert some.source == some.mart == {d: f for d, f in everything.mart.items() if day(19) <= d < day(23)}
