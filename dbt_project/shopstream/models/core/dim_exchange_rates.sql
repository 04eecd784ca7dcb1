{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='currency',
        pre_hook="{{ remember_touched(touched_currencies()) }}",
        tags=['partitioned']
    )
}}

with known as (

    select
        id,
        currency,
        valid_from,
        eur_per_unit,
        updated_at
    from {{ source('shopstream', 'STG_EXCHANGE_RATES') }}
    qualify {{ is_current() }}

),

-- Of a whole currency, as each rate ends where the next begins.
rates as (

    select
        id,
        currency,
        valid_from,
        eur_per_unit,
        updated_at
    from known
    {% if is_windowed() %}
        where currency in (select touched.currency from {{ touched() }} as touched)
    {% endif %}
    qualify row_number() over (partition by currency, valid_from order by id desc) = 1

)

select
    id as rate_id,
    currency,
    valid_from as valid_from_date,
    lead(valid_from) over (partition by currency order by valid_from) as valid_until_date,
    eur_per_unit,
    updated_at
from rates
