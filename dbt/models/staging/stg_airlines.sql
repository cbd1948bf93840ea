with source as (

    select * from {{ source('landing', 'airlines') }}

),

renamed as (

    select
        ds,
        carrier,
        name as airline
    from source

)

select * from renamed
