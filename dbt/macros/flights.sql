{# The time zone of the flights' days. #}
{% macro flights_zone() -%} America/New_York {%- endmacro %}

{# The natural key of a flight, in readable form: 2013-01-01/UA/1545/EWR/0515. #}
{% macro flight_key() -%}
    concat_ws(
        '/',
        make_date(year, month, day)::varchar,
        carrier,
        flight::varchar,
        origin,
        lpad(sched_dep_time::varchar, 4, '0')
    )
{%- endmacro %}
