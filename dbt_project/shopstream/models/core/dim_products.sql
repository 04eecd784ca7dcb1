{{
    config(
        materialized='incremental',
        incremental_strategy='replace_touched',
        unique_key='product_id',
        pre_hook="{{ remember_touched(touched_keys('STG_PRODUCTS', 'product_id')) }}",
        tags=['partitioned']
    )
}}

with products as (

    select
        id,
        sku,
        name,
        category,
        price,
        cost,
        is_active,
        created_at,
        updated_at
    from {{ source('shopstream', 'STG_PRODUCTS') }}
    {% if is_windowed() %}
        where id in (select touched.product_id from {{ touched() }} as touched)
    {% endif %}
    qualify {{ is_current() }}

)

select
    id as product_id,
    sku,
    name as product_name,
    category as product_category,
    price as list_price,
    cost as unit_cost,
    is_active,
    created_at,
    updated_at
from products
