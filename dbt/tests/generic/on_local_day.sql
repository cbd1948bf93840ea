{# Rows whose moment, in the local time of the zone, is on another day than `day`. #}
{% test on_local_day(model, column_name, day, zone) %}
    select *
    from {{ model }}
    where timezone('{{ zone }}', {{ column_name }})::date != {{ day }}
{% endtest %}
