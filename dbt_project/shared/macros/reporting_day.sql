{#-
    The day of a moment (UTC, timestamp_ntz) in the reporting time zone: what marts and facts call a date. Partitions are
    UTC days whatever the zone; they say when a row changed, not on which day something counts.
-#}
{% macro reporting_day(moment) -%}
    {%- set zone = var('reporting_time_zone', 'UTC') | replace("'", "''") -%}
    {%- if zone == 'UTC' -%}
        {{ moment }}::date
    {%- else -%}
        convert_timezone('UTC', '{{ zone }}', {{ moment }})::date
    {%- endif -%}
{%- endmacro %}
