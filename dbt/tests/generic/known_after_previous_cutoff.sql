{# Rows that were known by the cutoff of the day before. They belong to an earlier day. Days begin in the zone. #}
{% test known_after_previous_cutoff(model, column_name, zone, day="ds") %}
    select *
    from {{ model }}
    where {{ column_name }} <= {{ cutoff(day ~ " - 1", zone) }}
{% endtest %}
