{#- The sums of `measures` over the model equal the given expressions over another relation: nothing got lost. -#}
{% test totals_match(model, to, measures) %}
    with here as (
        select
            {%- for name in measures %}
                coalesce(sum({{ name }}), 0)::number(38, 2) as {{ name }}{{ ',' if not loop.last }}
            {%- endfor %}
        from {{ model }}
    ),

    there as (
        select
            {%- for name, expression in measures.items() %}
                coalesce(sum({{ expression }}), 0)::number(38, 2) as {{ name }}{{ ',' if not loop.last }}
            {%- endfor %}
        from {{ to }}
    )

    select
        {%- for name in measures %}
            here.{{ name }} as {{ name }}_here,
            there.{{ name }} as {{ name }}_there{{ ',' if not loop.last }}
        {%- endfor %}
    from here
    cross join there
    where
        {%- for name in measures %}
            {{ 'or ' if not loop.first }}here.{{ name }} <> there.{{ name }}
        {%- endfor %}
{% endtest %}
