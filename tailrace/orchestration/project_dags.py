"""All DAGs of a project from one file: what `tailrace.airflow.dags()` returns."""

from __future__ import annotations

import datetime as dt
import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any

from airflow.sdk import DAG, get_parsing_context, task

from tailrace import settings
from tailrace.errors import BadInput, TailraceError
from tailrace.lineage import dag_ids
from tailrace.orchestration import dags as factory
from tailrace.orchestration.upkeep import upkeep_dag
from tailrace.spec import Schedule, registry

log = logging.getLogger("tailrace")

NIGHTLY = "15 0 * * *"
"""When the warehouse's night starts, unless the DAG file says another time."""
WHEN_BROKEN = Schedule(train=None, predict="30 0 * * *", timezone="UTC")
"""What cannot be read says no time of its own."""
WAREHOUSE_DOC = """### Warehouse

Runs every night. For each pipeline, it makes the tables of the day ready in the warehouse, checks the day's features
and outcomes with Great Expectations, and stores them in the lake. **Running a day again** is safe: the same rows do not
change the lake. **If a day is refused**, the lake keeps the rows it had, and the log of the failed task says why.
"""
BROKEN_DOC = """### {name} is broken

The DAGs of `{name}` cannot be made, so it does not run. Other pipelines are not affected. Once the cause is corrected,
they are back, with their history, and this DAG disappears.

```
{said}
```
"""


def dags(warehouse: str | Schedule = NIGHTLY) -> dict[str, DAG]:
    """Every DAG of the project by its id: those of the warehouse and of upkeep, and five for each pipeline.

    `warehouse` is the cron expression, or a schedule of its own, at which the warehouse's night starts. A pipeline with
    a wrong spec has one DAG instead, `broken__<name>`, which fails every night with the spec's problems; an error of
    the file would keep Airflow from running any of its DAGs. Where Airflow reads the file to run one task, only that
    pipeline's DAGs are made. Raises SettingsError.
    """
    settings.load()
    wanted = get_parsing_context().dag_id
    found: list[DAG] = []
    if wanted in (None, dag_ids.WAREHOUSE, dag_ids.broken(dag_ids.WAREHOUSE)):
        found += _sound(dag_ids.WAREHOUSE, lambda: [factory.warehouse_dag(WAREHOUSE_DOC, warehouse)])
    if wanted in (None, settings.load().upkeep.dag):
        found += _sound(dag_ids.UPKEEP, lambda: [upkeep_dag()])
    for name in registry.names():
        if wanted is None or dag_ids.pipeline_of(wanted) == name:
            found += _sound(name, functools.partial(factory.pipeline_dags, name))
    return {dag.dag_id: dag for dag in found}


def _sound(name: str, make: Callable[[], Iterable[DAG]]) -> list[DAG]:
    """What `make` makes; if it fails, the one DAG that says why."""
    try:
        return list(make())
    except TailraceError as error:
        said = str(error)
    except Exception as error:  # noqa: BLE001 - whatever a spec's values do to Airflow is this pipeline's problem alone
        said = f"Pipeline {name!r} cannot be used: its DAGs cannot be made: {type(error).__name__}: {error}"
    log.error("%s", said)
    return [_broken(name, said)]


def _broken(name: str, said: str) -> DAG:
    """A DAG that fails each night with these sentences. It is not paused at its creation: nobody would hear them."""
    with DAG(
        dag_ids.broken(name),
        schedule=factory.daily(WHEN_BROKEN.predict, WHEN_BROKEN),
        doc_md=BROKEN_DOC.format(name=name, said=said),
        tags=["tailrace", name, "broken"],
        max_active_runs=1,
        is_paused_upon_creation=False,
        **factory.common("tailrace", WHEN_BROKEN),
    ) as dag:

        @task(execution_timeout=dt.timedelta(minutes=5))
        def refuse() -> Any:
            raise BadInput(said)

        refuse()
    return dag
