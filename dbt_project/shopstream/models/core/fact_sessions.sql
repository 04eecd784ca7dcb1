{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='session_id',
        pre_hook="{{ remember_touched(touched_sessions()) }}",
        meta={
            'follows': {'fact_events': 'session_id'},
            'reads': {
                'fact_events': ['event_id', 'session_id', 'event_type', 'device', 'referrer', 'occurred_at']
            }
        },
        tags=['partitioned']
    )
}}

with events as (

    select
        event_id,
        session_id,
        event_type,
        device,
        referrer,
        occurred_at
    from {{ ref('fact_events') }}
    where
        session_id is not null
        {% if is_windowed() %}
            and session_id in (select touched.session_id from {{ touched() }} as touched)
        {% endif %}

),

first_events as (

    select
        session_id,
        device,
        referrer
    from events
    qualify row_number() over (partition by session_id order by occurred_at asc, event_id asc) = 1

),

totals as (

    select
        session_id,
        count(*) as event_count,
        sum(iff(event_type = 'product_view', 1, 0)) > 0 as has_view,
        sum(iff(event_type = 'add_to_cart', 1, 0)) > 0 as has_cart,
        sum(iff(event_type = 'checkout', 1, 0)) > 0 as has_checkout,
        sum(iff(event_type = 'purchase', 1, 0)) > 0 as has_purchase,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at
    from events
    group by session_id

)

select
    totals.session_id,
    coalesce(first_events.device, 'unknown') as device,
    coalesce(first_events.referrer, 'unknown') as referrer,
    totals.event_count::number(38, 0) as event_count,
    totals.has_view,
    totals.has_cart,
    totals.has_checkout,
    totals.has_purchase,
    {{ reporting_day('totals.started_at') }} as session_date,
    totals.started_at,
    totals.ended_at
from totals
inner join first_events on totals.session_id = first_events.session_id
