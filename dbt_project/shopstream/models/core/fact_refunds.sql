{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='order_id',
        pre_hook="{{ remember_touched(touched_refunds()) }}",
        meta={'follows': {'fact_orders': 'order_id'}},
        tags=['partitioned']
    )
}}

with orders as (

    select
        order_id,
        customer_id,
        shipping_country,
        refunded_amount,
        order_date,
        ordered_at,
        updated_at
    from {{ ref('fact_orders') }}
    where
        is_sale
        and status = 'refunded'
        {% if is_windowed() %}
            and order_id in (select touched.order_id from {{ touched() }} as touched)
        {% endif %}

),

versions as (

    select
        id,
        updated_at,
        status = 'refunded' as is_refunded,
        row_number() over (partition by id order by {{ as_seen() }}) as seen_as
    from {{ source('shopstream', 'STG_ORDERS') }}
    where
        id in (select orders.order_id from orders)
        and {{ was_there() }}

),

-- An order may have been taken for refunded by mistake, and refunded later: what counts is since when it has been.
marked as (

    select
        id,
        updated_at,
        is_refunded,
        seen_as,
        max(iff(is_refunded, 0, seen_as)) over (partition by id) as last_seen_otherwise
    from versions

),

refunds as (

    select
        id as order_id,
        min(updated_at) as refunded_at
    from marked
    where is_refunded and seen_as > last_seen_otherwise
    group by id

)

-- Where the log already knows that an order is refunded no more, and fact_orders does not, that is right for now.
select
    orders.order_id,
    orders.customer_id,
    orders.shipping_country,
    orders.refunded_amount,
    orders.order_date,
    orders.ordered_at,
    {{ reporting_day('coalesce(refunds.refunded_at, orders.updated_at)') }} as refunded_date,
    coalesce(refunds.refunded_at, orders.updated_at) as refunded_at
from orders
left join refunds on orders.order_id = refunds.order_id
