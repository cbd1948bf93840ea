{#
    dbt's macro for the rows that a test judges, with a short form for those of this build: `where: __built_days__`.
    Without it, the tests of a mart would read all of its days each night.
#}
{% macro get_where_subquery(relation) -%}
    {%- set where = (config.get("where") or "") | replace("__built_days__", built_days()) -%}
    {%- set rows -%}
        (select * from {{ relation }} where {{ where }}) as dbt_subquery
    {%- endset -%}
    {%- do return(rows if where else relation) -%}
{%- endmacro %}
