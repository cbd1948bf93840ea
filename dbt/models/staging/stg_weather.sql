with source as (

    select * from {{ source('landing', 'weather') }}

),

renamed as (

    select
        ds,
        origin,
        time_hour as observed_at,
        temp as temperature_f,
        dewp as dew_point_f,
        humid as humidity_pct,
        wind_speed as wind_speed_mph,
        precip as precipitation_in,
        pressure as pressure_mb,
        visib as visibility_miles
    from source

)

select * from renamed
