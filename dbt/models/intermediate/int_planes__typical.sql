with days as (

    select * from {{ ref('int_days') }}

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
        year(days.ds) - planes.year_built as age_years
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
    quantile_disc(age_years, 0.5) as age_years,
    quantile_disc(seats, 0.5) as seats
from flown
group by ds, carrier
