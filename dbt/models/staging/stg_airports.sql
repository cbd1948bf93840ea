with source as (

    select * from {{ source('landing', 'airports') }}

),

renamed as (

    select
        ds,
        faa as airport,
        tzone as time_zone
    from source

)

select * from renamed
