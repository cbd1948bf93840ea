{#
    The first and the last day of this build, from BUILD_FIRST_DAY and BUILD_LAST_DAY. Both are included. They are
    environment variables, not dbt vars, because a changed var makes dbt parse the whole project again.
#}
{% macro first_day() -%}
    date '{{ env_var("BUILD_FIRST_DAY", "2013-01-01") }}'
{%- endmacro %}

{% macro last_day() -%}
    date '{{ env_var("BUILD_LAST_DAY", "2013-01-07") }}'
{%- endmacro %}

{% macro built_days(column="ds") -%}
    {{ column }} between {{ first_day() }} and {{ last_day() }}
{%- endmacro %}

{# The days of this build and the `look_back` days before its first day. #}
{% macro days_in_view(look_back, column="ds") -%}
    {{ column }} between {{ first_day() }} - {{ look_back }} and {{ last_day() }}
{%- endmacro %}

{# 00:00 of the day in New York. Everything that is used for the day was known by this moment. #}
{% macro cutoff(day) -%}
    timezone('America/New_York', ({{ day }})::timestamp)
{%- endmacro %}
