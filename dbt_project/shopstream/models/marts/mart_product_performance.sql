{{ config(materialized='table') }}

with products as (

    select
        product_id,
        sku,
        product_name,
        product_category,
        list_price,
        unit_cost,
        is_active
    from {{ ref('dim_products') }}

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
        net_revenue,
        cost_of_goods,
        is_sale
    from {{ ref('fact_order_items') }}

),

events as (

    select
        session_id,
        product_id,
        order_id,
        event_type
    from {{ ref('fact_events') }}

),

sales as (

    select
        product_id,
        count(distinct iff(is_sale, order_id, null)) as orders,
        sum(units_sold) as units,
        sum(units_refunded) as units_refunded,
        sum(gross_revenue)::number(18, 2) as gross_revenue,
        sum(discount_amount)::number(18, 2) as discount_amount,
        sum(refunded_amount)::number(18, 2) as refunded_amount,
        sum(net_revenue)::number(18, 2) as net_revenue,
        sum(iff(cost_of_goods is null, units_sold - units_refunded, 0)) as units_without_cost,
        sum(iff(cost_of_goods is null, 0, net_revenue))::number(18, 2) as net_revenue_with_cost,
        sum(net_revenue - cost_of_goods)::number(18, 2) as margin
    from order_items
    group by product_id

),

interest as (

    select
        product_id,
        sum(iff(event_type = 'product_view', 1, 0)) as views,
        sum(iff(event_type = 'add_to_cart', 1, 0)) as carts,
        count(distinct iff(event_type = 'product_view', session_id, null)) as viewing_sessions
    from events
    where product_id is not null
    group by product_id

),

-- Sessions that ended in an order of a product they had viewed. Both sides of the rate are tracked sessions: orders
-- are complete and sessions a consented sample, so orders over views would compare two populations.
converted_sessions as (

    select
        views.product_id,
        count(distinct views.session_id) as ordering_sessions
    from events as views
    inner join events as purchases
        on views.session_id = purchases.session_id and purchases.event_type = 'purchase'
    inner join order_items
        on purchases.order_id = order_items.order_id and views.product_id = order_items.product_id
    where views.event_type = 'product_view'
    group by views.product_id

),

-- Products that were sold or viewed but are missing from the catalogue keep their figures.
known_ids as (

    select product_id from products
    union
    select product_id from sales
    union
    select product_id from interest

),

figures as (

    select
        known_ids.product_id,
        coalesce(products.sku, 'unknown') as sku,
        coalesce(products.product_name, 'unknown') as product_name,
        coalesce(products.product_category, 'unknown') as product_category,
        products.list_price,
        products.unit_cost,
        coalesce(sales.orders, 0) as orders,
        coalesce(sales.units, 0) as units,
        coalesce(sales.units_refunded, 0) as units_refunded,
        coalesce(sales.gross_revenue, 0) as gross_revenue,
        coalesce(sales.discount_amount, 0) as discount_amount,
        coalesce(sales.refunded_amount, 0) as refunded_amount,
        coalesce(sales.net_revenue, 0) as net_revenue,
        coalesce(sales.units_without_cost, 0) as units_without_cost,
        coalesce(sales.net_revenue_with_cost, 0) as net_revenue_with_cost,
        iff(sales.product_id is null, 0, sales.margin) as margin,
        coalesce(interest.views, 0) as views,
        coalesce(interest.carts, 0) as carts,
        coalesce(interest.viewing_sessions, 0) as viewing_sessions,
        coalesce(converted_sessions.ordering_sessions, 0) as ordering_sessions,
        coalesce(products.is_active, false) as is_active
    from known_ids
    left join products on known_ids.product_id = products.product_id
    left join sales on known_ids.product_id = sales.product_id
    left join interest on known_ids.product_id = interest.product_id
    left join converted_sessions on known_ids.product_id = converted_sessions.product_id

)

select
    product_id,
    sku,
    product_name,
    product_category,
    list_price::number(18, 2) as list_price,
    unit_cost::number(18, 2) as unit_cost,
    orders::number(38, 0) as orders,
    units::number(38, 0) as units,
    units_refunded::number(38, 0) as units_refunded,
    units_without_cost::number(38, 0) as units_without_cost,
    gross_revenue::number(18, 2) as gross_revenue,
    discount_amount::number(18, 2) as discount_amount,
    refunded_amount::number(18, 2) as refunded_amount,
    net_revenue::number(18, 2) as net_revenue,
    net_revenue_with_cost::number(18, 2) as net_revenue_with_cost,
    margin::number(18, 2) as margin,
    iff(net_revenue_with_cost > 0, margin::double / net_revenue_with_cost, null)::number(18, 6) as margin_rate,
    {{ rate('units_refunded', 'units') }} as refund_rate,
    views::number(38, 0) as views,
    carts::number(38, 0) as carts,
    viewing_sessions::number(38, 0) as viewing_sessions,
    ordering_sessions::number(38, 0) as ordering_sessions,
    {{ rate('ordering_sessions', 'viewing_sessions') }} as view_to_order_rate,
    row_number() over (order by net_revenue desc, product_id asc)::number(38, 0) as revenue_rank,
    (net_revenue::double / nullif(sum(net_revenue) over (), 0))::number(18, 6) as revenue_share,
    is_active
from figures
