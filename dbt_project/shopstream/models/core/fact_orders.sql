{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='order_id',
        pre_hook="{{ remember_touched(touched_orders()) }}",
        meta={'follows': {'fact_order_items': 'order_id'}},
        tags=['partitioned']
    )
}}

with orders as (

    select
        id,
        user_id,
        status,
        currency,
        shipping_country,
        payment_method,
        discount_amount,
        shipping_amount,
        total_amount,
        created_at,
        updated_at
    from {{ source('shopstream', 'STG_ORDERS') }}
    {% if is_windowed() %}
        where id in (select touched.order_id from {{ touched() }} as touched)
    {% endif %}
    qualify {{ is_current() }}

),

lines_per_order as (

    select
        order_id,
        count(*)::number(38, 0) as line_count,
        sum(quantity)::number(38, 0) as units,
        sum(line_amount)::number(18, 2) as items_amount
    from {{ ref('fact_order_items') }}
    {% if is_windowed() %}
        where order_id in (select touched.order_id from {{ touched() }} as touched)
    {% endif %}
    group by order_id

),

joined as (

    select
        orders.id,
        orders.user_id,
        orders.status,
        orders.currency,
        orders.shipping_country,
        orders.payment_method,
        orders.discount_amount::number(18, 2) as order_discount,
        orders.shipping_amount,
        orders.total_amount,
        orders.created_at,
        orders.updated_at,
        coalesce(lines_per_order.line_count, 0) as line_count,
        coalesce(lines_per_order.units, 0) as units,
        coalesce(lines_per_order.items_amount, 0)::number(18, 2) as items_amount,
        {{ is_sale('orders.status') }} as is_sale
    from orders
    left join lines_per_order on orders.id = lines_per_order.order_id

)

select
    id as order_id,
    user_id as customer_id,
    status,
    currency,
    shipping_country,
    payment_method,
    line_count::number(38, 0) as line_count,
    units::number(38, 0) as units,
    items_amount,
    order_discount,
    shipping_amount::number(18, 2) as shipping_amount,
    total_amount::number(18, 2) as total_amount,
    iff(is_sale, items_amount, 0)::number(18, 2) as gross_revenue,
    iff(is_sale, order_discount, 0)::number(18, 2) as discount_amount,
    iff(status = 'refunded', items_amount - order_discount, 0)::number(18, 2) as refunded_amount,
    iff(is_sale and status <> 'refunded', items_amount - order_discount, 0)::number(18, 2) as net_revenue,
    is_sale,
    {{ reporting_day('created_at') }} as order_date,
    created_at as ordered_at,
    updated_at
from joined
