{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='event_id',
        pre_hook="{{ remember_touched(touched_keys('STG_EVENTS', 'event_id')) }}",
        tags=['partitioned']
    )
}}

with events as (

    select
        id,
        user_id,
        session_id,
        event_type,
        product_id,
        order_id,
        try_parse_json(properties) as properties,
        occurred_at
    from {{ source('shopstream', 'STG_EVENTS') }}
    {% if is_windowed() %}
        where id in (select touched.event_id from {{ touched() }} as touched)
    {% endif %}
    qualify {{ is_current(cursor='occurred_at') }}

)

select
    id as event_id,
    user_id as customer_id,
    session_id,
    product_id,
    order_id,
    event_type,
    properties:device::varchar as device,
    properties:page::varchar as page,
    properties:referrer::varchar as referrer,
    {{ reporting_day('occurred_at') }} as event_date,
    occurred_at
from events
