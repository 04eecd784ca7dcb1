{#- The intervals of a key follow each other without a gap and without an overlap; each is longer than nothing. -#}
{% test history_is_seamless(model, key, valid_from='valid_from', valid_to='valid_to') %}
    select {{ key }}, {{ valid_from }}, {{ valid_to }}, next_from
    from (
        select
            {{ key }},
            {{ valid_from }},
            {{ valid_to }},
            lead({{ valid_from }}) over (partition by {{ key }} order by {{ valid_from }}) as next_from
        from {{ model }}
    )
    where {{ valid_from }} >= {{ valid_to }} or coalesce(next_from, {{ valid_to }}) <> {{ valid_to }}
{% endtest %}
