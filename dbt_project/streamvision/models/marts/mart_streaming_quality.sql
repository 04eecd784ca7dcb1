{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='viewing_date',
        pre_hook="{{ remember_touched(told_days('fact_viewing_sessions', 'viewing_date')) }}",
        meta={'follows': {'fact_viewing_sessions': 'viewing_date'}},
        tags=['partitioned']
    )
}}

with totals as (

    select
        resolution,
        device,
        viewing_date,
        count(*) as sessions,
        sum(watched_seconds) as watched_seconds,
        sum(buffering_events) as buffering_events,
        sum(iff(buffering_events > 0, 1, 0)) as sessions_with_buffering,
        sum(bitrate_kbps * watched_seconds) as kilobits
    from {{ ref('fact_viewing_sessions') }}
    {% if is_windowed() %}
        where viewing_date in (select touched.viewing_date from {{ touched() }} as touched)
    {% endif %}
    group by resolution, device, viewing_date

)

select
    coalesce(resolution, 'unknown') as resolution,
    coalesce(device, 'unknown') as device,
    sessions::number(38, 0) as sessions,
    watched_seconds::number(38, 0) as watched_seconds,
    {{ hours('watched_seconds') }} as watched_hours,
    buffering_events::number(38, 0) as buffering_events,
    sessions_with_buffering::number(38, 0) as sessions_with_buffering,
    kilobits::number(38, 0) as kilobits,
    {{ share('buffering_events * 3600', 'watched_seconds') }} as buffering_per_hour,
    {{ share('kilobits', 'watched_seconds') }} as average_bitrate_kbps,
    {{ share('sessions', 'sum(sessions) over (partition by viewing_date)') }} as session_share,
    viewing_date
from totals
