{#-
    Staging is a log of changes: one id may appear in several partitions, and a partition may be replaced at any time.
    These macros find the latest version of a row in the whole log, and the rows of the run's window
    (partition_window.sql).
-#}

{#- Condition for `qualify`: the row is the latest version of its key. -#}
{% macro is_latest_version(key='id', cursor='updated_at') -%}
    row_number() over (
        partition by {{ key }}
        order by {{ cursor }} desc, _loaded_at desc, _source_row desc, _source_file desc
    ) = 1
{%- endmacro %}

{#- Condition: the staging row belongs to a partition of the run's window. -#}
{% macro in_window() -%}
    {%- set window = partition_window() -%}
    _partition_date >= '{{ window[0] }}'::date and _partition_date < '{{ window[1] }}'::date
{%- endmacro %}
