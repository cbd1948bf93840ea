with outcomes as (

    select * from {{ ref('int_flights__outcomes') }}
    where {{ built_days() }}

)

select
    ds,
    flight_key,
    flight_day,
    scheduled_departure,
    known_at,
    late,
    arrival_delay_minutes::float8 as arrival_delay_minutes,
    cancelled,
    diverted
from outcomes
