{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='content_id',
        pre_hook="{{ remember_touched(touched_keys('STG_CONTENT', 'content_id')) }}",
        tags=['partitioned']
    )
}}

with content as (

    select
        id,
        title,
        content_type,
        genre,
        subgenre,
        director,
        main_actor,
        content_rating,
        available_countries,
        tags,
        release_year,
        duration_minutes,
        imdb_rating,
        is_original,
        added_date,
        updated_at
    from {{ source('streamvision', 'STG_CONTENT') }}
    {% if is_windowed() %}
        where id in (select touched.content_id from {{ touched() }} as touched)
    {% endif %}
    qualify {{ is_current() }}

)

select
    id as content_id,
    title,
    content_type,
    genre,
    subgenre,
    director,
    main_actor,
    content_rating,
    available_countries,
    tags,
    release_year::number(38, 0) as release_year,
    duration_minutes::number(38, 0) as duration_minutes,
    imdb_rating::number(3, 1) as imdb_rating,
    array_size(available_countries)::number(38, 0) as country_count,
    coalesce(array_size(tags), 0)::number(38, 0) as tag_count,
    is_original,
    available_countries is null as is_available_everywhere,
    added_date,
    updated_at
from content
