{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='booked_date',
        pre_hook="{{ remember_touched(touched_booked_dates()) }}",
        meta={
            'follows': {
                'fact_orders': 'order_date',
                'fact_order_items': 'order_id',
                'fact_refunds': 'refunded_date',
                'dim_products': 'product_id'
            },
            'reads': {'dim_products': ['product_id', 'product_category']}
        },
        tags=['partitioned']
    )
}}

with orders as (

    select
        order_id,
        shipping_country,
        gross_revenue,
        discount_amount,
        is_sale,
        order_date
    from {{ ref('fact_orders') }}
    {% if is_windowed() %}
        where order_date in (select touched.booked_date from {{ touched() }} as touched)
    {% endif %}

),

order_items as (

    select
        order_id,
        product_id,
        units_sold,
        gross_revenue,
        discount_amount,
        unit_cost,
        is_main_line
    from {{ ref('fact_order_items') }}

),

-- Every order on the day it was placed, as if nothing had come back; and all that came back on its own day, taken away.
-- What has no line keeps its own amounts, in category 'unknown'.
entries as (

    select
        orders.order_id,
        orders.shipping_country,
        order_items.product_id,
        order_items.unit_cost,
        coalesce(order_items.units_sold, 0) as units,
        0 as units_refunded,
        coalesce(order_items.gross_revenue, orders.gross_revenue) as gross_revenue,
        coalesce(order_items.discount_amount, orders.discount_amount) as discount_amount,
        0 as refunded_amount,
        orders.is_sale and coalesce(order_items.is_main_line, true) as is_order,
        false as is_order_refunded,
        orders.order_date as booked_date
    from orders
    left join order_items on orders.order_id = order_items.order_id
    union all
    select
        order_id,
        shipping_country,
        product_id,
        unit_cost,
        0 as units,
        units_refunded,
        0 as gross_revenue,
        0 as discount_amount,
        refunded_amount,
        false as is_order,
        is_first_of_order as is_order_refunded,
        refunded_date as booked_date
    from {{ ref('fact_refunds') }}
    {% if is_windowed() %}
        where refunded_date in (select touched.booked_date from {{ touched() }} as touched)
    {% endif %}

),

products as (

    select
        product_id,
        product_category
    from {{ ref('dim_products') }}

),

costed as (

    select
        entries.order_id,
        coalesce(entries.shipping_country, 'unknown') as shipping_country,
        coalesce(products.product_category, 'unknown') as product_category,
        entries.units,
        entries.units_refunded,
        entries.gross_revenue,
        entries.discount_amount,
        entries.refunded_amount,
        entries.gross_revenue - entries.discount_amount - entries.refunded_amount as net_revenue,
        iff(entries.product_id is null, 0, (entries.units - entries.units_refunded) * entries.unit_cost) as cost,
        entries.is_order,
        entries.is_order_refunded,
        entries.booked_date
    from entries
    left join products on entries.product_id = products.product_id

),

totals as (

    select
        shipping_country,
        product_category,
        booked_date,
        count(distinct iff(is_order, order_id, null)) as orders,
        count(distinct iff(is_order_refunded, order_id, null)) as orders_refunded,
        sum(units) as units,
        sum(units_refunded) as units_refunded,
        sum(gross_revenue)::number(18, 2) as gross_revenue,
        sum(discount_amount)::number(18, 2) as discount_amount,
        sum(refunded_amount)::number(18, 2) as refunded_amount,
        sum(net_revenue)::number(18, 2) as net_revenue,
        sum(iff(cost is null, 0, net_revenue))::number(18, 2) as net_revenue_with_cost,
        sum(net_revenue - cost)::number(18, 2) as margin
    from costed
    group by shipping_country, product_category, booked_date

)

select
    shipping_country,
    product_category,
    orders::number(38, 0) as orders,
    orders_refunded::number(38, 0) as orders_refunded,
    units::number(38, 0) as units,
    units_refunded::number(38, 0) as units_refunded,
    gross_revenue,
    discount_amount,
    refunded_amount,
    net_revenue,
    net_revenue_with_cost,
    margin,
    booked_date
from totals
