{#- What a change in the window reaches: see touched_keys in ../shared/macros. -#}

{#- Customers who changed, or one of whose CRM contacts did. -#}
{% macro touched_customers() -%}
    {%- set contacts = touched_keys('STG_CRM_CONTACTS', 'crm_contact_id') -%}
    {{ touched_keys('STG_USERS', 'customer_id') }}
    union
    select user_id
    from {{ source('shopstream', 'STG_CRM_CONTACTS') }}
    where user_id is not null and id in ({{ contacts }})
    union
    select customer_id
    from {{ this }}
    where crm_contact_id in ({{ contacts }})
{%- endmacro %}

{#- Orders that changed, and those that a touched line belongs to now or belonged to. -#}
{% macro touched_orders_of_lines() -%}
    {{ touched_keys('STG_ORDERS', 'order_id') }}
    union
    select order_id
    from {{ source('shopstream', 'STG_ORDER_ITEMS') }}
    where order_id is not null and id in (select line_id from {{ touched('touched_lines') }})
    union
    select order_id
    from {{ this }}
    where line_id in (select line_id from {{ touched('touched_lines') }})
{%- endmacro %}

{#- Orders that changed, or whose lines did. -#}
{% macro touched_orders() -%}
    {{ touched_keys('STG_ORDERS', 'order_id') }}
    union
    {{ told_by('fact_order_items') }}
    union
    select order_id
    from {{ this }}
    where {{ told_everything() }}
{%- endmacro %}

{#- Order dates whose sales changed: through an order, a line, or the category of a product sold that day. -#}
{% macro touched_order_dates() -%}
    select order_date
    from {{ ref('fact_orders') }}
    where
        order_id in ({{ told_by('fact_order_items') }})
        or order_id in (
            select order_id
            from {{ ref('fact_order_items') }}
            where product_id in ({{ touched_keys('STG_PRODUCTS', 'product_id') }})
        )
        or {{ told_everything() }}
    union
    {{ told_by('fact_orders', 'day') }}
    union
    select order_date
    from {{ this }}
    where {{ told_everything() }}
{%- endmacro %}

{#- Signup dates of the customers who changed, ordered or were seen on the site. -#}
{% macro touched_signup_dates() -%}
    select signup_date
    from {{ ref('dim_customers') }}
    where
        customer_id in ({{ told_by('fact_orders') }} union {{ told_by('fact_events') }})
        or {{ told_everything() }}
    union
    {{ told_by('dim_customers', 'day') }}
    union
    select signup_date
    from {{ this }}
    where {{ told_everything() }}
{%- endmacro %}
