"""The pages of StreamVision's Power BI report: those of the dashboards, as far as metrics tell them."""

from shopstream_assets.platform.declare.report import ReportPage

CONTENT, COUNTRIES, PLANS = "mart_content_performance", "mart_viewing_by_country", "mart_subscription_dynamics"
ENGAGEMENT, QUALITY, SEARCHES = "mart_daily_engagement", "mart_streaming_quality", "mart_search_effectiveness"

REPORT = (
    ReportPage(
        title="Content performance",
        choices=(f"{CONTENT}.viewing_date", f"{CONTENT}.genre", f"{CONTENT}.content_type"),
        cards=("viewing_sessions", "watched_hours", "average_completion", "average_rating", "prime_time_share"),
        course=("watched_hours", f"{CONTENT}.viewing_date"),
        bars=(("watched_hours", f"{CONTENT}.genre"), ("sessions_by_country", f"{COUNTRIES}.country")),
    ),
    ReportPage(
        title="Subscriptions",
        choices=(f"{PLANS}.event_date", f"{PLANS}.plan_before", f"{PLANS}.plan_after"),
        cards=("mrr", "subscribers", "new_mrr", "churned_mrr", "mrr_per_subscriber"),
        course=("mrr", f"{PLANS}.event_date"),
        bars=(("new_subscribers", f"{PLANS}.plan_after"), ("churned_subscribers", f"{PLANS}.plan_before")),
    ),
    ReportPage(
        title="Engagement and quality",
        choices=(f"{ENGAGEMENT}.viewing_date", f"{QUALITY}.device", f"{QUALITY}.resolution"),
        cards=("daily_active_users", "monthly_active_users", "stickiness", "buffering_events", "buffering_share"),
        course=("daily_active_users", f"{ENGAGEMENT}.viewing_date"),
        bars=(("quality_sessions", f"{QUALITY}.resolution"), ("buffering_share", f"{QUALITY}.device")),
    ),
    ReportPage(
        title="Search",
        choices=(f"{SEARCHES}.search_date",),
        cards=("searches", "click_through_rate", "no_result_rate"),
        course=("searches", f"{SEARCHES}.search_date"),
        rows=(f"{SEARCHES}.search_term", "searches", "click_through_rate", "no_result_rate"),
    ),
)
