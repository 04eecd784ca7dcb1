{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='order_id',
        pre_hook=[
            "{{ remember_touched(touched_keys('STG_ORDER_ITEMS', 'line_id'), 'touched_lines') }}",
            "{{ remember_touched(touched_orders_of_lines()) }}"
        ],
        meta={
            'follows': {'dim_exchange_rates': ['currency', 'valid_from_date'], 'dim_products': 'product_id'},
            'reads': {
                'dim_exchange_rates': ['currency', 'valid_from_date', 'eur_per_unit'],
                'dim_products': ['product_id', 'unit_cost']
            }
        },
        tags=['partitioned']
    )
}}

-- In a windowed run a line outside the window stays what this table has it as, also where the log already knows more:
-- the order that it left would otherwise not learn of it. Its own day brings the rest.
with order_items as (

    select
        id,
        order_id,
        product_id,
        quantity,
        unit_price,
        unit_cost,
        coalesce(returned_quantity, 0) as returned_quantity,
        coalesce(returned_amount, 0) as returned_amount,
        created_at,
        updated_at
    from {{ source('shopstream', 'STG_ORDER_ITEMS') }}
    {% if is_windowed() %}
        where id in (select touched.line_id from {{ touched('touched_lines') }} as touched)
    {% endif %}
    qualify {{ is_current() }}
    {% if is_windowed() %}
        union all
        select
            line_id as id,
            order_id,
            product_id,
            quantity,
            unit_price,
            iff(has_own_cost, unit_cost, null) as unit_cost,
            returned_quantity,
            returned_amount,
            created_at,
            updated_at
        from {{ this }}
        where
            order_id in (select touched.order_id from {{ touched() }} as touched)
            and line_id not in (select touched.line_id from {{ touched('touched_lines') }} as touched)
    {% endif %}

),

orders as (

    select
        id as order_id,
        user_id as customer_id,
        status,
        currency,
        discount_amount as order_discount,
        {{ reporting_day('created_at') }} as order_date,
        created_at as ordered_at,
        {{ is_sale() }} as is_sale
    from {{ source('shopstream', 'STG_ORDERS') }}
    {% if is_windowed() %}
        where id in (select touched.order_id from {{ touched() }} as touched)
    {% endif %}
    qualify {{ is_current() }}

),

rates as (

    select
        currency,
        valid_from_date,
        valid_until_date,
        eur_per_unit
    from {{ ref('dim_exchange_rates') }}

),

rated as (

    select
        orders.order_id,
        orders.customer_id,
        orders.status,
        orders.currency,
        orders.order_discount,
        orders.order_date,
        orders.ordered_at,
        orders.is_sale,
        {{ eur_per_unit('orders.currency', 'rates') }} as eur_per_unit
    from orders
    left join rates
        on {{ is_rate_of('rates', 'orders.currency', 'orders.order_date') }}

),

products as (

    select
        product_id,
        unit_cost
    from {{ ref('dim_products') }}

),

lines_in_eur as (

    select
        order_items.id,
        order_items.order_id,
        order_items.product_id,
        rated.customer_id,
        coalesce(rated.status, 'unknown') as order_status,
        rated.currency,
        order_items.quantity,
        order_items.unit_price,
        order_items.unit_cost is not null as has_own_cost,
        coalesce(order_items.unit_cost, products.unit_cost) as unit_cost,
        {{
            in_eur('(order_items.quantity * order_items.unit_price)::number(28, 2)', 'rated.eur_per_unit')
        }} as line_amount,
        order_items.returned_quantity,
        order_items.returned_amount,
        {{ in_eur('order_items.returned_amount', 'rated.eur_per_unit') }} as returned_in_eur,
        {{ in_eur('rated.order_discount', 'rated.eur_per_unit') }} as order_discount,
        coalesce(rated.is_sale and rated.eur_per_unit is not null, false) as is_sale,
        coalesce(rated.order_date, {{ reporting_day('order_items.created_at') }}) as order_date,
        coalesce(rated.ordered_at, order_items.created_at) as ordered_at,
        order_items.created_at,
        order_items.updated_at
    from order_items
    left join rated on order_items.order_id = rated.order_id
    left join products on order_items.product_id = products.product_id

),

-- Whole cents, so that sharing the discount is whole-number arithmetic.
lines_in_cents as (

    select
        id as line_id,
        order_id,
        product_id,
        customer_id,
        order_status,
        currency,
        quantity,
        unit_price,
        has_own_cost,
        unit_cost,
        line_amount,
        returned_quantity,
        returned_amount,
        returned_in_eur,
        (coalesce(line_amount, 0) * 100)::number(38, 0) as line_cents,
        (coalesce(order_discount, 0) * 100)::number(38, 0) as order_discount_cents,
        is_sale,
        order_date,
        ordered_at,
        created_at,
        updated_at
    from lines_in_eur

),

running as (

    select
        line_id,
        order_id,
        product_id,
        customer_id,
        order_status,
        currency,
        quantity,
        unit_price,
        has_own_cost,
        unit_cost,
        line_amount,
        returned_quantity,
        returned_amount,
        returned_in_eur,
        line_cents,
        order_discount_cents,
        sum(line_cents) over (
            partition by order_id order by line_id rows between unbounded preceding and current row
        )::number(38, 0) as cents_up_to_line,
        sum(line_cents) over (partition by order_id)::number(38, 0) as order_cents,
        row_number() over (partition by order_id order by line_cents desc, line_id asc) = 1 as is_main_line,
        is_sale,
        order_date,
        ordered_at,
        created_at,
        updated_at
    from lines_in_cents

),

-- Cumulative rounding: each line gets the rounded share up to and including itself, less the one before it. The last
-- share up to is the whole discount, so the lines add up to it whatever the rounding did. Where every line is free,
-- the main line bears it.
shared as (

    select
        line_id,
        order_id,
        product_id,
        customer_id,
        order_status,
        currency,
        quantity,
        unit_price,
        has_own_cost,
        unit_cost,
        line_amount,
        returned_quantity,
        returned_amount,
        returned_in_eur,
        (
            case
                when line_amount is null then null
                when order_cents = 0 then iff(is_main_line, order_discount_cents, 0)
                else
                    {{ whole_quotient('2 * order_discount_cents * cents_up_to_line + order_cents', '2 * order_cents') }}
                    - {{
                        whole_quotient(
                            '2 * order_discount_cents * (cents_up_to_line - line_cents) + order_cents', '2 * order_cents'
                        )
                    }}
            end / 100
        )::number(18, 2) as discount_share,
        is_sale,
        is_main_line,
        order_date,
        ordered_at,
        created_at,
        updated_at
    from running

)

select
    line_id,
    order_id,
    product_id,
    customer_id,
    order_status,
    currency,
    quantity::number(38, 0) as quantity,
    returned_quantity::number(38, 0) as returned_quantity,
    iff(is_sale, quantity, 0)::number(38, 0) as units_sold,
    iff(is_sale, iff(order_status = 'refunded', quantity, returned_quantity), 0)::number(38, 0) as units_refunded,
    unit_price,
    returned_amount::number(12, 2) as returned_amount,
    unit_cost::number(12, 2) as unit_cost,
    has_own_cost,
    line_amount,
    discount_share,
    iff(is_sale, line_amount, 0)::number(18, 2) as gross_revenue,
    iff(is_sale, discount_share, 0)::number(18, 2) as discount_amount,
    iff(is_sale, iff(order_status = 'refunded', line_amount - discount_share, returned_in_eur), 0)::number(18, 2)
        as refunded_amount,
    iff(is_sale and order_status <> 'refunded', line_amount - discount_share - returned_in_eur, 0)::number(18, 2)
        as net_revenue,
    iff(
        units_sold = units_refunded and net_revenue = 0, 0, (units_sold - units_refunded) * unit_cost
    )::number(18, 2) as cost_of_goods,
    is_sale,
    is_main_line,
    order_date,
    ordered_at,
    created_at,
    updated_at
from shared
