{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='search_date',
        pre_hook="{{ remember_touched(told_days('fact_searches', 'search_date')) }}",
        meta={'follows': {'fact_searches': 'search_date'}},
        tags=['partitioned']
    )
}}

with totals as (

    select
        coalesce(search_term, '') as search_term,
        search_date,
        count(*) as searches,
        count(distinct user_id) as unique_searchers,
        sum(iff(has_results, 0, 1)) as searches_without_results,
        sum(iff(has_click, 1, 0)) as searches_with_click,
        sum(results_count) as results
    from {{ ref('fact_searches') }}
    {% if is_windowed() %}
        where search_date in (select touched.search_date from {{ touched() }} as touched)
    {% endif %}
    group by coalesce(search_term, ''), search_date

)

select
    search_term,
    searches::number(38, 0) as searches,
    unique_searchers::number(38, 0) as unique_searchers,
    results::number(38, 0) as results,
    searches_without_results::number(38, 0) as searches_without_results,
    searches_with_click::number(38, 0) as searches_with_click,
    {{ share('searches_with_click', 'searches') }} as click_through_rate,
    {{ share('searches_without_results', 'searches') }} as no_result_rate,
    search_date
from totals
