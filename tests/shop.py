"""A dbt project of somebody else: its own folder, schema and names, without `ds`, `known_at` or landed files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tailrace.days import span
from tests.support import churn_rows

FIRST, LAST = dt.date(2024, 3, 1), dt.date(2024, 3, 9)
FEATURES, OUTCOMES = "ml.customer_features", "ml.leavers"
ROWS_A_DAY = 40

_MODELS = {
    "staging/stg_visits.sql": "select * from {{ source('crm', 'visits') }}",
    "marts/customers.sql": """
{{ config(alias='customer_features') }}
select customer, signup_date, event_time, plan, age, visits from {{ ref('stg_visits') }}
""",
    "marts/leavers.sql": "select customer, left_on, is_gone from {{ ref('stg_visits') }}",
    "marts/unrelated.sql": "select * from {{ ref('stg_visits') }} where no_such_column",
    "marts/schema.yml": """
models:
  - name: customers
    columns: [{name: customer, data_tests: [unique, not_null]}]
  - name: leavers
    columns: [{name: is_gone, data_tests: [not_null]}]
sources:
  - name: crm
    schema: raw
    tables: [{name: visits}]
""",
}


def write(folder: Path, output: Mapping[str, Any]) -> Path:
    """The project with this output of its profile as the target `prod`; its profile lies beside it."""
    for name, text in _MODELS.items():
        file = folder / "models" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    project = {
        "name": "shop",
        "profile": "shop",
        "flags": {"send_anonymous_usage_stats": False},
        "models": {"shop": {"marts": {"+schema": "ml", "+materialized": "table"}}},
    }
    (folder / "dbt_project.yml").write_text(yaml.safe_dump(project))
    (folder / "macros").mkdir()
    (folder / "macros" / "names.sql").write_text(
        "{% macro generate_schema_name(name, node) %}{{ name or target.schema }}{% endmacro %}"
    )
    profiles = folder.parent / "profiles"
    profiles.mkdir(exist_ok=True)
    found = {"target": "dev", "outputs": {"prod": {"threads": 1, **output}}}
    (profiles / "profiles.yml").write_text(yaml.safe_dump({"shop": found}))
    return profiles


def statements(last: dt.date = LAST) -> list[str]:
    """What fills the table that the project reads, with rows up to this day."""
    values = []
    for number, day in enumerate(span(FIRST, last)):
        rows, labels = churn_rows(ROWS_A_DAY, seed=number)
        for each, (row, gone) in enumerate(zip(rows.to_pylist(), labels.to_pylist(), strict=True)):
            age = "null" if row["age"] is None else f"{row['age']:.3f}"
            values.append(
                f"('{day}-{each:03d}', date '{day}', timestamptz '{day} 08:00:00+00', '{row['plan']}', {age}, "
                f"{row['visits']}, date '{day + dt.timedelta(days=1)}', {gone})"
            )
    return [
        "create schema if not exists raw",
        "create table if not exists raw.visits (customer varchar(20), signup_date date, event_time timestamp with time "
        "zone, plan varchar(10), age double precision, visits integer, left_on date, is_gone boolean)",
        "delete from raw.visits",
        f"insert into raw.visits values {', '.join(values)}",  # noqa: S608 - numbers of our own
    ]


def marts() -> list[str]:
    """What makes the marts where dbt does not, and one more that ends a day earlier."""
    columns = "customer, signup_date, event_time, plan, age, visits"
    return [
        "create schema if not exists ml",
        f"create table {FEATURES} as select {columns} from raw.visits",  # noqa: S608 - names of our own
        f"create table {OUTCOMES} as select customer, left_on, is_gone from raw.visits",  # noqa: S608
        f"create table ml.yesterdays as select * from {FEATURES} where signup_date < date '{LAST}'",  # noqa: S608
    ]
