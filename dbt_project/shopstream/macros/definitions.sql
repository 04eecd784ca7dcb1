{#- An order counts as a sale from payment on; a refund takes the money back, not the sale. See docs/marts.md. -#}
{% macro is_sale(status='status') -%}
    {{ status }} in ('paid', 'shipped', 'delivered', 'refunded')
{%- endmacro %}

{#- Condition: the rate is the one that holds for a currency on a date. EUR needs none. -#}
{% macro is_rate_of(rates, currency, date) -%}
    {{ rates }}.currency = {{ currency }}
    and {{ rates }}.valid_from_date <= {{ date }}
    and ({{ rates }}.valid_until_date is null or {{ rates }}.valid_until_date > {{ date }})
{%- endmacro %}

{#- EUR for one unit of a currency: 1 for EUR, null where there is no rate. -#}
{% macro eur_per_unit(currency, rates) -%}
    iff({{ currency }} = 'EUR', 1, {{ rates }}.eur_per_unit)::number(18, 8)
{%- endmacro %}

{#- An amount in EUR, rounded to the cent, half away from zero; null without a rate. -#}
{% macro in_eur(amount, rate) -%}
    round({{ amount }} * {{ rate }}, 2)::number(18, 2)
{%- endmacro %}

{#- Part of a number of things that were counted: null where they are fewer than `minimum_sample`. -#}
{% macro rate(part, counted) -%}
    iff({{ counted }} >= {{ var('minimum_sample') }}, {{ part }}::double / nullif({{ counted }}, 0), null)::number(9, 6)
{%- endmacro %}

{#- Query of the latest day that customers and orders tell of, `as_of_date`: never the clock, so a rebuild agrees. -#}
{% macro sales_as_of() -%}
    select {{ reporting_day('max(changed_at)') }} as as_of_date
    from (
        select max(updated_at) as changed_at from {{ ref('dim_customers') }}
        union all
        select max(updated_at) as changed_at from {{ ref('fact_orders') }}
    )
{%- endmacro %}

{#- Whether whoever signed up on a date had all of their days by the day before the latest, which may be going on. -#}
{% macro is_window_over(signup_date, days) -%}
    (dateadd('day', {{ days + 1 }}, {{ signup_date }})::date <= as_of.as_of_date)
{%- endmacro %}

{#-
    Whole quotient of two whole numbers, exact at any size. A plain division is rounded to six digits by Snowflake,
    which can lift 0.9999999 to 1 before floor() sees it.
-#}
{% macro whole_quotient(dividend, divisor) -%}
    (({{ dividend }}) - mod({{ dividend }}, {{ divisor }})) / ({{ divisor }})
{%- endmacro %}

{#- Quintile 1 to 5 of a rank among `size` rows; equal values share a rank and so a score. -#}
{% macro quintile(position, size) -%}
    (1 + {{ whole_quotient('5 * (' ~ position ~ ' - 1)', size) }})::number(38, 0)
{%- endmacro %}
