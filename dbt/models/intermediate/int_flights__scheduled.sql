with schedules as (

    select * from {{ ref('stg_schedules') }}
    where {{ days_in_view(28) }}

),

counted as (

    select
        *,
        count(*) over (partition by ds, origin, departure_hour) as scheduled_departures_same_hour
    from schedules

)

select * from counted
