with source as (

    select * from {{ source('landing', 'arrivals') }}

),

renamed as (

    select
        ds,
        {{ flight_key() }} as flight_key,
        make_date(year, month, day) as flight_day,
        carrier,
        origin,
        dest,
        tailnum as tail_number,
        time_hour + sched_dep_time % 100 * interval '1 minute' as scheduled_departure,
        dep_time is not null as departed,
        dep_delay as departure_delay_minutes,
        -- the time at the destination; 24:00 is 00:00 of the next day
        (floor(arr_time / 100)::integer * 60 + arr_time % 100) % 1440 * interval '1 minute' as arrival_clock,
        arr_delay as arrival_delay_minutes
    from source

)

select * from renamed
