with menu as (

    select * from {{ ref('stg_pizza_menu') }}
    where {{ days_in_view(28) }}

),

sales as (

    select * from {{ ref('stg_pizza_sales') }}
    where {{ days_in_view(27) }}

),

landed as (

    select distinct sold_day from sales

),

sold as (

    select
        sold_day,
        item,
        count(*)::integer as units
    from sales
    group by sold_day, item

)

select
    menu.ds as sale_day,
    menu.item,
    menu.category,
    coalesce(sold.units, 0) as units,
    {{ cutoff('menu.ds + 1', pizzas_zone()) }} as known_at
from menu
-- of a day whose sales are not landed yet, nothing is known; an open day has sales
inner join landed
    on menu.ds = landed.sold_day
left join sold
    on
        menu.ds = sold.sold_day
        and menu.item = sold.item
