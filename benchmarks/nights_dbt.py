"""The dbt project of the benchmark `nights`: marts, tests and a look-back as this repository's own project has them."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb

_OURS = Path(__file__).parents[1] / "dbt" / "macros"
# dbt finds macros that another one dispatches to by the project's name.
_PROJECT = """
name: tailrace
version: "1.0.0"
config-version: 2
profile: tailrace
flags: {send_anonymous_usage_stats: false}
models:
  tailrace:
    +materialized: incremental
    +incremental_strategy: replace_days
    +on_schema_change: fail
    +full_refresh: false
"""
_PROFILES = """
tailrace:
  target: duckdb
  outputs:
    duckdb:
      type: duckdb
      path: "{{ env_var('TAILRACE_WAREHOUSE') }}"
      threads: 2
      settings: {TimeZone: UTC}
"""
_SOURCES = """
sources:
  - name: landing
    config:
      meta:
        external_location: >-
          read_parquet(
          '{{ env_var('TAILRACE_LANDING') }}/{name}/ds=[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]/part-0.parquet',
          hive_partitioning = true)
    tables: [{name: customers}, {name: leavings}, {name: prices}]
"""
_RECENT = """
{{ config(materialized='table') }}
select avg(price) as price
from {{ source('landing', 'prices') }}
where {{ days_in_view(28) }}
"""
_FEATURES = """
select customer, FEATURES, event_time, known_at, ds
from {{ source('landing', 'customers') }}
cross join {{ ref('recent_prices') }}
where {{ built_days() }} and price is not null
"""
_OUTCOMES = """
select customer, "left", known_at, ds
from {{ source('landing', 'leavings') }}
where {{ built_days() }}
"""
_TESTS = """
models:
  - name: churn_features
    columns:
      - {name: ds, data_tests: [not_null]}
      - name: customer
        data_tests: [not_null, {unique: {config: {where: __built_days__}}}]
  - name: churn_outcomes
    columns:
      - {name: ds, data_tests: [not_null]}
      - name: customer
        data_tests: [not_null, {unique: {config: {where: __built_days__}}}]
      - {name: left, quote: true, data_tests: [not_null]}
"""


def write(folder: Path, features: Sequence[str]) -> None:
    """Write the project into a new folder, with the macros of this repository's project."""
    (folder / "models").mkdir(parents=True)
    (folder / "macros").mkdir()
    for name in ("days", "replace_days", "get_where_subquery"):
        shutil.copy(_OURS / f"{name}.sql", folder / "macros")
    files = {
        "dbt_project.yml": _PROJECT,
        "profiles.yml": _PROFILES,
        "models/sources.yml": _SOURCES,
        "models/recent_prices.sql": _RECENT,
        "models/churn_features.sql": _FEATURES.replace("FEATURES", ", ".join(features)),
        "models/churn_outcomes.sql": _OUTCOMES,
        "models/churn.yml": _TESTS,
    }
    for name, text in files.items():
        (folder / name).write_text(text)


def insert_history(database: Path, built: dt.date, history: Sequence[dt.date]) -> None:
    """Copy the rows of a day that was built into each of these days, and record their builds, as builds would have."""
    with duckdb.connect(database) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("create temp table history as select unnest(?::date[]) as day", [list(history)])
        connection.execute("alter table history add column later integer")
        connection.execute("update history set later = (day - ?::date)::integer", [built])
        for mart, times in (("churn_features", ("event_time", "known_at")), ("churn_outcomes", ("known_at",))):
            moved = "".join(f"{name} + to_days(later) as {name}, " for name in times)
            key = "strftime(substr(customer, 1, 10)::date + later, '%Y-%m-%d') || substr(customer, 11)"
            connection.execute(
                f"insert into {mart} by name select copied.* replace ({moved} {key} as customer, day as ds) "  # noqa: S608 - constants
                f"from {mart} as copied cross join history where ds = ?",
                [built],
            )
            connection.execute("insert into _tailrace_builds select ?, day, '' from history", [mart])
