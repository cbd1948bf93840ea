-- A flight's carrier must be in the register of airlines of its day.
with flights as (

    select * from {{ ref('int_flights__scheduled') }}
    where {{ built_days() }}

),

airlines as (

    select * from {{ ref('stg_airlines') }}
    where {{ built_days() }}

)

select flights.*
from flights
left join airlines
    on
        flights.ds = airlines.ds
        and flights.carrier = airlines.carrier
where airlines.carrier is null
