"""The checks that end all arguments: viewing and recurring revenue of every day against the service's own database."""

from shopstream_assets.domains.streamvision.domain import STREAMVISION
from shopstream_assets.domains.streamvision.tables import SUBSCRIPTION_EVENTS, VIEWING_SESSIONS
from shopstream_assets.platform.transform.comparison import Subject
from shopstream_assets.platform.transform.comparison_checks import equals_the_source

VIEWING = Subject(
    mart="mart_daily_engagement",
    fact="fact_viewing_sessions",
    table=VIEWING_SESSIONS,
    names=("sessions", "seconds watched"),
    in_source="""
        select (started_at at time zone {zone})::date, (ended_at at time zone 'UTC')::date, count(*),
               sum(duration_seconds)::text
        from {rows} group by 1, 2
    """,
    in_mart="select viewing_date, sum(sessions), sum(watched_seconds) from {mart} group by viewing_date",
    places_in_fact="select viewing_date, ended_at::date from {fact}",
)
REVENUE = Subject(
    mart="mart_subscription_dynamics",
    fact="fact_subscription_events",
    table=SUBSCRIPTION_EVENTS,
    names=("subscribers", "EUR of MRR"),
    in_source="""
        select occurred, place, sum(subscribers), sum(mrr)::text
        from (
            select (occurred_at at time zone {zone})::date as occurred,
                   (occurred_at at time zone 'UTC')::date as place,
                   (to_plan is not null)::int - (lag(to_plan) over of_user is not null)::int as subscribers,
                   amount - coalesce(lag(amount) over of_user, 0) as mrr
            from {rows} window of_user as (partition by user_id order by occurred_at, id)
        ) as changes
        group by 1, 2
    """,
    in_mart="select event_date, sum(subscribers_at_end), sum(mrr) from {mart} group by event_date",
    places_in_fact="select event_date, occurred_at::date from {fact}",
    running=True,
)

SUBJECTS = (VIEWING, REVENUE)
CHECKS = [equals_the_source(STREAMVISION, subject) for subject in SUBJECTS]
ON_THE_CLOCK = [equals_the_source(STREAMVISION, subject, everywhere=True) for subject in SUBJECTS]
