"""The main figure of each mart, as its page in Dagster shows it."""

from shopstream_assets.platform.declare.chart import Chart

CHARTS = {
    "mart_daily_engagement": Chart(
        title="Daily active users",
        kind="line",
        # Without the last day: it is still going on.
        sql="""
            select viewing_date, daily_active_users from {table}
            where viewing_date < (select max(viewing_date) from {table}) order by viewing_date
        """,
    ),
    "mart_subscription_dynamics": Chart(
        title="Monthly recurring revenue by day (EUR)",
        kind="line",
        sql="select event_date, sum(mrr) from {table} group by event_date order by event_date",
    ),
    "mart_content_performance": Chart(
        title="Hours watched by genre",
        kind="bars",
        sql="select genre, sum(watched_hours) from {table} group by genre order by sum(watched_hours) desc, genre",
    ),
    "mart_viewing_by_country": Chart(
        title="Hours watched by country",
        kind="bars",
        sql="select country, sum(watched_hours) from {table} group by country order by 2 desc, country",
    ),
    "mart_streaming_quality": Chart(
        title="Buffering events per hour watched, by device",
        kind="bars",
        sql="""
            select device, sum(buffering_events) * 3600 / sum(watched_seconds) from {table}
            group by device having sum(watched_seconds) > 0 order by 2 desc
        """,
    ),
    "mart_search_effectiveness": Chart(
        title="Searches that found nothing, by term",
        kind="bars",
        sql="""
            select search_term, sum(searches_without_results) from {table}
            group by search_term having sum(searches_without_results) > 0
            order by 2 desc, search_term limit 10
        """,
    ),
}
