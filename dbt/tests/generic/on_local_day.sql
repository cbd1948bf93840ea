{# Rows whose moment, in New York local time, is on another day than `day`. #}
{% test on_local_day(model, column_name, day) %}
    select *
    from {{ model }}
    where timezone('America/New_York', {{ column_name }})::date != {{ day }}
{% endtest %}
