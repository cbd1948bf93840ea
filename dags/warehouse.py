"""### Warehouse

This DAG runs every night at 00:15, New York time. It lands the source's extract of the day, and
builds and tests the warehouse's tables with dbt. For each pipeline it then checks the day's features
and outcomes with Great Expectations, and stores them in the lake.

**Several days** in one run: trigger the DAG with *First day* and *Day*. **Running a day again** is
safe: the same extract does not change the lake. **If a day is refused**, the lake keeps the rows it
had. The log of the failed task names the expectation, the observed value, and some of the bad rows.
"""

import datetime as dt

from airflow.sdk import DAG  # noqa: F401  Airflow looks for DAGs only in files that name DAG

from tailrace.orchestration.dags import warehouse_dag
from tailrace.spec import Schedule

dag = warehouse_dag(
    __doc__,
    Schedule(
        train=None,
        predict="15 0 * * *",
        timezone="America/New_York",
        start=dt.date(2013, 1, 1),
        end=dt.date(2013, 12, 31),
    ),
)
