"""### Warehouse

Every night at a quarter past midnight, New York time: lands the source's extract of the day, builds
and tests the warehouse's tables with dbt, and for each pipeline judges the day's features and
outcomes with Great Expectations before the lake takes them.

**A range of days** in one run: trigger it with *First day* and *Day*. **Rerunning** a day is safe:
the same extract leaves the lake as it is. **A refused day** stays as it was; the failed task's log
names the expectation, what was seen, and some of the bad rows.
"""

import datetime as dt

from airflow.sdk import DAG  # noqa: F401  Airflow takes files that name it for DAG files

from tailrace.orchestration.dags import warehouse_dag
from tailrace.spec import Schedule

dag = warehouse_dag(
    __doc__,
    Schedule(None, "15 0 * * *", "America/New_York", start=dt.date(2013, 1, 1), end=dt.date(2013, 12, 31)),
)
