{#-
    The incremental strategy `replace_touched`: what the window touched is taken out of the table and put in again, in
    one transaction. So a key that is gone leaves, which neither merge nor delete+insert can do: they know only the
    rows that are still there. `unique_key` names the column whose values are touched.

    The touched values are computed once, before the model's query (`remember_touched`, a pre_hook), into a temporary
    table that the query and the deletion both read: what is loaded meanwhile cannot make them differ.
-#}
{% macro get_incremental_replace_touched_sql(arg_dict) %}
    {%- set target, rows, key = arg_dict['target_relation'], arg_dict['temp_relation'], arg_dict['unique_key'] -%}
    {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
    {%- set replaced = 'where ' ~ key ~ ' in (select ' ~ key ~ ' from ' ~ touched() ~ ')' if is_windowed() else '' -%}
    begin;
    {{ tell_readers(target, rows, replaced) }}
    delete from {{ target }} {{ replaced }};
    insert into {{ target }} ({{ columns }}) select {{ columns }} from {{ rows }};
    commit
{% endmacro %}

{#- Where the values of `unique_key` are that this run replaces; it is there in a windowed run only. -#}
{% macro touched(of='touched') -%}
    {{ this.include(identifier=false) }}.{{ this.identifier }}__{{ of }}
{%- endmacro %}

{#- Pre_hook: keep what a query of one column finds, for the length of the session. -#}
{% macro remember_touched(query, of='touched') %}
    {%- if is_windowed() -%}
        create or replace temporary table {{ touched(of) }} as
        {{ query }}
    {%- endif -%}
{% endmacro %}
