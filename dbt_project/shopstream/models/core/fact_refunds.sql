{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='order_id',
        pre_hook="{{ remember_touched(touched_refunds()) }}",
        meta={'follows': {'fact_orders': 'order_id', 'fact_order_items': 'order_id'}},
        tags=['partitioned']
    )
}}

with orders as (

    select
        order_id,
        customer_id,
        status = 'refunded' as is_refunded,
        shipping_country,
        line_count,
        eur_per_unit,
        refunded_amount,
        order_date,
        ordered_at,
        updated_at
    from {{ ref('fact_orders') }}
    where
        (status = 'refunded' or units_refunded > 0 or refunded_amount <> 0)
        and is_sale
        {% if is_windowed() %}
            and order_id in (select touched.order_id from {{ touched() }} as touched)
        {% endif %}

),

order_items as (

    select
        line_id,
        order_id,
        product_id,
        unit_cost,
        returned_quantity,
        returned_amount,
        units_refunded,
        refunded_amount,
        updated_at
    from {{ ref('fact_order_items') }}
    where
        order_id in (select orders.order_id from orders)
        and (units_refunded > 0 or refunded_amount <> 0)

),

order_versions as (

    select
        id,
        updated_at,
        status = 'refunded' as is_refunded,
        row_number() over (partition by id order by {{ as_seen() }}) as seen_as
    from {{ source('shopstream', 'STG_ORDERS') }}
    where
        id in (
            select orders.order_id
            from orders
            where orders.is_refunded
        )
        and {{ was_there() }}

),

-- An order may have been taken for refunded by mistake, and refunded later: what counts is since when it has been.
order_marked as (

    select
        id,
        updated_at,
        is_refunded,
        seen_as,
        max(iff(is_refunded, 0, seen_as)) over (partition by id) as last_seen_otherwise
    from order_versions

),

orders_since as (

    select
        id as order_id,
        min(updated_at) as refunded_at
    from order_marked
    where is_refunded and seen_as > last_seen_otherwise
    group by id

),

-- What the log says of a line, no more than fact_order_items does: it may not know yet what the log already does.
line_versions as (

    select
        order_items.line_id,
        log.updated_at,
        least(coalesce(log.returned_quantity, 0), order_items.returned_quantity) as units,
        {{ in_eur('least(coalesce(log.returned_amount, 0), order_items.returned_amount)', 'orders.eur_per_unit') }}
            as amount,
        log.seen_as
    from (
        select
            id,
            updated_at,
            returned_quantity,
            returned_amount,
            row_number() over (partition by id order by {{ as_seen() }}) as seen_as
        from {{ source('shopstream', 'STG_ORDER_ITEMS') }}
        where
            id in (select order_items.line_id from order_items)
            and {{ was_there() }}
    ) as log
    inner join order_items on log.id = order_items.line_id
    inner join orders on order_items.order_id = orders.order_id

),

-- Of a line too, what counts is since when as much has been given back: no later version had less.
lines_kept as (

    select
        line_id,
        seen_as,
        min(units) over (
            partition by line_id order by seen_as rows between current row and unbounded following
        ) as units,
        min(amount) over (
            partition by line_id order by seen_as rows between current row and unbounded following
        ) as amount,
        min(updated_at) over (
            partition by line_id order by seen_as rows between current row and unbounded following
        ) as refunded_at
    from line_versions

),

returns as (

    select
        line_id,
        units - coalesce(lag(units) over (partition by line_id order by seen_as), 0) as units,
        amount - coalesce(lag(amount) over (partition by line_id order by seen_as), 0) as amount,
        refunded_at
    from lines_kept

),

returned_per_line as (

    select
        line_id,
        sum(units) as units,
        sum(amount) as amount
    from returns
    group by line_id

),

-- What no version of the line tells of came back with the whole order: less than nothing, where more had been given
-- back for the line than it cost. Of an order without lines, its discount did.
refunds as (

    select
        order_items.order_id,
        order_items.line_id,
        order_items.product_id,
        order_items.unit_cost,
        returns.units,
        returns.amount,
        least(returns.refunded_at, coalesce(orders_since.refunded_at, returns.refunded_at)) as refunded_at
    from returns
    inner join order_items on returns.line_id = order_items.line_id
    left join orders_since on order_items.order_id = orders_since.order_id
    union all
    select
        order_items.order_id,
        order_items.line_id,
        order_items.product_id,
        order_items.unit_cost,
        order_items.units_refunded - coalesce(returned_per_line.units, 0) as units,
        order_items.refunded_amount - coalesce(returned_per_line.amount, 0) as amount,
        coalesce(
            orders_since.refunded_at, iff(orders.is_refunded, orders.updated_at, order_items.updated_at)
        ) as refunded_at
    from order_items
    inner join orders on order_items.order_id = orders.order_id
    left join orders_since on order_items.order_id = orders_since.order_id
    left join returned_per_line on order_items.line_id = returned_per_line.line_id
    union all
    select
        orders.order_id,
        0 as line_id,
        null as product_id,
        null as unit_cost,
        0 as units,
        orders.refunded_amount as amount,
        coalesce(orders_since.refunded_at, orders.updated_at) as refunded_at
    from orders
    left join orders_since on orders.order_id = orders_since.order_id
    where orders.is_refunded and orders.line_count = 0

),

refunds_per_day as (

    select
        order_id,
        line_id,
        product_id,
        unit_cost,
        {{ reporting_day('refunded_at') }} as refunded_date,
        sum(units)::number(38, 0) as units_refunded,
        sum(amount)::number(18, 2) as refunded_amount,
        min(refunded_at) as refunded_at
    from refunds
    where units <> 0 or amount <> 0 or line_id = 0
    group by order_id, line_id, product_id, unit_cost, {{ reporting_day('refunded_at') }}

)

select
    refunds_per_day.order_id,
    refunds_per_day.line_id::number(38, 0) as line_id,
    refunds_per_day.product_id::number(38, 0) as product_id,
    orders.customer_id,
    orders.shipping_country,
    refunds_per_day.unit_cost::number(12, 2) as unit_cost,
    refunds_per_day.units_refunded,
    refunds_per_day.refunded_amount,
    row_number() over (
        partition by refunds_per_day.order_id order by refunds_per_day.refunded_at, refunds_per_day.line_id
    ) = 1 as is_first_of_order,
    orders.order_date,
    orders.ordered_at,
    refunds_per_day.refunded_date,
    refunds_per_day.refunded_at
from refunds_per_day
inner join orders on refunds_per_day.order_id = orders.order_id
