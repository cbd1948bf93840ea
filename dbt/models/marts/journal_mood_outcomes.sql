with ratings as (

    select * from {{ ref('stg_ratings') }}
    where {{ built_days() }}

)

select
    ds,
    text_id,
    rated_at as known_at,
    case
        when mean_rating < -0.5 then 'negative'
        when mean_rating > 0.5 then 'positive'
        else 'neutral'
    end as mood,
    mean_rating,
    rating_deviation,
    raters
from ratings
