with days as (

    select * from {{ ref('int_flights__days') }}

),

observations as (

    select * from {{ ref('stg_weather') }}
    where {{ days_in_view(7) }}

),

before_cutoff as (

    select
        days.ds,
        observations.origin,
        observations.observed_at,
        observations.temperature_f,
        observations.dew_point_f,
        observations.humidity_pct,
        observations.wind_speed_mph,
        observations.precipitation_in,
        observations.pressure_mb,
        observations.visibility_miles,
        extract(epoch from days.cutoff - observations.observed_at) / 60 as weather_age_minutes
    from days
    inner join observations
        on
            observations.ds between days.ds - 7 and days.ds
            and days.cutoff > observations.observed_at

)

select distinct on (ds, origin) *
from before_cutoff
order by ds asc, origin asc, observed_at desc
