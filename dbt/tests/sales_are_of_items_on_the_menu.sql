-- A pizza that was sold on a day whose menu was landed must be on that menu.
with sales as (

    select * from {{ ref('stg_pizza_sales') }}
    where {{ built_days() }}

),

menu as (

    select * from {{ ref('stg_pizza_menu') }}

),

landed as (

    select distinct ds from menu

)

select sales.*
from sales
left join menu
    on
        sales.sold_day = menu.ds
        and sales.item = menu.item
where
    menu.item is null
    and sales.sold_day in (select landed.ds from landed)
