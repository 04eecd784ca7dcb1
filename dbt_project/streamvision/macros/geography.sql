{#- Countries that viewers live in: code, name, region, and the time zone of most of them. -#}
{% macro countries() %}
    {{ return([
        ['AR', 'Argentina', 'South America', 'America/Argentina/Buenos_Aires'],
        ['AU', 'Australia', 'Oceania', 'Australia/Sydney'],
        ['BE', 'Belgium', 'Europe', 'Europe/Brussels'],
        ['CA', 'Canada', 'North America', 'America/Toronto'],
        ['CH', 'Switzerland', 'Europe', 'Europe/Zurich'],
        ['DE', 'Germany', 'Europe', 'Europe/Berlin'],
        ['ES', 'Spain', 'Europe', 'Europe/Madrid'],
        ['FR', 'France', 'Europe', 'Europe/Paris'],
        ['GB', 'United Kingdom', 'Europe', 'Europe/London'],
        ['IT', 'Italy', 'Europe', 'Europe/Rome'],
        ['MX', 'Mexico', 'North America', 'America/Mexico_City'],
        ['US', 'United States', 'North America', 'America/Chicago'],
    ]) }}
{% endmacro %}

{#- The same as rows of values. -#}
{% macro described_countries() -%}
    {%- for country in countries() -%}
        ('{{ country | join("', '") }}'){{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- A moment (UTC) on the clocks of a country; of one that is not known, in UTC. -#}
{% macro local_time(moment, country) -%}
    case {{ country }}
        {%- for code, _, _, zone in countries() %}
            when '{{ code }}' then convert_timezone('UTC', '{{ zone }}', {{ moment }})
        {%- endfor %}
        else {{ moment }}
    end::timestamp_ntz(6)
{%- endmacro %}
