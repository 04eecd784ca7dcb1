{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='viewing_id',
        pre_hook="{{ remember_touched(changed_viewings()) }}",
        tags=['partitioned']
    )
}}

with viewings as (

    select
        id,
        session_id,
        episode_id,
        user_id,
        watched_seconds,
        completed,
        occurred_at
    from {{ source('streamvision', 'STG_EPISODE_VIEWING') }}
    {% if is_windowed() %}
        where id in (select touched.viewing_id from {{ touched() }} as touched)
    {% endif %}
    qualify {{ is_current(cursor='occurred_at') }}

),

episodes as (

    select
        id,
        content_id,
        season,
        episode
    from {{ source('streamvision', 'STG_EPISODES') }}
    qualify {{ is_current() }}

)

select
    viewings.id as viewing_id,
    viewings.session_id,
    viewings.episode_id,
    episodes.content_id,
    viewings.user_id,
    episodes.season::number(38, 0) as season,
    episodes.episode::number(38, 0) as episode,
    viewings.watched_seconds::number(38, 0) as watched_seconds,
    viewings.completed as is_completed,
    {{ reporting_day('viewings.occurred_at') }} as viewing_date,
    viewings.occurred_at as stopped_at
from viewings
left join episodes on viewings.episode_id = episodes.id
