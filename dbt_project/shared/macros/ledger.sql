{#-
    Which state of which day each model is made from. STAGING.LOADED_PARTITIONS says by its hash which manifest is
    staged of each (table, day). CORE.BUILT_PARTITIONS says the same for each model and each table that it is made from,
    directly or through other models: where all its parents hold one and the same state of that day, that; else 'mixed',
    which is no state. A day without a line is not in the model. Whoever compares the two knows what is left to build.

    A run marks what it is going to build before it reads anything, and takes the mark away where the model was built.
    So what a killed or failed run left undone differs from what is staged, and a day too many may be built again, never
    one too few.
-#}
{% macro loaded_partitions() -%}
    {{ api.Relation.create(database=target.database, schema='STAGING', identifier='LOADED_PARTITIONS') }}
{%- endmacro %}

{% macro built_partitions() -%}
    {{ api.Relation.create(database=target.database, schema='CORE', identifier='BUILT_PARTITIONS') }}
{%- endmacro %}

{#- What stands before the hash while this run is at it; no other run takes it away. -#}
{% macro building() -%}
    building {{ invocation_id }}{{ ' ' }}
{%- endmacro %}

{#- on-run-start: the tables of the account-keeping, where they are missing; dbt has just listed those of CORE. -#}
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
    {%- if not adapter.get_relation(target.database, 'CORE', 'BUILT_PARTITIONS') %}
    create table if not exists {{ built_partitions() }} (
        model_name varchar,
        table_name varchar,
        partition_date date,
        manifest_hash varchar,
        built_at timestamp_ntz(6)
    );
    {%- endif %}
    {%- if not adapter.get_relation(target.database, 'CORE', 'UNREAD_CHANGES') %}
    create table if not exists {{ unread_changes() }} (
        reader_name varchar,
        model_name varchar,
        id number(38, 0),
        day date,
        text varchar,
        noted_by varchar
    );
    {%- endif %}
    {#- A table from before there were texts. -#}
    alter table {{ unread_changes() }} add column if not exists text varchar;
{% endmacro %}

{#-
    on-run-start: what each model of the run will hold when it is built, marked as being built. A model that is built
    whole takes every day; any other those of the window. It may also see what its parents hold of other days, so a line
    of another day stays only where they still hold what it says.
-#}
{% macro mark_partitions() %}
    {%- set models = models_in_order(selected_resources) if execute else [] -%}
    {%- if models -%}
        merge into {{ built_partitions() }} as built
        using (
            with
            {%- for node in models %}
                {{ 'will_' ~ node.name }} as (
                    {{ partitions_of_parents(node, models | map(attribute='name') | list) }}
                ){{ ',' if not loop.last }}
            {%- endfor %}
            {%- for node in models %}
                select
                    '{{ node.name }}' as model_name,
                    table_name,
                    partition_date,
                    manifest_hash,
                    is_built
                from {{ 'will_' ~ node.name }}
                where is_built or is_known
                {{ 'union all' if not loop.last }}
            {%- endfor %}
        ) as will
            on
                built.model_name = will.model_name
                and built.table_name = will.table_name
                and built.partition_date = will.partition_date
        when matched then update set
            manifest_hash = iff(will.is_built, '{{ building() }}' || will.manifest_hash, will.manifest_hash)
        when not matched then insert (model_name, table_name, partition_date, manifest_hash)
        values (
            will.model_name,
            will.table_name,
            will.partition_date,
            '{{ building() }}' || will.manifest_hash
        )
    {%- endif -%}
{% endmacro %}

{#- on-run-end: the models that were built hold what was marked. -#}
{% macro confirm_partitions(results) %}
    {%- set names = [] -%}
    {%- for result in results if result.node.resource_type == 'model' and result.status | string == 'success' -%}
        {%- do names.append(result.node.name) -%}
    {%- endfor -%}
    {%- if names -%}
        update {{ built_partitions() }}
        set
            manifest_hash = substr(manifest_hash, {{ building() | length + 1 }}),
            built_at = sysdate()::timestamp_ntz(6)
        where
            model_name in ('{{ names | join("', '") }}')
            and startswith(manifest_hash, '{{ building() }}')
    {%- endif -%}
{% endmacro %}

{#-
    Query: (table_name, partition_date, manifest_hash, is_built, is_known) that a model will hold: what all its parents
    hold then; and whether this run builds that day, and whether the ledger has a line of it. `selected`: names of the
    models of this run.
-#}
{% macro partitions_of_parents(node, selected) %}
    {%- set tables, built, building, expected = [''], [''], [], {} -%}
    {%- for parent in node.depends_on.nodes -%}
        {%- if parent.startswith('source.') -%}
            {%- do tables.extend(source_tables(parent)) -%}
        {%- else -%}
            {%- do (building if graph.nodes[parent].name in selected else built).append(graph.nodes[parent].name) -%}
        {%- endif -%}
        {%- for name in source_tables(parent) -%}
            {%- do expected.update({name: expected.get(name, 0) + 1}) -%}
        {%- endfor -%}
    {%- endfor -%}
    select
        table_name,
        partition_date,
        iff(is_built or known = held, held, 'mixed') as manifest_hash,
        is_built,
        known is not null as is_known
    from (
        select
            table_name,
            partition_date,
            iff(
                count(distinct held) = 1
                and count(held) = case table_name
                    {%- for name, parents in expected.items() %} when '{{ name }}' then {{ parents }}{% endfor %}
                end,
                min(held),
                'mixed'
            ) as held,
            max(known) as known,
            {{ 'true' if is_built_whole(node) else in_window('partition_date') }} as is_built
        from (
            select
                table_name,
                partition_date,
                manifest_hash as held,
                null::varchar as known
            from {{ loaded_partitions() }}
            where table_name in ('{{ tables | join("', '") }}')
            union all
            select
                table_name,
                partition_date,
                iff(startswith(manifest_hash, 'building '), 'mixed', manifest_hash),
                null
            from {{ built_partitions() }}
            where model_name in ('{{ built | join("', '") }}')
            {%- for name in building %}
                union all
                select
                    table_name,
                    partition_date,
                    manifest_hash,
                    null
                from {{ 'will_' ~ name }}
            {%- endfor %}
            union all
            select
                table_name,
                partition_date,
                null,
                manifest_hash
            from {{ built_partitions() }}
            where model_name = '{{ node.name }}'
        )
        group by table_name, partition_date
    )
{% endmacro %}

{#- Whether this run builds a model from everything there is; what `is_windowed` says inside the model. -#}
{% macro is_built_whole(node) %}
    {{ return(
        node.config.materialized != 'incremental'
        or flags.FULL_REFRESH
        or partition_window() is none
        or adapter.get_relation(node.database, node.schema, node.alias) is none
    ) }}
{% endmacro %}

{#- The models among these resources, each after those that it is made from; one made from no table has no days. -#}
{% macro models_in_order(unique_ids) %}
    {%- set left, found = [], [] -%}
    {%- for unique_id in unique_ids if unique_id.startswith('model.') and source_tables(unique_id) -%}
        {%- do left.append(unique_id) -%}
    {%- endfor -%}
    {%- for _ in range(left | length) -%}
        {%- set ready = [] -%}
        {%- for unique_id in left | sort -%}
            {%- if not (graph.nodes[unique_id].depends_on.nodes | select('in', left) | list) -%}
                {%- do ready.append(unique_id) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- for unique_id in ready -%}
            {%- do left.remove(unique_id) -%}
            {%- do found.append(graph.nodes[unique_id]) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}

{#- Names, in the source, of the tables that a source or model is made from. -#}
{% macro source_tables(unique_id) %}
    {%- if unique_id.startswith('source.') -%}
        {#- As its asset is named, where the source says so; a name in lower case can be read off the staging table. -#}
        {%- set source = graph.sources[unique_id] -%}
        {%- set key = source.meta.get('dagster', {}).get('asset_key', []) -%}
        {{ return([key[-1] if key else source.name.lower().removeprefix('stg_')]) }}
    {%- endif -%}
    {%- set found = [] -%}
    {%- for parent in graph.nodes[unique_id].depends_on.nodes -%}
        {%- for name in source_tables(parent) if name not in found -%}
            {%- do found.append(name) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(found) }}
{% endmacro %}
