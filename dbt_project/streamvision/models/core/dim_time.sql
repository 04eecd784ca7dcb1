{{ config(materialized='table') }}

with digits as (

    select column1::number(38, 0) as digit
    from values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)

),

minutes as (

    select ones.digit + 10 * tens.digit + 100 * hundreds.digit + 1000 * thousands.digit as minute_of_day
    from digits as ones
    cross join digits as tens
    cross join digits as hundreds
    cross join digits as thousands
    where ones.digit + 10 * tens.digit + 100 * hundreds.digit + 1000 * thousands.digit < 1440

),

hours as (

    select
        minute_of_day,
        (minute_of_day - mod(minute_of_day, 60)) / 60 as hour_of_day
    from minutes

)

select
    lpad(hour_of_day::number(38, 0)::varchar, 2, '0')
    || ':'
    || lpad(mod(minute_of_day, 60)::number(38, 0)::varchar, 2, '0') as clock_time,
    case
        when hour_of_day < 6 then 'night'
        when hour_of_day < 12 then 'morning'
        when hour_of_day < 18 then 'afternoon'
        else 'evening'
    end as day_part,
    minute_of_day::number(38, 0) as minute_of_day,
    hour_of_day::number(38, 0) as hour_of_day,
    hour_of_day between 19 and 22 as is_prime_time
from hours
