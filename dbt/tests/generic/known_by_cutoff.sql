{# Rows that contain something which became known only after the cutoff of their day, a time of day in the zone. #}
{% test known_by_cutoff(model, column_name, zone, day="ds", at="00:00") %}
    select *
    from {{ model }}
    where {{ column_name }} > {{ cutoff(day, zone, at) }}
{% endtest %}
