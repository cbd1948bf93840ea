{# Rows that were known by the cutoff of the day before: they belong to that day. `at` is a time of day in the zone. #}
{% test known_after_previous_cutoff(model, column_name, zone, day="ds", at="00:00") %}
    select *
    from {{ model }}
    where {{ column_name }} <= {{ cutoff(day ~ " - 1", zone, at) }}
{% endtest %}
