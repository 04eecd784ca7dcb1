{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='user_id',
        pre_hook="{{ remember_touched(changed_subscribers()) }}",
        tags=['partitioned']
    )
}}

with events as (

    select
        id,
        user_id,
        event_type,
        from_plan,
        to_plan,
        amount,
        occurred_at
    from {{ source('streamvision', 'STG_SUBSCRIPTION_EVENTS') }}
    {% if is_windowed() %}
        where
            id in (
                select versions.id
                from {{ source('streamvision', 'STG_SUBSCRIPTION_EVENTS') }} as versions
                where versions.user_id in (select touched.user_id from {{ touched() }} as touched)
            )
    {% endif %}
    qualify {{ is_current(cursor='occurred_at') }}

),

-- What an event changes is what the one before it had left, whatever it says of it itself.
continued as (

    select
        id,
        user_id,
        event_type,
        coalesce(lag(to_plan) over (partition by user_id order by occurred_at, id), 'none') as plan_before,
        coalesce(to_plan, 'none') as plan_after,
        coalesce(lag(amount) over (partition by user_id order by occurred_at, id), 0)::number(18, 2) as mrr_before,
        amount::number(18, 2) as mrr_after,
        row_number() over (partition by user_id order by occurred_at, id) = 1 as is_first,
        occurred_at
    from events

)

select
    id as event_id,
    user_id,
    event_type,
    plan_before,
    plan_after,
    mrr_before,
    mrr_after,
    (mrr_after - mrr_before)::number(18, 2) as mrr_change,
    is_first,
    {{ reporting_day('occurred_at') }} as event_date,
    occurred_at
from continued
