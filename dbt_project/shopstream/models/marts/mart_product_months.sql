{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='sales_month',
        pre_hook="{{ remember_touched(touched_sales_months()) }}",
        meta={
            'follows': {'fact_order_items': 'order_date', 'dim_products': 'product_id'},
            'reads': {'dim_products': ['product_id', 'product_category']}
        },
        tags=['partitioned']
    )
}}

with order_items as (

    select
        order_id,
        product_id,
        units_sold,
        units_refunded,
        gross_revenue,
        discount_amount,
        refunded_amount,
        net_revenue,
        cost_of_goods,
        date_trunc('month', order_date)::date as sales_month
    from {{ ref('fact_order_items') }}
    where
        is_sale
        {% if is_windowed() %}
            and date_trunc('month', order_date)::date in (
                select touched.sales_month from {{ touched() }} as touched
            )
        {% endif %}

),

products as (

    select
        product_id,
        product_category
    from {{ ref('dim_products') }}

),

sales as (

    select
        product_id,
        sales_month,
        count(distinct order_id) as orders,
        sum(units_sold) as units,
        sum(units_refunded) as units_refunded,
        sum(gross_revenue) as gross_revenue,
        sum(discount_amount) as discount_amount,
        sum(refunded_amount) as refunded_amount,
        sum(net_revenue) as net_revenue,
        sum(iff(cost_of_goods is null, units_sold - units_refunded, 0)) as units_without_cost,
        sum(net_revenue - cost_of_goods) as margin
    from order_items
    group by product_id, sales_month

)

select
    sales.product_id,
    coalesce(products.product_category, 'unknown') as product_category,
    sales.orders::number(38, 0) as orders,
    sales.units::number(38, 0) as units,
    sales.units_refunded::number(38, 0) as units_refunded,
    sales.units_without_cost::number(38, 0) as units_without_cost,
    sales.gross_revenue::number(18, 2) as gross_revenue,
    sales.discount_amount::number(18, 2) as discount_amount,
    sales.refunded_amount::number(18, 2) as refunded_amount,
    sales.net_revenue::number(18, 2) as net_revenue,
    sales.margin::number(18, 2) as margin,
    sales.sales_month
from sales
left join products on sales.product_id = products.product_id
