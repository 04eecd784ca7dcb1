{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='signup_date',
        pre_hook="{{ remember_touched(touched_signup_dates()) }}",
        meta={
            'follows': {'dim_customers': 'signup_date', 'fact_orders': 'customer_id', 'fact_events': 'customer_id'}
        },
        tags=['partitioned']
    )
}}

with signups as (

    select
        customer_id,
        coalesce(country, 'unknown') as country,
        coalesce(acquisition_channel, 'unknown') as acquisition_channel,
        signed_up_at,
        dateadd('day', {{ var('funnel_days') }}, signed_up_at) as window_end
    from {{ ref('dim_customers') }}
    {% if is_windowed() %}
        where signup_date in (select touched.signup_date from {{ touched() }} as touched)
    {% endif %}

),

-- How far each sign of progress shows that the customer had come: 1 viewed, 2 carted, 3 checked out, 4 ordered.
progress as (

    select
        customer_id,
        occurred_at as reached_at,
        case event_type
            when 'product_view' then 1
            when 'add_to_cart' then 2
            when 'checkout' then 3
            when 'purchase' then 3
        end as step
    from {{ ref('fact_events') }}
    where event_type in ('product_view', 'add_to_cart', 'checkout', 'purchase')
    union all
    select
        customer_id,
        ordered_at as reached_at,
        4 as step
    from {{ ref('fact_orders') }}

),

furthest as (

    select
        signups.customer_id,
        max(progress.step) as step
    from signups
    inner join progress
        on
            signups.customer_id = progress.customer_id
            and signups.signed_up_at <= progress.reached_at
            and signups.window_end > progress.reached_at
    group by signups.customer_id

),

totals as (

    select
        signups.country,
        signups.acquisition_channel,
        signups.signed_up_at::date as signup_date,
        count(*) as signed_up,
        sum(iff(furthest.step >= 1, 1, 0)) as viewed,
        sum(iff(furthest.step >= 2, 1, 0)) as carted,
        sum(iff(furthest.step >= 3, 1, 0)) as checked_out,
        sum(iff(furthest.step >= 4, 1, 0)) as ordered
    from signups
    left join furthest on signups.customer_id = furthest.customer_id
    group by signups.country, signups.acquisition_channel, signups.signed_up_at::date

)

select
    country,
    acquisition_channel,
    signed_up::number(38, 0) as signed_up,
    viewed::number(38, 0) as viewed,
    carted::number(38, 0) as carted,
    checked_out::number(38, 0) as checked_out,
    ordered::number(38, 0) as ordered,
    (ordered::double / signed_up)::number(9, 6) as conversion_rate,
    signup_date
from totals
