{%- set members = {
    "carrier": "carrier",
    "origin": "origin",
    "route": "origin || '-' || dest",
    "plane": "tail_number",
} -%}

with days as (

    select * from {{ ref('int_flights__days') }}

),

outcomes as (

    select * from {{ ref('int_flights__outcomes') }}

),

known as (

    select
        days.ds,
        outcomes.carrier,
        outcomes.origin,
        outcomes.dest,
        outcomes.tail_number,
        outcomes.late,
        outcomes.known_at,
        outcomes.flight_day >= days.ds - 7 as in_last_7_days
    from days
    inner join outcomes
        on
            outcomes.flight_day between days.ds - 28 and days.ds - 1
            and days.cutoff >= outcomes.known_at

),

rates as (

    {% for dimension, member in members.items() %}
        select
            ds,
            '{{ dimension }}' as dimension,
            {{ member }} as member,
            avg(late::int::float8) filter (where in_last_7_days) as late_rate_7d,
            avg(late::int::float8) as late_rate_28d,
            max(known_at) as known_at
        from known
        -- flights without a tail number belong to no plane
        where tail_number is not null or '{{ dimension }}' != 'plane'
        group by ds, member
        {{ "union all" if not loop.last }}
    {% endfor %}

)

select * from rates
