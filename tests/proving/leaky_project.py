"""A small dbt project on landed files whose mart has thirteen columns that look ahead, and a few that do not."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa

from tailrace.days import span
from tailrace.sources.landing import Landing
from tailrace.spec import Candidate, Features, Outcome, PipelineSpec, Schedule, Window
from tailrace.warehouse.duckdb import DuckDBWarehouse

FIRST, DAY, LAST = dt.date(2024, 1, 1), dt.date(2024, 1, 7), dt.date(2024, 1, 14)
CUSTOMERS = 20
SCHEMAS = {
    "orders": pa.schema(
        [("number", pa.int64()), ("customer", pa.string()), ("amount", pa.float64()), ("status", pa.string())]
    ),
    "customers": pa.schema([("customer", pa.string()), ("plan", pa.string()), ("signed_up", pa.date32())]),
}
MACROS = Path(__file__).resolve().parents[2] / "dbt" / "macros"

MODELS = {
    # a window without a bound
    "spent_ever": "select ds, customer, sum(amount) over (partition by customer) as value from {{ ref('stg_orders') }}",
    # a join to a later state
    "next_plan": """
select c.ds, c.customer, later.plan as value
from {{ ref('stg_customers') }} as c
left join {{ ref('stg_customers') }} as later on c.customer = later.customer and later.ds = c.ds + 1""",
    # coalesce to the final value
    "final_status": """
with final as (select number, max(status) as status from {{ ref('stg_orders') }} where status != 'open' group by number)
select o.ds, o.customer, coalesce(final.status, o.status) as value
from {{ ref('stg_orders') }} as o left join final on o.number = final.number""",
    # an aggregate over the whole table
    "against_all": """
select o.ds, o.customer, o.amount / overall.mean as value
from {{ ref('stg_orders') }} as o
cross join (select avg(amount) as mean from {{ ref('stg_orders') }}) as overall""",
    # the latest state of a dimension instead of that of the day
    "latest_plan": """
with ranked as (
    select customer, plan, row_number() over (partition by customer order by ds desc) as newest
    from {{ ref('stg_customers') }}
)
select o.ds, o.customer, ranked.plan as value
from {{ ref('stg_orders') }} as o inner join ranked on o.customer = ranked.customer and ranked.newest = 1""",
    # missing unless something happens later
    "note": """
select o.ds, o.customer, case when exists (
    select 1 from {{ ref('stg_orders') }} as l where l.customer = o.customer and l.ds > o.ds and l.amount > 90
) then 'noted' end as value
from {{ ref('stg_orders') }} as o""",
    "next_amount": """
select ds, customer, lead(amount) over (partition by customer order by ds) as value from {{ ref('stg_orders') }}""",
    # a later row by a join of the table with itself
    "next_order": """
select o.ds, o.customer, min(l.number) as value
from {{ ref('stg_orders') }} as o left join {{ ref('stg_orders') }} as l on o.customer = l.customer and l.ds > o.ds
group by o.ds, o.customer""",
    # a rank among all rows
    "amount_rank": "select ds, customer, rank() over (order by amount) as value from {{ ref('stg_orders') }}",
    # a filter that lets the future in
    "orders_around": """
select d.ds, d.customer, count(*) as value
from {{ ref('stg_orders') }} as d
inner join {{ ref('stg_orders') }} as o on d.customer = o.customer and o.ds between d.ds - 3 and d.ds + 3
group by d.ds, d.customer""",
    # the clock of the machine
    "days_since": """
select ds, customer, current_date - signed_up as value from {{ ref('stg_customers') }}""",
    # the last value of a row that is corrected later
    "corrected": """
select o.ds, o.customer, last.amount as value
from {{ ref('stg_orders') }} as o
inner join (
    select number, arg_max(amount, ds) as amount from {{ ref('stg_orders') }} group by number
) as last on o.number = last.number""",
    # later days, but only where they are built together with the day
    "of_the_build": """
select o.ds, o.customer, count(*) as value
from {{ ref('stg_orders') }} as o
inner join {{ ref('stg_orders') }} as l on o.customer = l.customer and l.ds >= o.ds and {{ built_days('l.ds') }}
group by o.ds, o.customer""",
    # and these do not look ahead
    "spent_so_far": """
select ds, customer, sum(amount) over (
    partition by customer order by ds range between interval 3 day preceding and current row
) as value from {{ ref('stg_orders') }}""",
    "plan": "select ds, customer, plan as value from {{ ref('stg_customers') }}",
}
HONEST = ("spent_so_far", "plan")
LEAKY = tuple(name for name in MODELS if name not in HONEST)

_PROJECT = """
name: leaky
profile: leaky
flags: {send_anonymous_usage_stats: false}
models:
  leaky:
    +materialized: view
    marts: {+materialized: incremental, +incremental_strategy: replace_days}
"""
_PROFILE = """
leaky:
  target: duckdb
  outputs: {duckdb: {type: duckdb, path: "{{ env_var('TAILRACE_WAREHOUSE') }}", threads: 1}}
"""
_SOURCES = """
sources:
  - name: landing
    config:
      meta:
        external_location: >-
          read_parquet('{{ env_var('TAILRACE_LANDING', '.') }}/{name}/ds=2*/part-0.parquet', hive_partitioning = true)
    tables: [{name: orders}, {name: customers}]
"""


def spec(columns: tuple[str, ...] = tuple(MODELS)) -> PipelineSpec:
    """A pipeline that uses these columns."""
    texts = ("next_plan", "final_status", "latest_plan", "note", "plan")
    return PipelineSpec(
        name="shop",
        owner="us",
        description="Who comes back?",
        features=Features(
            key=("customer",),
            event_time="at",
            columns={name: "categorical" if name in texts else "numeric" for name in columns},
        ),
        outcome=Outcome(label="back"),
        candidates=(Candidate("logistic", "sklearn.linear_model.LogisticRegression"),),
        window=Window(days=4, holdout_days=1),
        schedule=Schedule(train=None, predict=None, timezone="UTC"),
    )


def write(folder: Path) -> DuckDBWarehouse:
    """The project, its landed files, and its warehouse, in which nothing is built."""
    project = folder / "project"
    for name, text in _files().items():
        file = project / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    shutil.copytree(MACROS, project / "macros")
    landing = Landing(str(folder / "landing"), SCHEMAS, look_back_days=dict.fromkeys(SCHEMAS, 0))
    for day in span(FIRST, LAST):
        for table, rows in _landed(day).items():
            landing.write(table, day, rows)
    return DuckDBWarehouse(folder / "warehouse.duckdb", project=project, landing=landing, work=folder / "work")


def _files() -> dict[str, str]:
    columns = ",\n".join(f"    {name}.value as {name}" for name in MODELS)
    joins = "\n".join(
        f"left join {{{{ ref('int_{name}') }}}} as {name} on c.ds = {name}.ds and c.customer = {name}.customer"
        for name in MODELS
    )
    moments = "c.ds::timestamptz as at, c.ds::timestamptz as known_at"
    features = f"select c.ds, c.customer, {moments},\n{columns}\nfrom {{{{ ref('stg_customers') }}}} as c\n{joins}\n"
    outcomes = "select ds, customer, ds::timestamptz as known_at, amount > 50 as back from {{ ref('stg_orders') }}\n"
    return {
        "dbt_project.yml": _PROJECT,
        "profiles.yml": _PROFILE,
        "models/sources.yml": _SOURCES,
        "models/staging/stg_orders.sql": "select * from {{ source('landing', 'orders') }}",
        "models/staging/stg_customers.sql": "select * from {{ source('landing', 'customers') }}",
        "models/marts/shop_features.sql": features + "where {{ built_days('c.ds') }}",
        "models/marts/shop_outcomes.sql": outcomes + "where {{ built_days() }}",
        **{f"models/int/int_{name}.sql": text for name, text in MODELS.items()},
    }


def _landed(day: dt.date) -> dict[str, pa.Table]:
    """An order of each customer; on every third day, rows of DAY's orders come again, corrected."""
    random = np.random.default_rng(day.toordinal())
    names = [f"c{number:02}" for number in range(CUSTOMERS)]
    first = (DAY if day > DAY and day.day % 3 == 0 else day).day * 100
    orders = {
        "number": [first + number for number in range(CUSTOMERS)],
        "customer": names,
        "amount": random.integers(1, 100, CUSTOMERS).astype(float).tolist(),
        "status": ["open" if day <= DAY else "returned"] * CUSTOMERS,
    }
    customers = {
        "customer": names,
        "plan": random.choice(["free", "pro", "team"], CUSTOMERS).tolist(),
        "signed_up": [dt.date(2023, 6, 1)] * CUSTOMERS,
    }
    return {"orders": pa.table(orders, SCHEMAS["orders"]), "customers": pa.table(customers, SCHEMAS["customers"])}
