{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='user_id',
        pre_hook="{{ remember_touched(touched_keys('STG_USERS', 'user_id')) }}",
        tags=['partitioned']
    )
}}

with log as (

    select
        id,
        country,
        subscription_plan,
        age_group,
        device_preference,
        is_active,
        created_at,
        updated_at,
        _deleted_at,
        _source_row,
        coalesce(_deleted, false) as is_deleted,
        coalesce(_quarantined, false) as is_quarantined,
        row_number() over (partition by id order by {{ as_seen() }}) as seen_as
    from {{ source('streamvision', 'STG_USERS') }}
    {% if is_windowed() %}
        where id in (select touched.user_id from {{ touched() }} as touched)
    {% endif %}

),

-- What the newest snapshot saw of each user: whether there is one, and what has no history here.
newest as (

    select
        id,
        is_deleted,
        is_quarantined,
        _deleted_at as deleted_at
    from log
    qualify row_number() over (partition by id order by seen_as desc) = 1

),

versions as (

    select
        id,
        country,
        subscription_plan,
        age_group,
        device_preference,
        is_active,
        created_at,
        updated_at,
        seen_as,
        min(updated_at) over (
            partition by id order by seen_as rows between 1 following and unbounded following
        ) as dated_later_on
    from log
    where not is_deleted and not is_quarantined

),

-- A version counts from its updated_at until the next. Where a later snapshot saw a row dated before it, that is how it
-- was: what had been seen of the time from then on is void. So the versions left are in the order of their times.
known as (

    select
        id,
        country,
        subscription_plan,
        created_at,
        updated_at,
        seen_as,
        lag(country) over (partition by id order by seen_as) as country_before,
        lag(subscription_plan) over (partition by id order by seen_as) as plan_before,
        row_number() over (partition by id order by seen_as) = 1 as is_first
    from versions
    where dated_later_on is null or dated_later_on > updated_at

),

-- Before it was first seen, a user is taken to have been as then.
changes as (

    select
        id,
        country,
        subscription_plan,
        iff(is_first, least(created_at, updated_at), updated_at) as valid_from,
        row_number() over (partition by id order by seen_as) as version_number,
        lead(updated_at) over (partition by id order by seen_as) as next_from
    from known
    where
        is_first
        or country is distinct from country_before
        or subscription_plan is distinct from plan_before

),

latest_version as (

    select
        id,
        age_group,
        device_preference,
        is_active,
        created_at,
        updated_at
    from versions
    qualify row_number() over (partition by id order by seen_as desc) = 1

)

select
    changes.id as user_id,
    changes.id::varchar || '-' || changes.version_number::varchar as user_version,
    changes.country,
    changes.subscription_plan,
    latest_version.age_group,
    latest_version.device_preference,
    changes.version_number::number(38, 0) as version_number,
    latest_version.is_active,
    changes.next_from is null and not newest.is_deleted and not newest.is_quarantined as is_current,
    {{ reporting_day('latest_version.created_at') }} as signup_date,
    changes.valid_from,
    case
        when changes.next_from is not null then changes.next_from
        when newest.is_deleted
            then greatest(
                coalesce(newest.deleted_at, latest_version.updated_at),
                dateadd('microsecond', 1, latest_version.updated_at),
                dateadd('microsecond', 1, changes.valid_from)
            )
        else '9999-12-31'::timestamp_ntz
    end::timestamp_ntz(6) as valid_to,
    latest_version.updated_at
from changes
inner join newest on changes.id = newest.id
inner join latest_version on changes.id = latest_version.id
