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
            'reads': {'dim_products': ['product_id', 'product_category', 'unit_cost']}
        },
        tags=['partitioned']
    )
}}

-- Every order on the day it was placed, as if nothing had come back; and every refund on its own day, taken away.
with entries as (

    select
        order_id,
        shipping_country,
        gross_revenue,
        discount_amount,
        0 as refunded_amount,
        is_sale,
        false as is_refund,
        order_date as booked_date
    from {{ ref('fact_orders') }}
    {% if is_windowed() %}
        where order_date in (select touched.booked_date from {{ touched() }} as touched)
    {% endif %}
    union all
    select
        order_id,
        shipping_country,
        0 as gross_revenue,
        0 as discount_amount,
        refunded_amount,
        false as is_sale,
        true as is_refund,
        refunded_date as booked_date
    from {{ ref('fact_refunds') }}
    {% if is_windowed() %}
        where refunded_date in (select touched.booked_date from {{ touched() }} as touched)
    {% endif %}

),

order_items as (

    select
        order_id,
        product_id,
        units_sold,
        units_refunded,
        gross_revenue,
        discount_amount,
        refunded_amount,
        is_main_line
    from {{ ref('fact_order_items') }}

),

products as (

    select
        product_id,
        product_category,
        unit_cost
    from {{ ref('dim_products') }}

),

-- What has no line keeps its own amounts, in category 'unknown'.
entry_lines as (

    select
        entries.order_id,
        coalesce(entries.shipping_country, 'unknown') as shipping_country,
        coalesce(products.product_category, 'unknown') as product_category,
        iff(entries.is_refund, 0, coalesce(order_items.units_sold, 0)) as units,
        iff(entries.is_refund, coalesce(order_items.units_refunded, 0), 0) as units_refunded,
        products.unit_cost,
        iff(entries.is_refund, 0, coalesce(order_items.gross_revenue, entries.gross_revenue)) as gross_revenue,
        iff(entries.is_refund, 0, coalesce(order_items.discount_amount, entries.discount_amount)) as discount_amount,
        iff(entries.is_refund, coalesce(order_items.refunded_amount, entries.refunded_amount), 0) as refunded_amount,
        entries.is_sale,
        entries.is_refund,
        coalesce(order_items.is_main_line, true) as is_main_line,
        entries.booked_date
    from entries
    left join order_items on entries.order_id = order_items.order_id
    left join products on order_items.product_id = products.product_id

),

costed as (

    select
        order_id,
        shipping_country,
        product_category,
        units,
        units_refunded,
        gross_revenue,
        discount_amount,
        refunded_amount,
        gross_revenue - discount_amount - refunded_amount as net_revenue,
        {{ cost_of_goods('(units - units_refunded)', 'unit_cost') }} as cost,
        is_sale,
        is_refund,
        is_main_line,
        booked_date
    from entry_lines

),

totals as (

    select
        shipping_country,
        product_category,
        booked_date,
        count(distinct iff(is_main_line and is_sale, order_id, null)) as orders,
        count(distinct iff(is_main_line and is_refund, order_id, null)) as orders_refunded,
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
