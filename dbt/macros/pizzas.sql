{# The time zone of the pizza shop's days. #}
{% macro pizzas_zone() -%} Europe/Rome {%- endmacro %}
