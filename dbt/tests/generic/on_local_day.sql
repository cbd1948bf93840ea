{# Rows whose moment is on another day than `day` by the New York clock. #}
{% test on_local_day(model, column_name, day) %}
    select *
    from {{ model }}
    where timezone('America/New_York', {{ column_name }})::date != {{ day }}
{% endtest %}
