{# The last 64 bits of the MD5 of a text, as a whole number of at least 0. The least significant byte comes first. #}
{% macro md5_number(text) -%}
    {{ adapter.dispatch("md5_number", "tailrace")(text) }}
{%- endmacro %}

{% macro duckdb__md5_number(text) -%}
    md5_number_lower({{ text }})
{%- endmacro %}

{% macro postgres__md5_number(text) -%}
    (
        {%- for byte in range(8) -%}
            get_byte(decode(md5({{ text }}), 'hex'), {{ 8 + byte }}) * {{ 256 ** byte }}::numeric
            {{- " + " if not loop.last }}
        {%- endfor -%}
    )
{%- endmacro %}
