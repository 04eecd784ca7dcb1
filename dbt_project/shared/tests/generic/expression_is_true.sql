{#- Every row satisfies the expression; null counts as a failure. -#}
{% test expression_is_true(model, expression) %}
    select 1 as failure
    from {{ model }}
    where not coalesce({{ expression }}, false)
{% endtest %}
