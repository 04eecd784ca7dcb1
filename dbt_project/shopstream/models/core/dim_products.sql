{{ config(materialized='table') }}

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
