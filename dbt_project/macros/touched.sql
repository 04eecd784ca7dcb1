{#-
    What a change in the window reaches. Each macro is a query of one column without duplicates. All versions in the
    log count, not only the latest: a line that moved to another order, or an order to another customer, leaves a
    figure to correct on both sides.
-#}

{#- Orders that changed in the window, or one of whose lines did. -#}
{% macro touched_orders() -%}
    select id as order_id
    from {{ source('shopstream', 'STG_ORDERS') }}
    where {{ in_window() }}
    union
    select order_id
    from {{ source('shopstream', 'STG_ORDER_ITEMS') }}
    where id in (select id from {{ source('shopstream', 'STG_ORDER_ITEMS') }} where {{ in_window() }})
{%- endmacro %}

{#- Order dates whose sales changed: through an order, a line, or the category of a product sold that day. -#}
{% macro touched_order_dates() -%}
    {%- set orders -%}
        {{ touched_orders() }}
        union
        select order_id
        from {{ ref('fact_order_items') }}
        where product_id in (select id from {{ source('shopstream', 'STG_PRODUCTS') }} where {{ in_window() }})
    {%- endset -%}
    select created_at::date as order_date
    from {{ source('shopstream', 'STG_ORDERS') }}
    where id in ({{ orders }})
    union
    select order_date
    from {{ ref('fact_orders') }}
    where order_id in ({{ orders }})
{%- endmacro %}

{#- Signup dates of the customers who changed, ordered or were seen on the site in the window. -#}
{% macro touched_signup_dates() -%}
    select created_at::date as signup_date
    from {{ source('shopstream', 'STG_USERS') }}
    where
        id in (
            select id
            from {{ source('shopstream', 'STG_USERS') }}
            where {{ in_window() }}
            union
            select user_id
            from {{ source('shopstream', 'STG_ORDERS') }}
            where id in (select id from {{ source('shopstream', 'STG_ORDERS') }} where {{ in_window() }})
            union
            select user_id
            from {{ source('shopstream', 'STG_EVENTS') }}
            where
                user_id is not null
                and id in (select id from {{ source('shopstream', 'STG_EVENTS') }} where {{ in_window() }})
        )
    group by created_at::date
{%- endmacro %}
