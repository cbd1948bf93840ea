with days as (

    select midnights.midnight::date as ds
    from generate_series({{ first_day() }}, {{ last_day() }}, interval '1 day') as midnights (midnight)

)

select
    ds,
    {{ cutoff('ds', flights_zone()) }} as cutoff
from days
