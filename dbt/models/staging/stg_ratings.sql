with source as (

    select * from {{ source('landing', 'ratings') }}

),

renamed as (

    select
        ds,
        text_id,
        mean_rating,
        rating_deviation,
        raters,
        rated_at
    from source

)

select * from renamed
