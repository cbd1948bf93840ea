-- If the schedule of a day was landed, each outcome of that day must belong to a flight in that schedule.
with outcomes as (

    select * from {{ ref('flight_delay_outcomes') }}
    where {{ built_days() }}

),

flights as (

    select * from {{ ref('int_flights__scheduled') }}

)

select outcomes.*
from outcomes
where
    outcomes.flight_day in (select flights.ds from flights)
    and outcomes.flight_key not in (select flights.flight_key from flights)
