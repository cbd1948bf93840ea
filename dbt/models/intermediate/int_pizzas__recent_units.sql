with menu as (

    select
        ds,
        item
    from {{ ref('stg_pizza_menu') }}
    where {{ built_days() }}

),

units as (

    select * from {{ ref('int_pizzas__units') }}

),

recent as (

    select
        menu.ds,
        menu.item,
        units.sale_day,
        units.units,
        units.known_at,
        -- 7, 14, 21 or 28 days ago
        (menu.ds - units.sale_day) % 7 = 0 as same_weekday,
        menu.ds - units.sale_day <= 7 as in_last_7_days,
        row_number() over (partition by menu.ds, menu.item order by units.sale_day desc) as place,
        row_number() over (
            partition by menu.ds, menu.item, (menu.ds - units.sale_day) % 7
            order by units.sale_day desc
        ) as place_among_weekdays
    from menu
    inner join units
        on
            menu.item = units.item
            and units.sale_day between menu.ds - 28 and menu.ds - 1

)

select
    ds,
    item,
    max(units) filter (where place = 1) as units_last_day,
    max(units) filter (where same_weekday and place_among_weekdays = 1) as units_last_week,
    coalesce(sum(units) filter (where in_last_7_days), 0)::integer as units_7d,
    (count(*) filter (where in_last_7_days))::integer as open_days_7d,
    avg(units::float8) filter (where in_last_7_days) as units_mean_7d,
    avg(units::float8) as units_mean_28d,
    avg(units::float8) filter (where same_weekday) as units_mean_same_weekday_28d,
    avg((units > 0)::integer::float8) as sold_share_28d,
    ds - max(sale_day) as days_since_open,
    max(known_at) as known_at
from recent
group by ds, item
