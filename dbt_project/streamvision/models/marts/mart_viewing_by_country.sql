{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='viewing_date',
        pre_hook="{{ remember_touched(changed_country_days()) }}",
        meta={'follows': {'fact_viewing_sessions': 'viewing_date', 'dim_users': 'user_id'}},
        tags=['partitioned']
    )
}}

with sessions as (

    select
        session_id,
        user_id,
        coalesce(country, 'unknown') as country,
        watched_seconds,
        local_minute_of_day,
        started_at,
        viewing_date
    from {{ ref('fact_viewing_sessions') }}
    {% if is_windowed() %}
        where viewing_date in (select touched.viewing_date from {{ touched() }} as touched)
    {% endif %}

),

-- Where the viewer lived at the time.
residence as (

    select
        sessions.user_id,
        sessions.country,
        sessions.watched_seconds,
        sessions.local_minute_of_day,
        sessions.viewing_date,
        users.country <> sessions.country as is_abroad
    from sessions
    left join {{ ref('dim_users') }} as users
        on
            sessions.user_id = users.user_id
            and sessions.started_at >= users.valid_from
            and sessions.started_at < users.valid_to

)

select
    country,
    count(*)::number(38, 0) as sessions,
    count(distinct user_id)::number(38, 0) as unique_viewers,
    sum(watched_seconds)::number(38, 0) as watched_seconds,
    {{ hours('sum(watched_seconds)') }} as watched_hours,
    sum(iff(is_abroad, 1, 0))::number(38, 0) as sessions_abroad,
    sum(iff(local_minute_of_day >= 19 * 60 and local_minute_of_day < 23 * 60, 1, 0))::number(38, 0)
        as prime_time_sessions,
    {{ share('sum(iff(local_minute_of_day >= 19 * 60 and local_minute_of_day < 23 * 60, 1, 0))', 'count(*)') }}
        as prime_time_share,
    viewing_date
from residence
group by country, viewing_date
