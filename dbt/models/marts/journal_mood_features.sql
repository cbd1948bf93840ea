with texts as (

    select * from {{ ref('int_texts__measured') }}

)

select
    ds,
    text_id,
    received_at,
    -- everything that describes a text is known when it is received
    received_at as known_at,
    genre,
    body,
    characters::integer as characters,
    words::integer as words,
    exclamation_marks::integer as exclamation_marks,
    question_marks::integer as question_marks,
    capitals_share
from texts
