{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='viewing_date',
        pre_hook="{{ remember_touched(changed_engagement_days()) }}",
        meta={'follows': {'fact_viewing_sessions': 'viewing_date'}},
        tags=['partitioned']
    )
}}

with days as (

    select
        viewing_date,
        count(*) as sessions,
        count(distinct user_id) as daily_active_users,
        sum(watched_seconds) as watched_seconds
    from {{ ref('fact_viewing_sessions') }}
    {% if is_windowed() %}
        where viewing_date in (select touched.viewing_date from {{ touched() }} as touched)
    {% endif %}
    group by viewing_date

),

active as (

    select distinct
        user_id,
        viewing_date
    from {{ ref('fact_viewing_sessions') }}

),

looking_back as (

    select
        days.viewing_date,
        count(distinct iff(active.viewing_date > dateadd('day', -7, days.viewing_date), active.user_id, null))
            as weekly_active_users,
        count(distinct active.user_id) as monthly_active_users
    from days
    inner join active
        on
            days.viewing_date >= active.viewing_date
            and active.viewing_date > dateadd('day', -30, days.viewing_date)
    group by days.viewing_date

)

select
    days.sessions::number(38, 0) as sessions,
    days.watched_seconds::number(38, 0) as watched_seconds,
    {{ hours('days.watched_seconds') }} as watched_hours,
    days.daily_active_users::number(38, 0) as daily_active_users,
    looking_back.weekly_active_users::number(38, 0) as weekly_active_users,
    looking_back.monthly_active_users::number(38, 0) as monthly_active_users,
    {{ share('days.daily_active_users', 'looking_back.monthly_active_users') }} as stickiness,
    {{ share('days.watched_seconds / 60', 'days.daily_active_users') }} as minutes_per_viewer,
    days.viewing_date
from days
inner join looking_back on days.viewing_date = looking_back.viewing_date
