{# Rows that contain something which became known only after the cutoff of their day, which begins in the zone. #}
{% test known_by_cutoff(model, column_name, zone, day="ds") %}
    select *
    from {{ model }}
    where {{ column_name }} > {{ cutoff(day, zone) }}
{% endtest %}
