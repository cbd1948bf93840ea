{# Rows whose value is outside the closed range least..greatest; nulls pass. #}
{% test within(model, column_name, least, greatest) %}
    select *
    from {{ model }}
    where {{ column_name }} not between {{ least }} and {{ greatest }}
{% endtest %}
