"""What a dbt build takes inside Airflow, against `dbt build` of the same models by itself.

A project as `tailrace init` writes it, whose two marts are made from 50 or 500 generated tables, on DuckDB.

- `dbt build`: the command in a process of its own, imports counted, for what the pipeline needs.
- `in Airflow`: the task `build` of the DAG `warehouse` in a running Airflow, from the moment at which the scheduler
  queued it to its end: the start of its process is counted.

Both build once before they are timed, so that both have what dbt keeps of a parsed project.

Aim: at most 1.1 times the seconds of `dbt build`. In https://github.com/astronomer/astronomer-cosmos/issues/840 it
was 7 times, with a task for each model.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import child

MODELS = (50, 500)
AIM = 1.1
DAG, TASK = "warehouse", "build"
MARTS = ("example_features", "example_outcomes")
_TABLE = """{{{{ config(materialized='table') }}}}
select range as id, range * {number} as amount from range(1000)
"""


def run(models: list[int], rounds: int) -> list[str]:
    """Print the table; the aims that were missed."""
    table = Table("models", "dbt build s", "in Airflow s", "times", title="A dbt build", title_justify="left")
    missed = []
    for number in models:
        with tempfile.TemporaryDirectory(prefix="tailrace-dbt-") as scratch:
            alone, inside = (_median(way, Path(scratch), number, rounds) for way in ("plain", "airflow"))
        times = inside / alone
        table.add_row(f"{number}", f"{alone:.2f}", f"{inside:.2f}", f"{times:.2f}")
        if times > AIM:
            missed.append(f"a build of {number} models takes {times:.2f} times `dbt build` in Airflow; at most {AIM}")
    Console().print(table)
    return missed


def _median(way: str, scratch: Path, models: int, rounds: int) -> float:
    """Seconds of one way, on a project of its own."""
    project = scratch / way
    _generate(project, models)
    settings = {"TAILRACE_PROJECT": str(project), "PYTHONPATH": str(project)}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        found = child.call("benchmarks.dbt_in_airflow", way, project, rounds)
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({name: value} if value is not None else {})
    return statistics.median(found["seconds"])


def _generate(project: Path, models: int) -> None:
    """A new project with its example, above so many tables."""
    from tailrace.operations import new_project

    new_project.write(new_project.NewProject(name="bench_dbt", folder=project))
    (project / "dbt" / "models" / "generated").mkdir()
    names = [f"made_{number:03d}" for number in range(models - len(MARTS))]
    for number, name in enumerate(names):
        (project / "dbt" / "models" / "generated" / f"{name}.sql").write_text(_TABLE.format(number=number))
    for mart in MARTS:
        file = next(project.rglob(f"{mart}.sql"))
        needed = "".join(f"-- depends_on: {{{{ ref('{name}') }}}}\n" for name in names)
        file.write_text(needed + file.read_text())


def measure(way: str, project: str, rounds: str) -> dict[str, Any]:
    """The seconds of each round of one way, after one that is not timed."""
    return {"seconds": (_plain if way == "plain" else _in_airflow)(Path(project), int(rounds))[1:]}


def _plain(project: Path, rounds: int) -> list[float]:
    select = [f"+{mart}" for mart in MARTS]
    command = [
        str(Path(sys.executable).parent / "dbt"),
        "--no-send-anonymous-usage-stats",
        "build",
        "--select",
        *select,
    ]
    command += ["--exclude-resource-type", "unit_test", "--profiles-dir", "."]
    (project / ".tailrace" / "dev").mkdir(parents=True)  # the profile has its file there
    found = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        done = subprocess.run(command, cwd=project / "dbt", capture_output=True, text=True)
        found.append(time.perf_counter() - started)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
    return found


def _in_airflow(project: Path, rounds: int) -> list[float]:
    from zoneinfo import ZoneInfo

    from scripts import stack
    from tailrace import settings
    from tailrace.operations.new_project import FIRST

    running = stack.Stack(settings.load(), parallelism=2)
    found = []
    with running.started():
        api = running.api(ZoneInfo("UTC"))
        for number in range(rounds + 1):
            run_id = api.run_day(DAG, FIRST + dt.timedelta(days=2 + number), {})
            (task,) = (task for task in api.tasks(DAG, run_id) if task["task_id"] == TASK)
            queued, ended = (dt.datetime.fromisoformat(task[when]) for when in ("queued_when", "end_date"))
            found.append((ended - queued).total_seconds())
            print(json.dumps({"run": run_id, "seconds": found[-1]}), file=sys.stderr)
    return found
