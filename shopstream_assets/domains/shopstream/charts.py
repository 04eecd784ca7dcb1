"""The main figure of each mart, as its page in Dagster shows it."""

from shopstream_assets.platform.declare.chart import Chart

CHARTS = {
    "mart_sales_overview": Chart(
        title="Net revenue by day (EUR)",
        kind="line",
        # Without the last day: it is still going on.
        sql="""
            select order_date, sum(net_revenue) from {table}
            where order_date < (select max(order_date) from {table})
            group by order_date order by order_date
        """,
    ),
    "mart_sales_as_booked": Chart(
        title="Net revenue by day, refunds on their own (EUR)",
        kind="line",
        sql="""
            select booked_date, sum(net_revenue) from {table}
            where booked_date < (select max(booked_date) from {table})
            group by booked_date order by booked_date
        """,
    ),
    "mart_product_months": Chart(
        title="Net revenue by month (EUR)",
        kind="bars",
        sql="""
            select to_char(sales_month, 'YYYY-MM'), sum(net_revenue) from {table}
            group by sales_month order by sales_month
        """,
    ),
    "mart_product_performance": Chart(
        title="Net revenue by product category (EUR)",
        kind="bars",
        sql="""
            select product_category, sum(net_revenue) from {table}
            group by product_category order by sum(net_revenue) desc, product_category
        """,
    ),
    "mart_customer_ltv": Chart(
        title="Customers by segment",
        kind="bars",
        sql="select rfm_segment, count(*) from {table} group by rfm_segment order by count(*) desc, rfm_segment",
    ),
    "mart_customer_retention": Chart(
        title="Of 100 who bought, those who bought again n months later",
        kind="bars",
        # Without the month that is going on, and the first: everybody bought in it.
        sql="""
            select months_since::varchar, 100 * sum(active_customers) / sum(buyers) from {table}
            where is_complete and months_since > 0
            group by months_since order by months_since
        """,
    ),
    "mart_projection_backtest": Chart(
        title="Orders of the days that the latest backtest predicted",
        kind="bars",
        sql="""
            select label, orders
            from (
                select 1 as place, 'came' as label, actual_orders as orders, as_of_date, rfm_segment from {table}
                union all select 2, 'predicted', predicted_orders, as_of_date, rfm_segment from {table}
                union all select 3, 'last period again', last_period_orders, as_of_date, rfm_segment from {table}
                union all select 4, 'flat rate each', flat_rate_orders, as_of_date, rfm_segment from {table}
            )
            where rfm_segment = 'all' and as_of_date = (select max(as_of_date) from {table})
            order by place
        """,
    ),
    "mart_session_funnel": Chart(
        title="Sessions in which each step was observed",
        kind="bars",
        sql="""
            select label, sessions
            from (
                select 1 as step, 'all' as label, sum(sessions) as sessions from {table}
                union all select 2, 'view', sum(sessions_with_view) from {table}
                union all select 3, 'cart', sum(sessions_with_cart) from {table}
                union all select 4, 'checkout', sum(sessions_with_checkout) from {table}
                union all select 5, 'purchase', sum(sessions_with_purchase) from {table}
            )
            order by step
        """,
    ),
    "mart_signup_conversion": Chart(
        title="Sign-ups, and first orders within 30 days",
        kind="bars",
        # The rate is the third over the second: the others have not had their days.
        sql="""
            select label, customers
            from (
                select 1 as step, 'signed up' as label, sum(signed_up) as customers from {table}
                union all select 2, '30 days ago or more', sum(iff(is_complete_30d, signed_up, 0)) from {table}
                union all select 3, 'ordered within them', sum(iff(is_complete_30d, ordered_within_30d, 0)) from {table}
            )
            order by step
        """,
    ),
}
