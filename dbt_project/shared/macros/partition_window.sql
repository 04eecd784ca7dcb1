{#- The run's window as [start, end], or none when the run processes everything. Days are half-open, UTC. -#}
{% macro partition_window() %}
    {%- set start = var('partition_start', none) -%}
    {%- set end = var('partition_end', none) -%}
    {%- if start is none and end is none -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set day = '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' -%}
    {%- if not (modules.re.match(day, start | string) and modules.re.match(day, end | string)) or start >= end -%}
        {{ exceptions.raise_compiler_error(
            "partition_start and partition_end must both be given as YYYY-MM-DD, start before end (half-open); found "
            ~ start ~ " and " ~ end ~ ". Give both, or neither to process the whole log.") }}
    {%- endif -%}
    {{ return([start, end]) }}
{% endmacro %}

{#- Whether this run takes only what the window touched. -#}
{% macro is_windowed() %}
    {{ return(is_incremental() and partition_window() is not none) }}
{% endmacro %}
