{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='session_id',
        pre_hook="{{ remember_touched(touched_keys('STG_VIEWING_SESSIONS', 'session_id')) }}",
        tags=['partitioned']
    )
}}

with sessions as (

    select
        id,
        user_id,
        content_id,
        country,
        device,
        resolution,
        duration_seconds,
        completion_rate,
        buffering_events,
        bitrate_kbps,
        started_at,
        ended_at,
        {{ local_time('started_at', 'country') }} as local_started_at
    from {{ source('streamvision', 'STG_VIEWING_SESSIONS') }}
    {% if is_windowed() %}
        where id in (select touched.session_id from {{ touched() }} as touched)
    {% endif %}
    qualify {{ is_current(cursor='ended_at') }}

)

select
    id as session_id,
    user_id,
    content_id,
    country,
    device,
    resolution,
    duration_seconds::number(38, 0) as watched_seconds,
    completion_rate::number(5, 4) as completion_rate,
    buffering_events::number(38, 0) as buffering_events,
    bitrate_kbps::number(38, 0) as bitrate_kbps,
    (hour(local_started_at) * 60 + minute(local_started_at))::number(38, 0) as local_minute_of_day,
    completion_rate >= 0.9 as is_completed,
    {{ reporting_day('started_at') }} as viewing_date,
    local_started_at::date as local_date,
    local_started_at,
    started_at,
    ended_at
from sessions
