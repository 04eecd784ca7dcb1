"""The figures that a streaming service asks for first."""

from shopstream_assets.platform.declare.headline import Headline

HEADLINES = (
    Headline("Hours watched", "select sum(watched_seconds) / 3600 from {marts}.MART_DAILY_ENGAGEMENT", "{:,.0f}"),
    Headline("Sessions", "select sum(sessions) from {marts}.MART_DAILY_ENGAGEMENT", "{:,.0f}"),
    Headline(
        "Subscribers on the last day",
        """
            select sum(subscribers_at_end) from {marts}.MART_SUBSCRIPTION_DYNAMICS
            where event_date = (select max(event_date) from {marts}.MART_SUBSCRIPTION_DYNAMICS)
        """,
        "{:,.0f}",
    ),
    Headline(
        "Monthly recurring revenue on the last day",
        """
            select sum(mrr) from {marts}.MART_SUBSCRIPTION_DYNAMICS
            where event_date = (select max(event_date) from {marts}.MART_SUBSCRIPTION_DYNAMICS)
        """,
        "{:,.2f} EUR",
    ),
)
