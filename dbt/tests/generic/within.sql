{# Rows whose value is less than `least` or more than `greatest`. Nulls pass. #}
{% test within(model, column_name, least, greatest) %}
    select *
    from {{ model }}
    where {{ column_name }} not between {{ least }} and {{ greatest }}
{% endtest %}
