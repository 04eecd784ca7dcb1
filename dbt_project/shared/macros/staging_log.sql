{#-
    Staging is a log: each row says what one snapshot of the source saw of one key. A key may have several rows, in one
    partition or many, and a partition may be replaced at any time. These macros find the state of a key in the whole
    log, and the rows of the run's window (partition_window.sql).
-#}

{#-
    Condition for `qualify`: the row is what the newest snapshot saw of its key, and the key was there and kept the
    rules. The cursor decides nothing between snapshots: it may have moved back. Rows from before there were snapshots
    (`_snapshot` is null) are older than all others; of those alone, the cursor tells the newest.
-#}
{% macro is_current(key='id', cursor='updated_at') -%}
    row_number() over (
        partition by {{ key }}
        order by
            _snapshot desc nulls last,
            {%- if cursor %}
            {{ cursor }} desc nulls last,
            {%- endif %}
            _loaded_at desc,
            _source_row desc,
            _source_file desc
    ) = 1
    and {{ was_there() }}
{%- endmacro %}

{#- Condition: the snapshot that the row is of saw the key, and it kept the rules. -#}
{% macro was_there() -%}
    not coalesce(_deleted, false)
    and not coalesce(_quarantined, false)
{%- endmacro %}

{#- For `order by`: the rows of a key in the order in which they were seen, the current one last. -#}
{% macro as_seen(cursor='updated_at') -%}
    _snapshot asc nulls first,
    {{ cursor }} asc nulls last,
    _loaded_at asc,
    _source_row asc,
    _source_file asc
{%- endmacro %}

{#- Condition: the row belongs to a partition of the run's window. -#}
{% macro in_window(column='_partition_date') -%}
    {%- set window = partition_window() or ['', ''] -%}
    {{ column }} >= '{{ window[0] }}'::date and {{ column }} < '{{ window[1] }}'::date
{%- endmacro %}
