with units as (

    select * from {{ ref('int_pizzas__units') }}
    where {{ built_days("sale_day + 1") }}

)

select
    sale_day + 1 as ds,
    sale_day,
    item,
    known_at,
    units
from units
