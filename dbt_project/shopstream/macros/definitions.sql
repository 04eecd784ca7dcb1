{#- An order counts as a sale from payment on; a refund takes the money back, not the sale. See docs/marts.md. -#}
{% macro is_sale(status='status') -%}
    {{ status }} in ('paid', 'shipped', 'delivered', 'refunded')
{%- endmacro %}

{#- Cost of the units that customers kept: null where it is unknown, and 0 where none was kept. -#}
{% macro cost_of_goods(units_kept, unit_cost) -%}
    iff({{ units_kept }} = 0, 0, {{ units_kept }} * {{ unit_cost }})
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
