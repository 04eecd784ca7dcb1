{{ config(materialized='table') }}

with data_dates as (

    select '{{ var("start_date") }}'::date as date_day
    union all
    select viewing_date from {{ ref('fact_viewing_sessions') }}
    union all
    select event_date from {{ ref('fact_subscription_events') }}
    union all
    select rating_date from {{ ref('fact_ratings') }}
    union all
    select search_date from {{ ref('fact_searches') }}

),

extent as (

    select
        min(date_day) as first_day,
        max(date_day) as last_day
    from data_dates

),

-- Whole years, and one year beyond the data: the calendar follows the data, never the clock.
bounds as (

    select
        date_trunc('year', first_day)::date as first_day,
        dateadd('year', 2, date_trunc('year', last_day))::date as end_day
    from extent

),

digits as (

    select column1::number(38, 0) as digit
    from values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)

),

offsets as (

    select
        ones.digit + 10 * tens.digit + 100 * hundreds.digit + 1000 * thousands.digit + 10000 * myriads.digit
            as day_offset
    from digits as ones
    cross join digits as tens
    cross join digits as hundreds
    cross join digits as thousands
    cross join digits as myriads

),

days as (

    select dateadd('day', offsets.day_offset, bounds.first_day)::date as date_day
    from bounds
    inner join offsets on datediff('day', bounds.first_day, bounds.end_day) > offsets.day_offset

)

select
    to_char(date_day, 'YYYY-MM') as year_month,
    dayname(date_day) as day_name,
    monthname(date_day) as month_name,
    year(date_day)::number(38, 0) as year_number,
    quarter(date_day)::number(38, 0) as quarter_number,
    month(date_day)::number(38, 0) as month_number,
    dayofmonth(date_day)::number(38, 0) as day_of_month,
    dayofweekiso(date_day)::number(38, 0) as iso_day_of_week,
    weekiso(date_day)::number(38, 0) as iso_week,
    dayofweekiso(date_day) >= 6 as is_weekend,
    date_day,
    dateadd('day', 1 - dayofweekiso(date_day), date_day)::date as week_start,
    date_trunc('month', date_day)::date as month_start
from days
