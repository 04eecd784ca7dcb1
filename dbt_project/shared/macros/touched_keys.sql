{#-
    What a change in the window reaches. Each macro of this kind is a query of one column, which `remember_touched`
    keeps; those that know a domain's tables are in its own project.

    A partition names every key that it ever held, if only by a tombstone; so the keys of the window's partitions are
    all keys that may have changed there. What they were before is in the model's own table, or was told by the model
    that has changed (unread_changes.sql), never looked for in the log: a partition that was extracted again has
    forgotten it.
-#}

{#- Keys of a staging table that the window's partitions name; the source is named as the project, as the domain is. -#}
{% macro touched_keys(table, name, key='id') -%}
    select distinct {{ key }} as {{ name }}
    from {{ source(project_name, table) }}
    where {{ in_window() }}
{%- endmacro %}
