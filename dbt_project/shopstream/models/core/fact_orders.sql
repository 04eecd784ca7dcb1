{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='order_id',
        pre_hook="{{ remember_touched(touched_orders()) }}",
        meta={
            'follows': {'fact_order_items': 'order_id', 'dim_exchange_rates': ['currency', 'valid_from_date']},
            'reads': {'dim_exchange_rates': ['currency', 'valid_from_date', 'eur_per_unit']}
        },
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
        {{ reporting_day('created_at') }} as order_date,
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
        sum(line_amount)::number(18, 2) as items_amount,
        sum(units_refunded)::number(38, 0) as units_refunded,
        sum(refunded_amount)::number(18, 2) as refunded_amount
    from {{ ref('fact_order_items') }}
    {% if is_windowed() %}
        where order_id in (select touched.order_id from {{ touched() }} as touched)
    {% endif %}
    group by order_id

),

rates as (

    select
        currency,
        valid_from_date,
        valid_until_date,
        eur_per_unit
    from {{ ref('dim_exchange_rates') }}

),

joined as (

    select
        orders.id,
        orders.user_id,
        orders.status,
        orders.currency,
        orders.shipping_country,
        orders.payment_method,
        orders.discount_amount,
        orders.shipping_amount,
        orders.total_amount,
        orders.order_date,
        orders.created_at,
        orders.updated_at,
        coalesce(lines_per_order.line_count, 0) as line_count,
        coalesce(lines_per_order.units, 0) as units,
        lines_per_order.items_amount,
        coalesce(lines_per_order.units_refunded, 0) as units_refunded,
        coalesce(lines_per_order.refunded_amount, 0) as lines_refunded_amount,
        {{ eur_per_unit('orders.currency', 'rates') }} as eur_per_unit
    from orders
    left join lines_per_order on orders.id = lines_per_order.order_id
    left join rates
        on {{ is_rate_of('rates', 'orders.currency', 'orders.order_date') }}

),

-- What has no rate is no sale, and its amounts are not known.
in_eur as (

    select
        id,
        user_id,
        status,
        currency,
        shipping_country,
        payment_method,
        line_count,
        units,
        iff(eur_per_unit is null, null, coalesce(items_amount, 0))::number(18, 2) as items_amount,
        {{ in_eur('discount_amount', 'eur_per_unit') }} as order_discount,
        {{ in_eur('shipping_amount', 'eur_per_unit') }} as shipping_amount,
        {{ in_eur('total_amount', 'eur_per_unit') }} as total_amount,
        eur_per_unit,
        units_refunded,
        lines_refunded_amount,
        {{ is_sale() }} and eur_per_unit is not null as is_sale,
        order_date,
        created_at,
        updated_at
    from joined

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
    iff(is_sale, units_refunded, 0)::number(38, 0) as units_refunded,
    items_amount,
    order_discount,
    shipping_amount,
    total_amount,
    eur_per_unit,
    iff(is_sale, items_amount, 0)::number(18, 2) as gross_revenue,
    iff(is_sale, order_discount, 0)::number(18, 2) as discount_amount,
    iff(is_sale, iff(status = 'refunded' and line_count = 0, -order_discount, lines_refunded_amount), 0)::number(18, 2)
        as refunded_amount,
    (gross_revenue - discount_amount - refunded_amount)::number(18, 2) as net_revenue,
    is_sale,
    order_date,
    created_at as ordered_at,
    updated_at
from in_eur
