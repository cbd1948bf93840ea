with arrivals as (

    select * from {{ ref('stg_arrivals') }}
    where {{ days_in_view(28) }}

),

time_zones as (

    select
        ds,
        airport,
        time_zone
    from {{ ref('stg_airports') }}
    where {{ days_in_view(28) }}

),

missing_time_zones as (

    select * from {{ ref('airport_time_zones') }}

),

departed as (

    select
        arrivals.*,
        coalesce(time_zones.time_zone, missing_time_zones.tzone) as time_zone,
        arrivals.scheduled_departure + arrivals.departure_delay_minutes * interval '1 minute' as departed_at
    from arrivals
    left join time_zones
        on
            arrivals.ds = time_zones.ds
            and arrivals.dest = time_zones.airport
    left join missing_time_zones
        on arrivals.dest = missing_time_zones.faa

),

-- the source gives the time of arrival without its day: it is the first such moment after the departure
possible_arrivals as (

    select
        *,
        timezone(time_zone, date_trunc('day', timezone(time_zone, departed_at)) + arrival_clock) as same_day,
        timezone(
            time_zone, date_trunc('day', timezone(time_zone, departed_at)) + interval '1 day' + arrival_clock
        ) as next_day
    from departed

),

arrived as (

    select
        *,
        case when same_day > departed_at then same_day else next_day end as arrived_at
    from possible_arrivals

),

judged as (

    select
        ds,
        flight_key,
        flight_day,
        carrier,
        origin,
        dest,
        tail_number,
        scheduled_departure,
        arrived_at,
        -- the outcome of a flight that has not landed by the end of its day is known at that moment at the earliest
        greatest(arrived_at, {{ cutoff('flight_day + 1', flights_zone()) }}) as known_at,
        arrival_delay_minutes,
        not departed as cancelled,
        departed and arrival_delay_minutes is null as diverted
    from arrived

)

select
    *,
    cancelled or diverted or arrival_delay_minutes >= 15 as late
from judged
