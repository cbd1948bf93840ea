"""What a project's DAG files import. The rest of the library works without Airflow.

    import tailrace.airflow

    globals().update(tailrace.airflow.dags())

makes every DAG of the project, in one file. Files with one pipeline each use `pipeline_dags`, `warehouse_dag`
and `upkeep_dag`.
"""

from tailrace import extras

extras.require("A DAG file (tailrace.airflow)", "airflow", "airflow.providers.standard")

from tailrace.orchestration.dags import pipeline_dags, warehouse_dag  # noqa: E402
from tailrace.orchestration.project_dags import dags  # noqa: E402
from tailrace.orchestration.upkeep import upkeep_dag  # noqa: E402

__all__ = ["dags", "pipeline_dags", "upkeep_dag", "warehouse_dag"]
