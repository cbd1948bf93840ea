with menu as (

    select * from {{ ref('stg_pizza_menu') }}
    where {{ built_days() }}

),

recent as (

    select * from {{ ref('int_pizzas__recent_units') }}

),

categories as (

    select
        recent.ds,
        menu.category,
        -- of whole numbers: an average of fractions would depend on the order of the rows
        sum(recent.units_7d)::float8 / nullif(sum(recent.open_days_7d), 0)::float8 as units_mean_7d
    from menu
    inner join recent
        on
            menu.ds = recent.ds
            and menu.item = recent.item
    group by recent.ds, menu.category

)

select
    menu.ds,
    menu.ds as sale_day,
    menu.item,
    {{ cutoff('menu.ds', pizzas_zone()) }} as sold_from,
    greatest({{ cutoff('menu.ds', pizzas_zone()) }}, recent.known_at) as known_at,
    menu.pizza,
    menu.size,
    menu.category,
    menu.price::float8 as price,
    extract(isodow from menu.ds)::integer as weekday,
    extract(month from menu.ds)::integer as month,
    recent.units_last_day::float8 as units_last_day,
    coalesce(recent.units_last_week, recent.units_mean_28d)::float8 as units_last_week,
    recent.units_mean_7d,
    recent.units_mean_28d,
    coalesce(recent.units_mean_same_weekday_28d, recent.units_mean_28d) as units_mean_same_weekday_28d,
    recent.sold_share_28d,
    categories.units_mean_7d as category_units_mean_7d,
    recent.days_since_open::float8 as days_since_open
from menu
left join recent
    on
        menu.ds = recent.ds
        and menu.item = recent.item
left join categories
    on
        menu.ds = categories.ds
        and menu.category = categories.category
