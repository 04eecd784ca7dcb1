{#-
    Which state of which day each model is made from. STAGING.LOADED_PARTITIONS says by its hash which manifest is
    staged of each (table, day). CORE.BUILT_PARTITIONS says for each model, and each table that it is made from, the
    same of what the model holds: where all its parents hold one and the same state of that day, that; else 'mixed'.
    A day without a line is not in the model. Whoever compares the two knows exactly what is left to build.

    A line is taken back before a build that may change what it says, and written when the build is done. So a build
    that is killed leaves a day too many to build again, never one too few.
-#}
{% macro loaded_partitions() -%}
    {{ api.Relation.create(database=target.database, schema='STAGING', identifier='LOADED_PARTITIONS') }}
{%- endmacro %}

{% macro built_partitions() -%}
    {{ api.Relation.create(database=target.database, schema='CORE', identifier='BUILT_PARTITIONS') }}
{%- endmacro %}

{#- on-run-start: the tables that the models' hooks read and write. -#}
{% macro create_ledger() %}
    create table if not exists {{ loaded_partitions() }} (
        table_name varchar,
        partition_date date,
        manifest_hash varchar,
        manifest_etag varchar,
        snapshot varchar,
        row_count number(38, 0),
        loaded_at timestamp_ntz(6)
    );
    create table if not exists {{ built_partitions() }} (
        model_name varchar,
        table_name varchar,
        partition_date date,
        manifest_hash varchar,
        built_at timestamp_ntz(6)
    );
    create table if not exists {{ unread_changes() }} (
        reader_name varchar,
        model_name varchar,
        id number(38, 0),
        day date,
        noted_by varchar
    );
{% endmacro %}

{#- Pre_hook of every model. -#}
{% macro before_build() %}
    {%- if execute -%}
        {#- A transaction that failed on this connection is still open in Snowflake; DDL would commit its half. -#}
        rollback;
        create or replace temporary table {{ touched('parents') }} as
        {{ parents_partitions() }};
        delete from {{ built_partitions() }}
        where
            model_name = '{{ model.name }}'
            and not exists (
                select 1
                from {{ touched('parents') }} as parents
                where
                    parents.table_name = {{ built_partitions() }}.table_name
                    and parents.partition_date = {{ built_partitions() }}.partition_date
                    and parents.manifest_hash = {{ built_partitions() }}.manifest_hash
            );
        {{ take_changes() }}
        {%- if not is_windowed() %}
            {{ tell_readers_everything() }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{#- Post_hook of every model. -#}
{% macro after_build() %}
    {%- if execute -%}
        merge into {{ built_partitions() }} as built
        using (
            select
                table_name,
                partition_date,
                manifest_hash
            from {{ touched('parents') }}
            {% if is_windowed() %}where {{ in_window('partition_date') }}{% endif %}
        ) as parents
            on
                built.model_name = '{{ model.name }}'
                and built.table_name = parents.table_name
                and built.partition_date = parents.partition_date
        when matched then update set
            manifest_hash = parents.manifest_hash,
            built_at = sysdate()::timestamp_ntz(6)
        when not matched then insert (model_name, table_name, partition_date, manifest_hash, built_at)
        values (
            '{{ model.name }}',
            parents.table_name,
            parents.partition_date,
            parents.manifest_hash,
            sysdate()::timestamp_ntz(6)
        );
        {{ forget_changes() }}
    {%- endif -%}
{% endmacro %}

{#- Query: the state of each (table, day) that the parents of this model hold, 'mixed' where they do not agree. -#}
{% macro parents_partitions() %}
    {%- set tables, models, expected = [], [], {} -%}
    {%- for parent in model.depends_on.nodes -%}
        {%- set above = source_tables(parent) -%}
        {%- do tables.extend(above) if parent.startswith('source.') -%}
        {%- do models.append(graph.nodes[parent].name) if not parent.startswith('source.') -%}
        {%- for name in above -%}
            {%- do expected.update({name: expected.get(name, 0) + 1}) -%}
        {%- endfor -%}
    {%- endfor -%}
    select
        table_name,
        partition_date,
        iff(
            count(distinct manifest_hash) = 1
            and count(*) = case table_name
                {%- for name, parents in expected.items() %} when '{{ name }}' then {{ parents }}{% endfor %}
            end,
            min(manifest_hash),
            'mixed'
        )::varchar as manifest_hash
    from (
        select
            table_name,
            partition_date,
            manifest_hash
        from {{ loaded_partitions() }}
        where table_name in ('{{ tables | join("', '") }}')
        union all
        select
            table_name,
            partition_date,
            manifest_hash
        from {{ built_partitions() }}
        where model_name in ('{{ models | join("', '") }}')
    )
    group by table_name, partition_date
{% endmacro %}

{#- Names, in the source, of the tables that a source or model is made from. -#}
{% macro source_tables(unique_id) %}
    {%- if unique_id.startswith('source.') -%}
        {{ return([graph.sources[unique_id].meta.dagster.asset_key[-1]]) }}
    {%- endif -%}
    {%- set found = [] -%}
    {%- for parent in graph.nodes[unique_id].depends_on.nodes -%}
        {%- for name in source_tables(parent) if name not in found -%}
            {%- do found.append(name) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}
