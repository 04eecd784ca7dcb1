{#-
    What changed in a model since those made from it were built. A model that replaces rows tells every incremental
    model that reads it what they were and what they became, in the transaction that replaces them: the staging log no
    longer shows what a row was (the day that an order left, the order that a line left), and the readers may be built
    in this run, in another, or for other days. A reader takes what it was told, and then forgets it.

    A reader says by which column it looks rows up: `meta={'follows': {'<model>': '<column>'}}`. A column `..._date` is
    noted as a day, one that is declared varchar as text, any other as an id; a list of columns of different kinds is
    noted in one line, so that the reader knows which id was there on which day. A line without any says that everything
    may have changed. To be told too much costs time, never a figure.

    A partition that is extracted again names all of its keys, most of which are as they were. A reader may say which
    columns its figures are made of, the key among them: `meta={'reads': {'<model>': ['<column>', ...]}}`; then it is
    told only of rows in which one of them has changed.
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

{#- (reader, columns by which it follows this model, those it reads if it says so) of every incremental model made from
    this one. -#}
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
        {%- set read = node.config.meta.get('reads', {}).get(model.name) -%}
        {%- do found.append([node.name, [column] if column is string else column, read]) -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}

{#- As what a column of this model is noted. -#}
{% macro kind_of_column(column) %}
    {%- set declared = (model.columns.get(column) or {}).get('data_type') or '' -%}
    {{ return('day' if column.endswith('_date') else 'text' if declared.startswith('varchar') else 'id') }}
{% endmacro %}

{#- Statement for the transaction of a windowed run: tell each reader the old and the new values of its columns. -#}
{% macro tell_readers(target, rows, replaced) %}
    {%- set readers = readers() -%}
    {%- if readers and is_windowed() -%}
        insert into {{ unread_changes() }} (reader_name, model_name, id, day, text, noted_by)
        {%- for reader, columns, read in readers %}
            {%- set noted = {} %}
            {%- for column in columns %}{% do noted.update({kind_of_column(column): column}) %}{% endfor %}
            select
                '{{ reader }}',
                '{{ model.name }}',
                {{ noted.get('id', 'null') }}::number(38, 0),
                {{ noted.get('day', 'null') }}::date,
                {{ noted.get('text', 'null') }}::varchar,
                '{{ invocation_id }}'
            from (
                {%- if read %}
                    {%- set were = 'select ' ~ read | join(', ') ~ ' from ' ~ target ~ ' ' ~ replaced %}
                    {%- set are = 'select ' ~ read | join(', ') ~ ' from ' ~ rows %}
                    select distinct {{ columns | join(', ') }}
                    from (({{ were }} except {{ are }}) union all ({{ are }} except {{ were }}))
                {%- else %}
                    select {{ columns | join(', ') }} from {{ target }} {{ replaced }}
                    union
                    select {{ columns | join(', ') }} from {{ rows }}
                {%- endif %}
            )
            where {{ columns | join(' is not null and ') }} is not null
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
        {%- for reader, _, _ in readers %}
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
            text,
            noted_by
        from {{ unread_changes() }}
        where reader_name = '{{ model.name }}';
    {%- endif -%}
{% endmacro %}

{#- Query: the ids, days or texts that this model was told of by another. -#}
{% macro told_by(name, kind='id') -%}
    select {{ kind }} from {{ touched('told') }} where model_name = '{{ name }}' and {{ kind }} is not null
{%- endmacro %}

{#- Condition: some model said that everything may have changed. -#}
{% macro told_everything() -%}
    exists (select 1 from {{ touched('told') }} where id is null and day is null and text is null)
{%- endmacro %}
