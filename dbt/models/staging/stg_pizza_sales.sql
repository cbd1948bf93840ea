with source as (

    select * from {{ source('landing', 'pizza_sales') }}

),

renamed as (

    select
        ds,
        order_id,
        item,
        sold_at,
        timezone('{{ pizzas_zone() }}', sold_at)::date as sold_day
    from source

)

select * from renamed
