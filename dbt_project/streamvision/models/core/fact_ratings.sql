{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='rating_id',
        pre_hook="{{ remember_touched(touched_keys('STG_RATINGS', 'rating_id')) }}",
        tags=['partitioned']
    )
}}

with ratings as (

    select
        id,
        user_id,
        content_id,
        rating,
        comment is not null as has_comment,
        created_at,
        updated_at
    from {{ source('streamvision', 'STG_RATINGS') }}
    {% if is_windowed() %}
        where id in (select touched.rating_id from {{ touched() }} as touched)
    {% endif %}
    qualify {{ is_current() }}

)

select
    id as rating_id,
    user_id,
    content_id,
    rating::number(38, 0) as rating,
    has_comment,
    updated_at > created_at as is_edited,
    {{ reporting_day('created_at') }} as rating_date,
    created_at as rated_at,
    updated_at
from ratings
