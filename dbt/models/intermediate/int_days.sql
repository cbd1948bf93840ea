with days as (

    select unnest(generate_series(
        {{ first_day() }}, {{ last_day() }}, interval 1 day
    ))::date as ds

)

select
    ds,
    {{ cutoff('ds') }} as cutoff
from days
