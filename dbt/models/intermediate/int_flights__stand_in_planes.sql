with days as (

    select * from {{ ref('int_flights__days') }}

),

flights as (

    select * from {{ ref('int_flights__scheduled') }}

),

-- numbered by day, so that a carrier's flights of consecutive days have consecutive numbers
with_plane as (

    select
        ds,
        carrier,
        tail_number,
        row_number() over (
            -- sorted by bytes, independent of the database's own text order
            partition by carrier order by ds, flight_key collate "C"
        ) as flight_number
    from flights
    where tail_number is not null

),

-- the flights of the 28 days before; if there are none, the flights of the day itself
pools as (

    select
        days.ds,
        with_plane.carrier,
        min(with_plane.flight_number) as first_number,
        coalesce(nullif(count(*) filter (where with_plane.ds < days.ds), 0), count(*)) as flights
    from days
    inner join with_plane
        on with_plane.ds between days.ds - 28 and days.ds
    group by days.ds, with_plane.carrier

),

-- MD5, because a database's own hash() may change with its version
drawn as (

    select
        flights.ds,
        flights.flight_key,
        flights.carrier,
        pools.first_number + ({{ md5_number('flights.flight_key') }} % pools.flights)::bigint as flight_number
    from flights
    inner join pools
        on
            flights.ds = pools.ds
            and flights.carrier = pools.carrier
    where flights.tail_number is null

)

select
    drawn.ds,
    drawn.flight_key,
    with_plane.tail_number
from drawn
inner join with_plane
    on
        drawn.carrier = with_plane.carrier
        and drawn.flight_number = with_plane.flight_number
