with source as (

    select * from {{ source('landing', 'pizza_menu') }}

),

renamed as (

    select
        ds,
        item,
        name as pizza,
        size,
        category,
        price
    from source

)

select * from renamed
