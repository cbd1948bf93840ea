with texts as (

    select
        *,
        regexp_replace(body, '[^A-Za-z]', '', 'g') as letters
    from {{ ref('stg_texts') }}
    where {{ built_days() }}

),

measured as (

    select
        ds,
        text_id,
        genre,
        body,
        received_at,
        length(body) as characters,
        -- one more than the gaps between words
        1 + length(regexp_replace(trim(body), '\s+', ' ', 'g'))
        - length(regexp_replace(body, '\s', '', 'g')) as words,
        length(body) - length(replace(body, '!', '')) as exclamation_marks,
        length(body) - length(replace(body, '?', '')) as question_marks,
        -- null where a text has no letters
        length(regexp_replace(letters, '[^A-Z]', '', 'g'))::float8 / nullif(length(letters), 0) as capitals_share
    from texts

)

select * from measured
