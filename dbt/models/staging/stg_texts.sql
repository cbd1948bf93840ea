with source as (

    select * from {{ source('landing', 'texts') }}

),

renamed as (

    select
        ds,
        text_id,
        genre,
        -- the tweets are written as in a web page
        replace(replace(replace(text, '&lt;', '<'), '&gt;', '>'), '&amp;', '&') as body,
        received_at
    from source

)

select * from renamed
