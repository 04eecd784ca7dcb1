{{ config(materialized='table') }}

with customers as (

    select
        customer_id,
        country,
        plan,
        acquisition_channel,
        signup_date,
        updated_at
    from {{ ref('dim_customers') }}

),

orders as (

    select
        order_id,
        customer_id,
        gross_revenue,
        discount_amount,
        net_revenue,
        is_sale,
        order_date,
        updated_at
    from {{ ref('fact_orders') }}

),

order_items as (

    select
        customer_id,
        units_sold - units_refunded as units_kept,
        net_revenue,
        cost_of_goods
    from {{ ref('fact_order_items') }}

),

-- The day the figures are as of: the latest day in the data, never the clock, so a rebuild gives the same table.
as_of as (

    select {{ reporting_day('max(changed_at)') }} as as_of_date
    from (
        select max(updated_at) as changed_at from customers
        union all
        select max(updated_at) as changed_at from orders
        union all
        select max(occurred_at) as changed_at from {{ ref('fact_events') }}
    )

),

sales as (

    select
        customer_id,
        count(*) as orders,
        sum(gross_revenue - discount_amount)::number(18, 2) as ordered_amount,
        sum(net_revenue)::number(18, 2) as net_revenue,
        min(order_date) as first_order_date,
        max(order_date) as last_order_date
    from orders
    where is_sale
    group by customer_id

),

costs as (

    select
        customer_id,
        sum(cost_of_goods)::number(18, 2) as cost_of_goods,
        sum(iff(cost_of_goods is null, units_kept, 0)) as units_without_cost,
        sum(iff(cost_of_goods is null, net_revenue, 0))::number(18, 2) as revenue_without_cost
    from order_items
    group by customer_id

),

known_ids as (

    select customer_id from customers
    union
    select customer_id from sales

),

history as (

    select
        known_ids.customer_id,
        coalesce(customers.country, 'unknown') as country,
        coalesce(customers.plan, 'unknown') as plan,
        coalesce(customers.acquisition_channel, 'unknown') as acquisition_channel,
        coalesce(sales.orders, 0) as orders,
        coalesce(sales.ordered_amount, 0)::number(18, 2) as ordered_amount,
        coalesce(sales.net_revenue, 0)::number(18, 2) as net_revenue,
        coalesce(costs.units_without_cost, 0) as units_without_cost,
        iff(
            costs.customer_id is not null and costs.cost_of_goods is null,
            null,
            coalesce(sales.net_revenue, 0) - coalesce(costs.revenue_without_cost, 0) - coalesce(costs.cost_of_goods, 0)
        )::number(18, 2) as margin,
        customers.signup_date,
        sales.first_order_date,
        sales.last_order_date,
        as_of.as_of_date,
        greatest(
            1 + datediff(
                'day',
                least(
                    coalesce(customers.signup_date, sales.first_order_date),
                    coalesce(sales.first_order_date, customers.signup_date)
                ),
                as_of.as_of_date
            ),
            1
        ) as days_observed
    from known_ids
    cross join as_of
    left join customers on known_ids.customer_id = customers.customer_id
    left join sales on known_ids.customer_id = sales.customer_id
    left join costs on known_ids.customer_id = costs.customer_id

),

-- What the latest fit expects of the customers whom it knew.
projections as (

    select
        customer_id,
        p_alive,
        projected_12m_orders,
        projected_12m_orders_low,
        projected_12m_orders_high,
        projected_12m_revenue,
        projected_12m_margin,
        projected_12m_margin_low,
        projected_12m_margin_high,
        as_of_date
    from {{ source('fitted', 'CUSTOMER_VALUE') }}

),

ranked as (

    select
        customer_id,
        count(*) over () as buyers,
        rank() over (order by last_order_date asc) as recency_rank,
        rank() over (order by orders asc) as frequency_rank,
        rank() over (order by net_revenue asc) as monetary_rank
    from history
    where orders > 0

),

scores as (

    select
        customer_id,
        {{ quintile('recency_rank', 'buyers') }} as recency_score,
        {{ quintile('frequency_rank', 'buyers') }} as frequency_score,
        {{ quintile('monetary_rank', 'buyers') }} as monetary_score
    from ranked

)

select
    history.customer_id,
    history.country,
    history.plan,
    history.acquisition_channel,
    case
        when scores.customer_id is null then 'no_orders'
        when scores.recency_score >= 4 and scores.frequency_score >= 4 then 'champions'
        when scores.recency_score >= 3 and scores.frequency_score >= 3 then 'loyal'
        when scores.recency_score >= 4 then 'new_or_promising'
        when scores.recency_score = 3 then 'needs_attention'
        when scores.frequency_score >= 3 then 'at_risk'
        else 'hibernating'
    end as rfm_segment,
    history.orders::number(38, 0) as orders,
    history.net_revenue,
    history.units_without_cost::number(38, 0) as units_without_cost,
    history.margin,
    (history.ordered_amount / nullif(history.orders, 0))::number(18, 2) as average_order_value,
    history.days_observed::number(38, 0) as days_observed,
    iff(
        history.days_observed >= {{ var('minimum_days_observed') }},
        365 * history.orders::double / history.days_observed,
        null
    )::number(18, 6) as orders_per_year,
    projections.p_alive::number(9, 6) as p_alive,
    projections.projected_12m_orders::number(18, 6) as projected_12m_orders,
    projections.projected_12m_orders_low::number(38, 0) as projected_12m_orders_low,
    projections.projected_12m_orders_high::number(38, 0) as projected_12m_orders_high,
    projections.projected_12m_revenue::number(18, 2) as projected_12m_revenue,
    projections.projected_12m_margin::number(18, 2) as projected_12m_margin,
    projections.projected_12m_margin_low::number(18, 2) as projected_12m_margin_low,
    projections.projected_12m_margin_high::number(18, 2) as projected_12m_margin_high,
    scores.recency_score,
    scores.frequency_score,
    scores.monetary_score,
    history.signup_date,
    history.first_order_date,
    history.last_order_date,
    projections.as_of_date as projection_as_of_date,
    history.as_of_date
from history
left join projections on history.customer_id = projections.customer_id
left join scores on history.customer_id = scores.customer_id
