{{ config(materialized='table') }}

with known as (

    select
        column1::varchar as country,
        column2::varchar as country_name,
        column3::varchar as region,
        column4::varchar as time_zone
    from values {{ described_countries() }}

),

-- Countries of the data that nobody has described yet are there too.
met as (

    select country from {{ ref('fact_viewing_sessions') }}
    union
    select country from {{ ref('dim_users') }}

)

select
    country,
    country_name,
    region,
    time_zone,
    true as is_described
from known
union all
select
    country,
    country as country_name,
    'unknown' as region,
    'UTC' as time_zone,
    false as is_described
from met
where country is not null and country not in (select known.country from known)
