{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='event_date',
        pre_hook="{{ remember_touched(changed_subscription_days()) }}",
        meta={'follows': {'fact_subscription_events': 'event_date'}},
        tags=['partitioned']
    )
}}

-- Of each subscriber's day with events, what it began and ended with: who cancels and comes back has not left.
with subscriber_days as (

    select
        user_id,
        event_date,
        count(*) over (partition by user_id, event_date) as events,
        first_value(plan_before) over (partition by user_id, event_date order by occurred_at, event_id) as plan_before,
        plan_after,
        first_value(mrr_before) over (partition by user_id, event_date order by occurred_at, event_id) as mrr_before,
        mrr_after
    from {{ ref('fact_subscription_events') }}
    qualify row_number() over (partition by user_id, event_date order by occurred_at desc, event_id desc) = 1

),

moves as (

    select
        plan_before,
        plan_after,
        event_date,
        sum(events) as events,
        count(*) as subscribers,
        sum(mrr_before)::number(18, 2) as mrr_before,
        sum(mrr_after)::number(18, 2) as mrr_after,
        sum(iff(mrr_before = 0, mrr_after, 0))::number(18, 2) as new_mrr,
        sum(iff(mrr_before > 0 and mrr_after > mrr_before, mrr_after - mrr_before, 0))::number(18, 2) as expansion_mrr,
        sum(iff(mrr_after > 0 and mrr_after < mrr_before, mrr_before - mrr_after, 0))::number(18, 2)
            as contraction_mrr,
        sum(iff(mrr_after = 0, mrr_before, 0))::number(18, 2) as churned_mrr
    from subscriber_days
    group by plan_before, plan_after, event_date

),

-- How each plan's subscribers and revenue change from day to day: what all days before have left is what a day begins
-- with. Days on which nothing happened have no rows.
changes as (

    select
        plan,
        event_date,
        sum(subscribers) as subscribers,
        sum(mrr)::number(18, 2) as mrr
    from (
        select
            plan_after as plan,
            event_date,
            subscribers,
            mrr_after as mrr
        from moves
        union all
        select
            plan_before as plan,
            event_date,
            -subscribers as subscribers,
            -mrr_before as mrr
        from moves
    ) as sides
    where plan <> 'none'
    group by plan, event_date

),

days as (

    select distinct event_date
    from moves

),

plans as (

    select distinct plan
    from changes

),

begun_with as (

    select
        plans.plan,
        days.event_date,
        coalesce(sum(changes.subscribers) over (
            partition by plans.plan order by days.event_date rows between unbounded preceding and 1 preceding
        ), 0) as subscribers,
        coalesce(sum(changes.mrr) over (
            partition by plans.plan order by days.event_date rows between unbounded preceding and 1 preceding
        ), 0)::number(18, 2) as mrr
    from days
    cross join plans
    left join changes on plans.plan = changes.plan and days.event_date = changes.event_date

),

-- Whoever is not among a day's moves keeps plan and price.
stayed as (

    select
        begun_with.plan,
        begun_with.event_date,
        begun_with.subscribers - coalesce(sum(moves.subscribers), 0) as subscribers,
        (begun_with.mrr - coalesce(sum(moves.mrr_before), 0))::number(18, 2) as mrr
    from begun_with
    left join moves on begun_with.plan = moves.plan_before and begun_with.event_date = moves.event_date
    group by begun_with.plan, begun_with.event_date, begun_with.subscribers, begun_with.mrr

),

transitions as (

    select
        plan_before,
        plan_after,
        events,
        subscribers,
        mrr_before,
        mrr_after,
        new_mrr,
        expansion_mrr,
        contraction_mrr,
        churned_mrr,
        event_date
    from moves
    union all
    select
        plan as plan_before,
        plan as plan_after,
        0 as events,
        subscribers,
        mrr as mrr_before,
        mrr as mrr_after,
        0 as new_mrr,
        0 as expansion_mrr,
        0 as contraction_mrr,
        0 as churned_mrr,
        event_date
    from stayed
    where subscribers <> 0

),

totals as (

    select
        plan_before,
        plan_after,
        event_date,
        sum(events) as events,
        sum(iff(plan_before = 'none', 0, subscribers)) as subscribers_at_start,
        sum(iff(plan_after = 'none', 0, subscribers)) as subscribers_at_end,
        sum(iff(plan_before = 'none' and plan_after <> 'none', subscribers, 0)) as new_subscribers,
        sum(iff(plan_before <> 'none' and plan_after = 'none', subscribers, 0)) as churned_subscribers,
        sum(mrr_before) as mrr_at_start,
        sum(mrr_after) as mrr,
        sum(new_mrr) as new_mrr,
        sum(expansion_mrr) as expansion_mrr,
        sum(contraction_mrr) as contraction_mrr,
        sum(churned_mrr) as churned_mrr
    from transitions
    {% if is_windowed() %}
        where event_date in (select touched.event_date from {{ touched() }} as touched)
    {% endif %}
    group by plan_before, plan_after, event_date

)

select
    plan_before,
    plan_after,
    events::number(38, 0) as events,
    subscribers_at_start::number(38, 0) as subscribers_at_start,
    subscribers_at_end::number(38, 0) as subscribers_at_end,
    new_subscribers::number(38, 0) as new_subscribers,
    churned_subscribers::number(38, 0) as churned_subscribers,
    mrr_at_start::number(18, 2) as mrr_at_start,
    mrr::number(18, 2) as mrr,
    new_mrr::number(18, 2) as new_mrr,
    expansion_mrr::number(18, 2) as expansion_mrr,
    contraction_mrr::number(18, 2) as contraction_mrr,
    churned_mrr::number(18, 2) as churned_mrr,
    {{ share('churned_subscribers', 'sum(subscribers_at_start) over (partition by event_date)') }} as logo_churn,
    {{ share('(churned_mrr + contraction_mrr)', 'sum(mrr_at_start) over (partition by event_date)') }} as revenue_churn,
    event_date
from totals
