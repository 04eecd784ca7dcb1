{#- Of the rows that fulfil the condition there is at most one for each key. -#}
{% test at_most_one(model, key, condition) %}
    select {{ key }}, count(*) as row_count
    from {{ model }}
    where {{ condition }}
    group by {{ key }}
    having count(*) > 1
{% endtest %}
