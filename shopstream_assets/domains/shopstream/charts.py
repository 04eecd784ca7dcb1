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
    "mart_conversion_funnel": Chart(
        title="Customers who reached each step within 30 days",
        kind="bars",
        sql="""
            select column1, case column1
                when 'signed up' then signed_up when 'viewed' then viewed when 'carted' then carted
                when 'checked out' then checked_out else ordered
            end
            from (
                select sum(signed_up) as signed_up, sum(viewed) as viewed, sum(carted) as carted,
                       sum(checked_out) as checked_out, sum(ordered) as ordered
                from {table}
            )
            cross join (values ('signed up'), ('viewed'), ('carted'), ('checked out'), ('ordered'))
            order by 2 desc
        """,
    ),
}
