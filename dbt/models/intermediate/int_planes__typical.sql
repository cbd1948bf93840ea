with days as (

    select * from {{ ref('int_flights__days') }}

),

flights as (

    select * from {{ ref('int_flights__scheduled') }}

),

planes as (

    select * from {{ ref('stg_planes') }}
    where {{ built_days() }}

),

flown as (

    select
        days.ds,
        flights.carrier,
        planes.seats,
        extract(year from days.ds) - planes.year_built as age_years
    from days
    inner join flights
        on flights.ds between days.ds - 28 and days.ds
    inner join planes
        on
            days.ds = planes.ds
            and flights.tail_number = planes.tail_number

)

select
    ds,
    carrier,
    percentile_disc(0.5) within group (order by age_years) as age_years,
    percentile_disc(0.5) within group (order by seats) as seats
from flown
group by ds, carrier
