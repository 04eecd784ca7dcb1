{#- Seconds as hours. -#}
{% macro hours(seconds) -%}
    ({{ seconds }} / 3600)::number(18, 4)
{%- endmacro %}

{#- A share, null of nothing. -#}
{% macro share(part, whole) -%}
    ({{ part }}::double / nullif({{ whole }}, 0))::number(18, 6)
{%- endmacro %}
