{# Values that occur more than once within a day. #}
{% test unique_within_day(model, column_name, day="ds") %}
    select
        {{ day }},
        {{ column_name }},
        count(*) as occurrences
    from {{ model }}
    group by {{ day }}, {{ column_name }}
    having count(*) > 1
{% endtest %}
