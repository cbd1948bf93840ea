with source as (

    select * from {{ source('landing', 'schedules') }}

),

renamed as (

    select
        ds,
        {{ flight_key() }} as flight_key,
        carrier,
        origin,
        dest,
        tailnum as tail_number,
        -- the source gives the exact moment; the local time is ambiguous when clocks go back
        time_hour + minute * interval '1 minute' as scheduled_departure,
        hour as departure_hour,
        distance as distance_miles
    from source

)

select * from renamed
