{#-
    What changed in a model since those made from it were built. A model that replaces rows tells every incremental
    model that reads it what they were and what they became, in the transaction that replaces them: the staging log no
    longer shows what a row was (the day that an order left, the order that a line left), and the readers may be built
    in this run, in another, or for other days. A reader takes what it was told, and then forgets it.

    A reader says by which column it looks rows up: `meta={'follows': {'<model>': '<column>'}}`. A line without id and
    day says that everything may have changed. To be told too much costs time, never a figure.
-#}
{% macro unread_changes() -%}
    {{ api.Relation.create(database=target.database, schema='CORE', identifier='UNREAD_CHANGES') }}
{%- endmacro %}

{#- Pre_hook of every model. -#}
{% macro before_build() %}
    {%- if execute -%}
        {#- On Snowflake a transaction that failed on this connection is still open; DDL would commit its half. -#}
        rollback;
        {{ take_changes() }}
        {%- if not is_windowed() %}
            {{ tell_readers_everything() }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{#- Post_hook of every model: what was taken is read. -#}
{% macro after_build() %}
    {%- if model.config.meta.get('follows') -%}
        delete from {{ unread_changes() }}
        where reader_name = '{{ model.name }}' and noted_by in (select noted_by from {{ touched('told') }});
    {%- endif -%}
{% endmacro %}

{#- (reader, column by which it follows this model) of every incremental model made from this one. -#}
{% macro readers() %}
    {%- set found = [] -%}
    {%- for node in graph.nodes.values()
        if node.resource_type == 'model'
        and node.config.materialized == 'incremental'
        and model.unique_id in node.depends_on.nodes
    -%}
        {%- set column = node.config.meta.get('follows', {}).get(model.name) -%}
        {%- if column is none -%}
            {{ exceptions.raise_compiler_error(
                node.name ~ " is incremental and reads " ~ model.name ~ ": say in its config by which column, as "
                ~ "meta={'follows': {'" ~ model.name ~ "': '<column>'}}; see macros/unread_changes.sql.") }}
        {%- endif -%}
        {%- do found.append([node.name, column]) -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}

{#- Statement for the transaction of a windowed run: tell each reader the old and the new values of its column. -#}
{% macro tell_readers(target, rows, replaced) %}
    {%- set readers = readers() -%}
    {%- if readers and is_windowed() -%}
        insert into {{ unread_changes() }} (reader_name, model_name, id, day, noted_by)
        {%- for reader, column in readers %}
            {%- set kind = 'day' if column.endswith('_date') else 'id' %}
            select
                '{{ reader }}',
                '{{ model.name }}',
                {{ 'null' if kind == 'day' else column }}::number(38, 0),
                {{ column if kind == 'day' else 'null' }}::date,
                '{{ invocation_id }}'
            from (
                select {{ column }} from {{ target }} {{ replaced }}
                union
                select {{ column }} from {{ rows }}
            )
            where {{ column }} is not null
            {{ 'union all' if not loop.last }}
        {%- endfor -%}
        ;
    {%- endif -%}
{% endmacro %}

{#- Statement before a build of the whole table: tell each reader that everything may have changed. -#}
{% macro tell_readers_everything() %}
    {%- set readers = readers() -%}
    {%- if readers -%}
        insert into {{ unread_changes() }} (reader_name, model_name, noted_by)
        values
        {%- for reader, _ in readers %}
            ('{{ reader }}', '{{ model.name }}', '{{ invocation_id }}'){{ ',' if not loop.last }}
        {%- endfor -%}
        ;
    {%- endif -%}
{% endmacro %}

{#- Statement before a build: what this model was told, as of now. -#}
{% macro take_changes() %}
    {%- if model.config.meta.get('follows') -%}
        create or replace temporary table {{ touched('told') }} as
        select
            model_name,
            id,
            day,
            noted_by
        from {{ unread_changes() }}
        where reader_name = '{{ model.name }}';
    {%- endif -%}
{% endmacro %}

{#- Query: the ids, or days, that this model was told of by another. -#}
{% macro told_by(name, kind='id') -%}
    select {{ kind }} from {{ touched('told') }} where model_name = '{{ name }}' and {{ kind }} is not null
{%- endmacro %}

{#- Condition: some model said that everything may have changed. -#}
{% macro told_everything() -%}
    exists (select 1 from {{ touched('told') }} where id is null and day is null)
{%- endmacro %}
