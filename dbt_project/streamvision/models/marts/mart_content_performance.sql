{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='viewing_date',
        pre_hook="{{ remember_touched(changed_content_days()) }}",
        meta={
            'follows': {
                'fact_viewing_sessions': 'viewing_date', 'fact_ratings': 'rating_date', 'dim_content': 'content_id'
            }
        },
        tags=['partitioned']
    )
}}

with viewing as (

    select
        content_id,
        viewing_date,
        count(*) as sessions,
        count(distinct user_id) as unique_viewers,
        sum(watched_seconds) as watched_seconds,
        sum(completion_rate) as completion_sum,
        sum(iff(is_completed, 1, 0)) as completed_sessions,
        sum(iff(device = 'smart_tv', 1, 0)) as smart_tv_sessions,
        sum(iff(device = 'mobile', 1, 0)) as mobile_sessions,
        sum(iff(device = 'desktop', 1, 0)) as desktop_sessions,
        sum(iff(device = 'tablet', 1, 0)) as tablet_sessions
    from {{ ref('fact_viewing_sessions') }}
    {% if is_windowed() %}
        where viewing_date in (select touched.viewing_date from {{ touched() }} as touched)
    {% endif %}
    group by content_id, viewing_date

),

rated as (

    select
        content_id,
        rating_date,
        count(*) as ratings,
        sum(rating) as rating_sum
    from {{ ref('fact_ratings') }}
    {% if is_windowed() %}
        where rating_date in (select touched.viewing_date from {{ touched() }} as touched)
    {% endif %}
    group by content_id, rating_date

),

-- A title may be rated on a day on which nobody watched it.
joined as (

    select
        coalesce(viewing.content_id, rated.content_id) as content_id,
        coalesce(viewing.sessions, 0) as sessions,
        coalesce(viewing.unique_viewers, 0) as unique_viewers,
        coalesce(viewing.watched_seconds, 0) as watched_seconds,
        coalesce(viewing.completion_sum, 0) as completion_sum,
        coalesce(viewing.completed_sessions, 0) as completed_sessions,
        coalesce(viewing.smart_tv_sessions, 0) as smart_tv_sessions,
        coalesce(viewing.mobile_sessions, 0) as mobile_sessions,
        coalesce(viewing.desktop_sessions, 0) as desktop_sessions,
        coalesce(viewing.tablet_sessions, 0) as tablet_sessions,
        coalesce(rated.ratings, 0) as ratings,
        coalesce(rated.rating_sum, 0) as rating_sum,
        coalesce(viewing.viewing_date, rated.rating_date) as viewing_date
    from viewing
    full outer join rated on viewing.content_id = rated.content_id and viewing.viewing_date = rated.rating_date

)

select
    joined.content_id,
    coalesce(content.title, 'unknown') as title,
    coalesce(content.content_type, 'unknown') as content_type,
    coalesce(content.genre, 'unknown') as genre,
    joined.sessions::number(38, 0) as sessions,
    joined.unique_viewers::number(38, 0) as unique_viewers,
    joined.watched_seconds::number(38, 0) as watched_seconds,
    {{ hours('joined.watched_seconds') }} as watched_hours,
    joined.completion_sum::number(18, 4) as completion_sum,
    joined.completed_sessions::number(38, 0) as completed_sessions,
    joined.smart_tv_sessions::number(38, 0) as smart_tv_sessions,
    joined.mobile_sessions::number(38, 0) as mobile_sessions,
    joined.desktop_sessions::number(38, 0) as desktop_sessions,
    joined.tablet_sessions::number(38, 0) as tablet_sessions,
    joined.ratings::number(38, 0) as ratings,
    joined.rating_sum::number(38, 0) as rating_sum,
    {{ share('joined.completion_sum', 'joined.sessions') }} as average_completion,
    {{ share('joined.rating_sum', 'joined.ratings') }} as average_rating,
    joined.viewing_date
from joined
left join {{ ref('dim_content') }} as content on joined.content_id = content.content_id
