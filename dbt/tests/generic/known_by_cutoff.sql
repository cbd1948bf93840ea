{# Rows that contain something which became known only after the cutoff of their day. #}
{% test known_by_cutoff(model, column_name, day="ds") %}
    select *
    from {{ model }}
    where {{ column_name }} > {{ cutoff(day) }}
{% endtest %}
