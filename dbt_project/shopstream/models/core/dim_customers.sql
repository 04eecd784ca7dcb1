{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='customer_id',
        pre_hook="{{ remember_touched(touched_customers()) }}",
        tags=['partitioned']
    )
}}

with users as (

    select
        id,
        country,
        plan,
        acquisition_channel,
        created_at,
        updated_at
    from {{ source('shopstream', 'STG_USERS') }}
    {% if is_windowed() %}
        where id in (select touched.customer_id from {{ touched() }} as touched)
    {% endif %}
    qualify {{ is_current() }}

),

contacts as (

    select
        id,
        user_id,
        company,
        lead_source,
        lifecycle_stage,
        owner,
        updated_at
    from {{ source('shopstream', 'STG_CRM_CONTACTS') }}
    {% if is_windowed() %}
        where
            id in (
                select versions.id
                from {{ source('shopstream', 'STG_CRM_CONTACTS') }} as versions
                where versions.user_id in (select touched.customer_id from {{ touched() }} as touched)
            )
    {% endif %}
    qualify {{ is_current() }}

),

-- A customer may have several contacts in the CRM: the one touched last speaks for them.
contact_per_customer as (

    select
        id,
        user_id,
        company,
        lead_source,
        lifecycle_stage,
        owner
    from contacts
    where user_id is not null
    qualify row_number() over (partition by user_id order by updated_at desc, id desc) = 1

)

select
    users.id as customer_id,
    contact_per_customer.id as crm_contact_id,
    users.country,
    users.plan,
    users.acquisition_channel,
    contact_per_customer.company as crm_company,
    contact_per_customer.lead_source as crm_lead_source,
    contact_per_customer.lifecycle_stage as crm_lifecycle_stage,
    contact_per_customer.owner as crm_owner,
    contact_per_customer.id is not null as has_crm_contact,
    {{ reporting_day('users.created_at') }} as signup_date,
    users.created_at as signed_up_at,
    users.updated_at
from users
left join contact_per_customer on users.id = contact_per_customer.user_id
