"""### Warehouse

This DAG runs every night at 00:15, in the time zone of `tailrace.toml`. It lands the sources' extracts of the day, and
builds and tests the warehouse's tables with dbt. For each pipeline it then checks the day's features
and outcomes with Great Expectations, and stores them in the lake.

**Several days** in one run: trigger the DAG with *First day* and *Day*. **Running a day again** is
safe: the same extract does not change the lake. **If a day is refused**, the lake keeps the rows it
had. The log of the failed task names the expectation, the observed value, and some of the bad rows.
**If a model or a test fails**, the pipelines that need it stop, and their failed tasks name it; the
others are loaded. Correct it and clear what failed. **A pipeline whose schedule does not have the
day** is skipped. *Pipelines* in the form chooses some of them.
"""

from airflow.sdk import DAG  # noqa: F401  Airflow looks for DAGs only in files that name DAG

from tailrace.orchestration.dags import warehouse_dag

dag = warehouse_dag(__doc__, "15 0 * * *")
