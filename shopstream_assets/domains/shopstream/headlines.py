"""The figures that a merchant asks for first."""

from shopstream_assets.platform.declare.headline import Headline

HEADLINES = (
    Headline("Net revenue", "select sum(net_revenue) from {marts}.MART_SALES_OVERVIEW", "{:,.2f} EUR"),
    Headline("Orders", "select sum(orders) from {marts}.MART_SALES_OVERVIEW", "{:,.0f}"),
    Headline(
        "Sessions with a purchase",
        "select sum(sessions_with_purchase)::double / nullif(sum(sessions), 0) from {marts}.MART_SESSION_FUNNEL",
        "{:.1%}",
    ),
    Headline(
        # Of the cohorts that have had their 30 days; the others would only pull it down.
        "Sign-ups that ordered within 30 days",
        """
            select sum(ordered_within_30d)::double / nullif(sum(signed_up), 0) from {marts}.MART_SIGNUP_CONVERSION
            where is_complete_30d
        """,
        "{:.1%}",
    ),
    Headline(
        "Top country",
        """
            select shipping_country from {marts}.MART_SALES_OVERVIEW
            group by shipping_country order by sum(net_revenue) desc, shipping_country limit 1
        """,
    ),
    Headline(
        "Top product",
        """
            select product_name from {marts}.MART_PRODUCT_PERFORMANCE
            order by net_revenue desc, product_name limit 1
        """,
    ),
)
