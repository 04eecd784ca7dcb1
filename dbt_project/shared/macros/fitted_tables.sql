{#-
    on-run-start: the tables of fitted models, which the project declares as columns of its source `fitted`, where they
    are missing: so that marts that read them can be built before there is a fit. The assets of the layer `models` fill
    them.
-#}
{% macro create_fitted_tables() %}
    {#- While dbt parses, the graph is empty. -#}
    {%- for table in graph.get('sources', {}).values() if table.source_name == 'fitted' %}
        {%- set fitted = api.Relation.create(
            database=table.database, schema=table.schema, identifier=table.identifier
        ) -%}
        {%- if not load_cached_relation(fitted) %}
        create table if not exists {{ fitted }} (
            {%- for column in table.columns.values() %}
                {{ column.name }} {{ column.data_type }}{{ "," if not loop.last }}
            {%- endfor %}
        );
        {%- endif %}
    {%- endfor %}
{% endmacro %}
