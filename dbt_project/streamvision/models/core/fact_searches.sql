{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='search_id',
        pre_hook="{{ remember_touched(touched_keys('STG_SEARCH_QUERIES', 'search_id')) }}",
        tags=['partitioned']
    )
}}

with searches as (

    select
        id,
        user_id,
        query,
        results_count,
        clicked_content_id,
        occurred_at
    from {{ source('streamvision', 'STG_SEARCH_QUERIES') }}
    {% if is_windowed() %}
        where id in (select touched.search_id from {{ touched() }} as touched)
    {% endif %}
    qualify {{ is_current(cursor='occurred_at') }}

)

select
    id as search_id,
    user_id,
    clicked_content_id,
    lower(trim(query)) as search_term,
    results_count::number(38, 0) as results_count,
    results_count > 0 as has_results,
    clicked_content_id is not null as has_click,
    {{ reporting_day('occurred_at') }} as search_date,
    occurred_at as searched_at
from searches
