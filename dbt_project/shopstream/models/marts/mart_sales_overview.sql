{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='order_date',
        pre_hook="{{ remember_touched(touched_order_dates()) }}",
        meta={
            'follows': {'fact_orders': 'order_date', 'fact_order_items': 'order_id', 'dim_products': 'product_id'},
            'reads': {'dim_products': ['product_id', 'product_category']}
        },
        tags=['partitioned']
    )
}}

with orders as (

    select
        order_id,
        customer_id,
        shipping_country,
        gross_revenue,
        discount_amount,
        refunded_amount,
        net_revenue,
        is_sale,
        order_date
    from {{ ref('fact_orders') }}
    {% if is_windowed() %}
        where order_date in (select touched.order_date from {{ touched() }} as touched)
    {% endif %}

),

order_items as (

    select
        line_id,
        order_id,
        product_id,
        units_sold,
        units_refunded,
        gross_revenue,
        discount_amount,
        refunded_amount,
        net_revenue,
        cost_of_goods,
        is_main_line
    from {{ ref('fact_order_items') }}

),

products as (

    select
        product_id,
        product_category
    from {{ ref('dim_products') }}

),

-- An order without lines keeps its own amounts, in one row of category 'unknown'.
order_lines as (

    select
        orders.order_id,
        orders.customer_id,
        coalesce(orders.shipping_country, 'unknown') as shipping_country,
        coalesce(products.product_category, 'unknown') as product_category,
        coalesce(order_items.units_sold, 0) as units_sold,
        coalesce(order_items.units_refunded, 0) as units_refunded,
        coalesce(order_items.units_sold - order_items.units_refunded, 0) as units_kept,
        iff(order_items.line_id is null, 0, order_items.cost_of_goods) as cost,
        coalesce(order_items.gross_revenue, orders.gross_revenue) as gross_revenue,
        coalesce(order_items.discount_amount, orders.discount_amount) as discount_amount,
        coalesce(order_items.refunded_amount, orders.refunded_amount) as refunded_amount,
        coalesce(order_items.net_revenue, orders.net_revenue) as net_revenue,
        orders.is_sale,
        coalesce(order_items.is_main_line, true) as is_main_line,
        orders.order_date
    from orders
    left join order_items on orders.order_id = order_items.order_id
    left join products on order_items.product_id = products.product_id

),

-- An order counts once, where its main line is: so orders add up over categories too.
totals as (

    select
        shipping_country,
        product_category,
        order_date,
        count(distinct iff(is_main_line, order_id, null)) as orders_placed,
        count(distinct iff(is_main_line and is_sale, order_id, null)) as orders,
        count(distinct iff(is_sale, order_id, null)) as orders_with_category,
        count(distinct iff(is_sale, customer_id, null)) as buyers_with_category,
        sum(units_sold) as units,
        sum(units_refunded) as units_refunded,
        sum(iff(cost is null, units_kept, 0)) as units_without_cost,
        sum(gross_revenue)::number(18, 2) as gross_revenue,
        sum(discount_amount)::number(18, 2) as discount_amount,
        sum(refunded_amount)::number(18, 2) as refunded_amount,
        sum(net_revenue)::number(18, 2) as net_revenue,
        sum(iff(cost is null, 0, net_revenue))::number(18, 2) as net_revenue_with_cost,
        sum(net_revenue - cost)::number(18, 2) as margin
    from order_lines
    group by shipping_country, product_category, order_date

)

select
    shipping_country,
    product_category,
    orders_placed::number(38, 0) as orders_placed,
    orders::number(38, 0) as orders,
    orders_with_category::number(38, 0) as orders_with_category,
    buyers_with_category::number(38, 0) as buyers_with_category,
    units::number(38, 0) as units,
    units_refunded::number(38, 0) as units_refunded,
    units_without_cost::number(38, 0) as units_without_cost,
    gross_revenue,
    discount_amount,
    refunded_amount,
    net_revenue,
    net_revenue_with_cost,
    margin,
    order_date
from totals
