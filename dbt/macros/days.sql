{#
    The first and the last day of this build, from BUILD_FIRST_DAY and BUILD_LAST_DAY. Both are included. If they are
    not set, dbt builds a day long ago, of which nothing is landed. They are environment variables, not dbt vars,
    because a changed var makes dbt parse the whole project again.
#}
{% macro first_day() -%}
    date '{{ env_var("BUILD_FIRST_DAY", "1900-01-01") }}'
{%- endmacro %}

{% macro last_day() -%}
    date '{{ env_var("BUILD_LAST_DAY", "1900-01-01") }}'
{%- endmacro %}

{% macro built_days(column="ds") -%}
    {{ column }} between {{ first_day() }} and {{ last_day() }}
{%- endmacro %}

{# The days of this build and the `look_back` days before its first day. #}
{% macro days_in_view(look_back, column="ds") -%}
    {{ column }} between {{ first_day() }} - {{ look_back }} and {{ last_day() }}
{%- endmacro %}

{#
    A time of the day in a time zone, such as America/New_York: both are those of the pipeline's schedule. Everything
    that the pipeline uses for the day was known by this moment. `at` is written as HH:MM.
#}
{% macro cutoff(day, zone, at="00:00") -%}
    {% set minutes = at[:2] | int * 60 + at[3:] | int -%}
    timezone('{{ zone }}', ({{ day }})::timestamp{{ " + interval '%d minutes'" % minutes if minutes else "" }})
{%- endmacro %}
