{#
    Incremental strategy `replace_days`. It deletes all rows of the days of this build and inserts the new ones, in the
    transaction that dbt opens. So if a day has lost rows, they disappear here too. Other days stay.
    On Postgres, a second build waits here for the first one's transaction. So no day gets the rows of both.
#}
{% macro get_incremental_replace_days_sql(arg_dict) %}
    {%- set columns = get_quoted_csv(arg_dict["dest_columns"] | map(attribute="name")) -%}
    {{ alone(arg_dict["target_relation"]) }}
    delete from {{ arg_dict["target_relation"] }}
    where {{ built_days() }};

    insert into {{ arg_dict["target_relation"] }} ({{ columns }})
    select {{ columns }}
    from {{ arg_dict["temp_relation"] }}
{% endmacro %}

{# The statements after which only this build can replace days of the table, until its transaction ends. May be empty. #}
{% macro alone(table) -%}
    {{ adapter.dispatch("alone", "tailrace")(table) }}
{%- endmacro %}

{% macro default__alone(table) -%}{%- endmacro %}

{% macro postgres__alone(table) -%}
    lock table {{ table }} in share row exclusive mode;
    {% set process = env_var("TAILRACE_BUILD_LOCK", "") -%}
    {% if process -%}
        do $$
        begin
            if not exists (select 1 from pg_locks where locktype = 'advisory' and granted and pid = {{ process }}) then
                raise exception 'tailrace: the lock of this build is gone';
            end if;
        end
        $$;
    {%- endif %}
{%- endmacro %}
