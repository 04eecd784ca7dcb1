{#-
    dbt writes the comments of a table and of its columns with every build. A table that is only added to keeps those
    it has: `documented` names the models for which that has been looked up. Three statements less for each of them.
-#}
{% macro snowflake__persist_docs(relation, model, for_relation, for_columns) %}
    {%- if not (is_incremental() and model.name in var('documented', [])) -%}
        {{ return(dbt.snowflake__persist_docs(relation, model, for_relation, for_columns)) }}
    {%- endif -%}
{% endmacro %}
