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

{#- Currencies of which a rate came, changed or left. -#}
{% macro touched_currencies() -%}
    select distinct currency
    from {{ source('shopstream', 'STG_EXCHANGE_RATES') }}
    where currency is not null and {{ in_window() }}
    union
    select currency
    from {{ this }}
    where rate_id in ({{ touched_keys('STG_EXCHANGE_RATES', 'rate_id') }})
{%- endmacro %}

{#- Orders of this table whose rate came, changed or left: from its day on, until that of the next one there is. -#}
{% macro orders_at_another_rate() -%}
    select orders.order_id
    from {{ this }} as orders
    inner join {{ touched('told') }} as told
        on
            told.model_name = 'dim_exchange_rates'
            and told.text = orders.currency
            and told.day <= orders.order_date
    left join {{ ref('dim_exchange_rates') }} as later
        on
            orders.currency = later.currency
            and told.day < later.valid_from_date
            and orders.order_date >= later.valid_from_date
    where later.currency is null
{%- endmacro %}

{#-
    Orders that changed, have another rate or a product of which they take the cost, and those that a touched line
    belongs to now or belonged to.
-#}
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
    union
    select order_id
    from {{ this }}
    where {{ told_everything() }}
    union
    {{ orders_at_another_rate() }}
    union
    select order_id
    from {{ this }}
    where product_id in ({{ told_by('dim_products') }}) and not has_own_cost
{%- endmacro %}

{#- Orders that changed or have another rate, or whose lines did. -#}
{% macro touched_orders() -%}
    {{ touched_keys('STG_ORDERS', 'order_id') }}
    union
    {{ told_by('fact_order_items') }}
    union
    {{ orders_at_another_rate() }}
    union
    select order_id
    from {{ this }}
    where {{ told_everything() }}
{%- endmacro %}

{#- Condition on an order: its lines changed, or the category of a product that one of them sells. -#}
{% macro sells_otherwise() -%}
    order_id in ({{ told_by('fact_order_items') }})
    or order_id in (
        select order_id
        from {{ ref('fact_order_items') }}
        where product_id in ({{ told_by('dim_products') }})
    )
    or {{ told_everything() }}
{%- endmacro %}

{#- Order dates whose sales changed. -#}
{% macro touched_order_dates() -%}
    select order_date
    from {{ ref('fact_orders') }}
    where {{ sells_otherwise() }}
    union
    {{ told_by('fact_orders', 'day') }}
    union
    select order_date
    from {{ this }}
    where {{ told_everything() }}
{%- endmacro %}

{#- Months in which a product was sold of which a line or the category changed. -#}
{% macro touched_sales_months() -%}
    select date_trunc('month', day)::date as sales_month
    from ({{ told_by('fact_order_items', 'day') }}) as told
    union
    select date_trunc('month', order_date)::date
    from {{ ref('fact_order_items') }}
    where
        product_id in ({{ told_by('dim_products') }})
        or {{ told_everything() }}
    union
    select sales_month
    from {{ this }}
    where {{ told_everything() }}
{%- endmacro %}

{#- Refunds of orders that changed, or whose lines did. -#}
{% macro touched_refunds() -%}
    select order_id
    from {{ ref('fact_orders') }}
    where {{ told_everything() }}
    union
    {{ told_by('fact_orders') }}
    union
    {{ told_by('fact_order_items') }}
    union
    select order_id
    from {{ this }}
    where {{ told_everything() }}
{%- endmacro %}

{#- Days on which something was sold, or refunded, that changed. -#}
{% macro touched_booked_dates() -%}
    select order_date as booked_date
    from {{ ref('fact_orders') }}
    where {{ sells_otherwise() }}
    union
    select refunded_date
    from {{ ref('fact_refunds') }}
    where {{ sells_otherwise() }}
    union
    {{ told_by('fact_orders', 'day') }}
    union
    {{ told_by('fact_refunds', 'day') }}
    union
    select booked_date
    from {{ this }}
    where {{ told_everything() }}
{%- endmacro %}

{#- Sessions that an event was added to, changed in, or taken from. -#}
{% macro touched_sessions() -%}
    select session_id
    from {{ ref('fact_events') }}
    where {{ told_everything() }}
    union
    {{ told_by('fact_events', 'text') }}
    union
    select session_id
    from {{ this }}
    where {{ told_everything() }}
{%- endmacro %}

{#- Dates on which a session that changed began, or begins now. -#}
{% macro touched_session_dates() -%}
    select session_date
    from {{ ref('fact_sessions') }}
    where {{ told_everything() }}
    union
    {{ told_by('fact_sessions', 'day') }}
    union
    select session_date
    from {{ this }}
    where {{ told_everything() }}
{%- endmacro %}

{#-
    Signup dates of the customers who changed, or of whom an order came, left or was dated anew within the longest
    window, and none lies before it: only that can change which order is the first. And the dates of which a window has
    come to its end since they were built; `reads` leaves out when an order or a customer last changed, which tells that.
    Where clocks change, 90 times 24 hours may end on the ninety-first day.
-#}
{% macro touched_signup_dates() -%}
    select customers.signup_date
    from {{ ref('dim_customers') }} as customers
    inner join {{ touched('told') }} as told
        on
            customers.customer_id = told.id
            and told.model_name = 'fact_orders'
            and told.day >= customers.signup_date
            and told.day <= dateadd('day', 91, customers.signup_date)
    left join {{ ref('fact_orders') }} as earlier
        on
            customers.customer_id = earlier.customer_id
            and earlier.ordered_at >= customers.signed_up_at
            and earlier.order_date < told.day
    where earlier.order_id is null
    union
    {{ told_by('dim_customers', 'day') }}
    union
    select signup_date
    from {{ ref('dim_customers') }}
    where {{ told_everything() }}
    union
    select cohorts.signup_date
    from {{ this }} as cohorts
    cross join ({{ sales_as_of() }}) as as_of
    where
        {{ told_everything() }}
        {%- for days in (7, 30, 90) %}
            or cohorts.is_complete_{{ days }}d <> {{ is_window_over('cohorts.signup_date', days) }}
        {%- endfor %}
{%- endmacro %}
