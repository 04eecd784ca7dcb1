{#- What a change in the window reaches, beyond its own keys: see touched_keys.sql of the shared macros. -#}

{#- Viewings of episodes that changed, or whose episode did. -#}
{% macro changed_viewings() -%}
    {{ touched_keys('STG_EPISODE_VIEWING', 'viewing_id') }}
    union
    select id
    from {{ source('streamvision', 'STG_EPISODE_VIEWING') }}
    where episode_id in ({{ touched_keys('STG_EPISODES', 'episode_id') }})
{%- endmacro %}

{#- Users any of whose subscription events changed: each event says what the one before it left. -#}
{% macro changed_subscribers() -%}
    {%- set events = touched_keys('STG_SUBSCRIPTION_EVENTS', 'event_id') -%}
    select user_id
    from {{ source('streamvision', 'STG_SUBSCRIPTION_EVENTS') }}
    where user_id is not null and id in ({{ events }})
    union
    select user_id
    from {{ this }}
    where event_id in ({{ events }})
{%- endmacro %}

{#- Days of a mart that its only parent told of. The first query names the column. -#}
{% macro told_days(fact, column) -%}
    {{ every_day_if_told(fact, column) }}
    union
    {{ told_by(fact, 'day') }}
{%- endmacro %}

{#- Days of a parent and of this model, where some parent said that everything may have changed. -#}
{% macro every_day_if_told(fact, column) -%}
    select {{ column }}
    from {{ ref(fact) }}
    where {{ told_everything() }}
    union
    select {{ column }}
    from {{ this }}
    where {{ told_everything() }}
{%- endmacro %}

{#- Days on which a title was watched or rated whose sessions, ratings or description changed. -#}
{% macro changed_content_days() -%}
    select viewing_date
    from {{ this }}
    where content_id in ({{ told_by('dim_content') }}) or {{ told_everything() }}
    union
    {{ told_by('fact_viewing_sessions', 'day') }}
    union
    {{ told_by('fact_ratings', 'day') }}
    union
    select viewing_date
    from {{ ref('fact_viewing_sessions') }}
    where {{ told_everything() }}
    union
    select rating_date
    from {{ ref('fact_ratings') }}
    where {{ told_everything() }}
{%- endmacro %}

{#- Days whose sessions changed, or on which someone watched whose history of residence did. -#}
{% macro changed_country_days() -%}
    {{ told_days('fact_viewing_sessions', 'viewing_date') }}
    union
    select viewing_date
    from {{ ref('fact_viewing_sessions') }}
    where user_id in ({{ told_by('dim_users') }})
{%- endmacro %}

{#- Days whose sessions changed, and the 29 after each: they look back on it. -#}
{% macro changed_engagement_days() -%}
    {{ told_days('fact_viewing_sessions', 'viewing_date') }}
    union
    select days.viewing_date
    from (
        select viewing_date from {{ ref('fact_viewing_sessions') }}
        union
        select viewing_date from {{ this }}
    ) as days
    inner join ({{ told_by('fact_viewing_sessions', 'day') }}) as told
        on days.viewing_date >= told.day and days.viewing_date < dateadd('day', 30, told.day)
{%- endmacro %}

{#- Days from the first whose events changed: what recurs is what all days before it have left. -#}
{% macro changed_subscription_days() -%}
    {%- set first = "select min(day) from " ~ touched('told') ~ " where model_name = 'fact_subscription_events'" -%}
    {{ told_days('fact_subscription_events', 'event_date') }}
    union
    select event_date
    from {{ ref('fact_subscription_events') }}
    where event_date >= ({{ first }})
    union
    select event_date
    from {{ this }}
    where event_date >= ({{ first }})
{%- endmacro %}
