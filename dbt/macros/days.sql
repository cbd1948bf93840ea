{#
    The days this build works on, both included, from BUILD_FIRST_DAY and BUILD_LAST_DAY. They are
    environment variables and not dbt vars because a changed var makes dbt parse the whole project again.
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

{# The days this build works on and those before them that it looks back on. #}
{% macro days_in_view(look_back, column="ds") -%}
    {{ column }} between {{ first_day() }} - {{ look_back }} and {{ last_day() }}
{%- endmacro %}

{# The moment by which everything used for a day was known: its first in New York. #}
{% macro cutoff(day) -%}
    timezone('America/New_York', ({{ day }})::timestamp)
{%- endmacro %}
