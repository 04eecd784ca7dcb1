{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='session_date',
        pre_hook="{{ remember_touched(touched_session_dates()) }}",
        meta={
            'follows': {'fact_sessions': 'session_date'},
            'reads': {
                'fact_sessions': [
                    'session_id', 'session_date', 'device', 'referrer', 'has_view', 'has_cart', 'has_checkout',
                    'has_purchase'
                ]
            }
        },
        tags=['partitioned']
    )
}}

with sessions as (

    select
        device,
        referrer,
        has_view,
        has_cart,
        has_checkout,
        has_purchase,
        session_date
    from {{ ref('fact_sessions') }}
    {% if is_windowed() %}
        where session_date in (select touched.session_date from {{ touched() }} as touched)
    {% endif %}

)

select
    device,
    referrer,
    count(*)::number(38, 0) as sessions,
    sum(iff(has_view, 1, 0))::number(38, 0) as sessions_with_view,
    sum(iff(has_cart, 1, 0))::number(38, 0) as sessions_with_cart,
    sum(iff(has_checkout, 1, 0))::number(38, 0) as sessions_with_checkout,
    sum(iff(has_purchase, 1, 0))::number(38, 0) as sessions_with_purchase,
    sum(iff(has_cart and not has_purchase, 1, 0))::number(38, 0) as carts_abandoned,
    session_date
from sessions
group by device, referrer, session_date
