with days as (

    select * from {{ ref('int_flights__days') }}

),

scheduled as (

    select * from {{ ref('int_flights__scheduled') }}
    where {{ built_days() }}

),

stand_in_planes as (

    select * from {{ ref('int_flights__stand_in_planes') }}

),

planes as (

    select * from {{ ref('stg_planes') }}
    where {{ built_days() }}

),

typical_planes as (

    select * from {{ ref('int_planes__typical') }}

),

weather as (

    select * from {{ ref('int_weather__last_observed') }}

),

late_rates as (

    select * from {{ ref('int_late_rates') }}

),

-- only cancelled flights have no tail number, so a missing value would reveal the outcome
flights as (

    select
        scheduled.*,
        coalesce(scheduled.tail_number, stand_in_planes.tail_number) as plane
    from scheduled
    left join stand_in_planes
        on
            scheduled.ds = stand_in_planes.ds
            and scheduled.flight_key = stand_in_planes.flight_key

)

select
    flights.ds,
    flights.flight_key,
    flights.scheduled_departure,
    -- schedules and registers are read at the cutoff itself; greatest() ignores nulls
    greatest(
        days.cutoff, weather.observed_at, carriers.known_at, origins.known_at, routes.known_at, histories.known_at
    ) as known_at,

    flights.carrier,
    flights.origin,
    flights.dest,
    flights.departure_hour,
    extract(isodow from flights.ds)::integer as weekday,
    extract(month from flights.ds)::integer as month,
    flights.distance_miles::float8 as distance_miles,
    flights.scheduled_departures_same_hour::integer as scheduled_departures_same_hour,

    coalesce(extract(year from flights.ds) - planes.year_built, typical_planes.age_years)::float8 as plane_age_years,
    coalesce(planes.seats, typical_planes.seats)::float8 as plane_seats,

    weather.temperature_f,
    weather.dew_point_f,
    weather.humidity_pct,
    weather.wind_speed_mph,
    weather.precipitation_in,
    weather.pressure_mb,
    weather.visibility_miles,
    weather.weather_age_minutes::float8 as weather_age_minutes,

    carriers.late_rate_7d as carrier_late_rate_7d,
    carriers.late_rate_28d as carrier_late_rate_28d,
    origins.late_rate_7d as origin_late_rate_7d,
    origins.late_rate_28d as origin_late_rate_28d,
    routes.late_rate_7d as route_late_rate_7d,
    routes.late_rate_28d as route_late_rate_28d,
    coalesce(histories.late_rate_7d, carriers.late_rate_7d) as plane_late_rate_7d,
    coalesce(histories.late_rate_28d, carriers.late_rate_28d) as plane_late_rate_28d
from flights
inner join days
    on flights.ds = days.ds
left join planes
    on
        flights.ds = planes.ds
        and flights.plane = planes.tail_number
left join typical_planes
    on
        flights.ds = typical_planes.ds
        and flights.carrier = typical_planes.carrier
left join weather
    on
        flights.ds = weather.ds
        and flights.origin = weather.origin
left join late_rates as carriers
    on
        carriers.dimension = 'carrier'
        and flights.ds = carriers.ds
        and flights.carrier = carriers.member
left join late_rates as origins
    on
        origins.dimension = 'origin'
        and flights.ds = origins.ds
        and flights.origin = origins.member
left join late_rates as routes
    on
        routes.dimension = 'route'
        and flights.ds = routes.ds
        and flights.origin || '-' || flights.dest = routes.member
left join late_rates as histories
    on
        histories.dimension = 'plane'
        and flights.ds = histories.ds
        and flights.plane = histories.member
