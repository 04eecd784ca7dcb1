{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='signup_date',
        pre_hook="{{ remember_touched(touched_signup_dates()) }}",
        meta={
            'follows': {'dim_customers': 'signup_date', 'fact_orders': ['customer_id', 'order_date']},
            'reads': {
                'dim_customers': ['customer_id', 'country', 'acquisition_channel', 'signup_date', 'signed_up_at'],
                'fact_orders': ['order_id', 'customer_id', 'order_date', 'ordered_at']
            }
        },
        tags=['partitioned']
    )
}}

with as_of as (

    {{ sales_as_of() }}

),

signups as (

    select
        customer_id,
        coalesce(country, 'unknown') as country,
        coalesce(acquisition_channel, 'unknown') as acquisition_channel,
        signup_date,
        signed_up_at
    from {{ ref('dim_customers') }}
    {% if is_windowed() %}
        where signup_date in (select touched.signup_date from {{ touched() }} as touched)
    {% endif %}

),

orders as (

    select
        customer_id,
        ordered_at
    from {{ ref('fact_orders') }}

),

first_orders as (

    select
        signups.customer_id,
        min(orders.ordered_at) as ordered_at
    from signups
    inner join orders
        on signups.customer_id = orders.customer_id and signups.signed_up_at <= orders.ordered_at
    group by signups.customer_id

),

totals as (

    select
        signups.country,
        signups.acquisition_channel,
        signups.signup_date,
        count(*) as signed_up,
        sum(iff(first_orders.ordered_at < dateadd('day', 7, signups.signed_up_at), 1, 0)) as ordered_within_7d,
        sum(iff(first_orders.ordered_at < dateadd('day', 30, signups.signed_up_at), 1, 0)) as ordered_within_30d,
        sum(iff(first_orders.ordered_at < dateadd('day', 90, signups.signed_up_at), 1, 0)) as ordered_within_90d
    from signups
    left join first_orders on signups.customer_id = first_orders.customer_id
    group by signups.country, signups.acquisition_channel, signups.signup_date

)

select
    totals.country,
    totals.acquisition_channel,
    totals.signed_up::number(38, 0) as signed_up,
    totals.ordered_within_7d::number(38, 0) as ordered_within_7d,
    totals.ordered_within_30d::number(38, 0) as ordered_within_30d,
    totals.ordered_within_90d::number(38, 0) as ordered_within_90d,
    {{ is_window_over('totals.signup_date', 7) }} as is_complete_7d,
    {{ is_window_over('totals.signup_date', 30) }} as is_complete_30d,
    {{ is_window_over('totals.signup_date', 90) }} as is_complete_90d,
    totals.signup_date
from totals
cross join as_of
