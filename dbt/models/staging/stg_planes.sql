with source as (

    select * from {{ source('landing', 'planes') }}

),

renamed as (

    select
        ds,
        tailnum as tail_number,
        year as year_built,
        seats
    from source

)

select * from renamed
