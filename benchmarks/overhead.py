"""What Airflow adds to a night's prediction run, in a running Airflow on the embedded default.

Each task of `predict__flight_delay` is shown with its seconds in Airflow, and with those of the same
stage by itself, in a process of its own, its imports counted. The peer is a DAG of as many empty
tasks in the same Airflow: what Airflow costs whoever writes the tasks.

Aims: a day's run under 40 seconds; a task at most 2 seconds more than its stage by itself and an
empty task together.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import child

FIRST, LAST = dt.date(2013, 1, 1), dt.date(2013, 2, 14)
TRAINED = dt.date(2013, 2, 12)
DAYS = [dt.date(2013, 2, 1) + dt.timedelta(days=offset) for offset in range(5)]
"""Before the storm of 8 February, which the audit refuses to call the same kind of day; so the model is `current`."""
DAG, PEER = "predict__flight_delay", "peer"
STAGES = ("score", "audit", "publish")
TRIALS = 3
AIM_RUN, AIM_TASK = 40.0, 2.0

PEER_DAG = f'''
import datetime as dt

from airflow.sdk import DAG, CronPartitionTimetable, task

never = dt.datetime(2013, 1, 1, tzinfo=dt.UTC)
nightly = CronPartitionTimetable("0 0 * * *", timezone="UTC", run_offset=0, key_format="%Y-%m-%d")
with DAG("{PEER}", schedule=nightly, start_date=never, end_date=never, catchup=False):

    @task
    def nothing() -> None:
        pass

    nothing.override(task_id="first")() >> nothing.override(task_id="second")() >> nothing.override(task_id="third")()
'''


@dataclass(frozen=True)
class Run:
    """Seconds of one DAG run, and of each of its tasks."""

    seconds: float
    tasks: dict[str, float]


def run() -> list[str]:
    """Print the table; the aims that were missed."""
    with tempfile.TemporaryDirectory(prefix="tailrace-overhead-") as scratch:
        os.environ["TAILRACE_HOME"] = scratch
        child.call("benchmarks.overhead", "prepare")
        alone = [child.call("benchmarks.overhead", str(day)) for day in DAYS]
        predicted, empty = _in_airflow(Path(scratch))
    return _report(alone, predicted, empty)


def _report(alone: list[dict[str, Any]], predicted: list[Run], empty: list[Run]) -> list[str]:
    def median(runs: list[Run], task: str) -> float:
        return statistics.median(one.tasks[task] for one in runs)

    nothing = statistics.median(seconds for one in empty for seconds in one.tasks.values())
    whole, airflow = (statistics.median(one.seconds for one in runs) for runs in (predicted, empty))
    table = Table("task", "in Airflow s", "by itself s", "an empty task s", title="A day's run", title_justify="left")
    missed = []
    for stage in STAGES:
        inside, by_itself = median(predicted, stage), statistics.median(one[stage] for one in alone)
        table.add_row(stage, f"{inside:.2f}", f"{by_itself:.2f}", f"{nothing:.2f}")
        if (more := inside - by_itself - nothing) > AIM_TASK:
            missed.append(f"{stage} takes {more:.1f} s more in Airflow than by itself and an empty task together")
    own = sum(statistics.median(one[stage] for one in alone) for stage in STAGES)
    table.add_row("the run", f"{whole:.2f}", f"{own:.2f}", f"{airflow:.2f}")
    Console().print(table)
    if whole > AIM_RUN:
        missed.append(f"a day's run takes {whole:.0f} s; the aim is {AIM_RUN:g} s")
    return missed


def measure(what: str) -> dict[str, float]:
    """`prepare` lands, builds and trains; a day gives the seconds of its stages, imports counted."""
    from tailrace import settings
    from tailrace.champions import model_versions
    from tailrace.rows import scheduled_days
    from tailrace.spec import registry
    from tailrace.stages import audit, build, evaluate, ingest, promote, publish, score, snapshot, train
    from tailrace.wiring import Wiring
    from tailrace.work import Work

    services, spec = Wiring(settings.load()), registry.get("flight_delay")
    work = Work(services=services, spec=spec, run_id="by-itself")
    if what == "prepare":
        ingest.run(services, FIRST, LAST)
        build.run(services, FIRST, LAST, absent=scheduled_days.absent(FIRST, LAST))
        for offset in range((LAST - FIRST).days + 1):
            snapshot.run(work, FIRST + dt.timedelta(days=offset))
        trained = train.run(work, TRAINED, seed=1, trials=TRIALS)
        evaluate.run(work, trained.training_run)
        promote.run(work, trained.training_run, recorded_at=dt.datetime.now(dt.UTC))
        return {}
    day, found = dt.date.fromisoformat(what), {}
    stages: Mapping[str, Callable[[], Any]] = {
        "score": lambda: score.run(work, day, model=model_versions.CURRENT),
        "audit": lambda: audit.run(work, day),
        "publish": lambda: publish.run(work, day),
    }
    for name, stage in stages.items():
        started = time.perf_counter()
        stage()
        found[name] = time.perf_counter() - started
    return found


def _in_airflow(home: Path) -> tuple[list[Run], list[Run]]:
    """Runs of the days by the DAG, and as many of the peer."""
    from scripts import stack
    from tailrace import settings
    from tailrace.champions import model_versions
    from tailrace.spec import registry, zone

    folder = home / "dags"
    shutil.copytree(settings.find_project().dags, folder)
    (folder / "peer.py").write_text(PEER_DAG)
    running = stack.Stack(settings.load(), parallelism=2)
    running.environment["AIRFLOW__CORE__DAGS_FOLDER"] = str(folder)
    with running.started():
        api = running.api(zone(registry.get("flight_delay")))
        conf = {"model": model_versions.CURRENT, "force": True}
        _run(api, DAG, DAYS[0], conf)
        predicted = [_run(api, DAG, day, conf) for day in DAYS]
        return predicted, [_run(api, PEER, day, {}) for day in DAYS]


def _run(api: Any, dag: str, day: dt.date, conf: dict[str, Any]) -> Run:
    run_id = api.run_day(dag, day, conf)
    tasks = api.tasks(dag, run_id)
    seconds = api.get(f"/dags/{dag}/dagRuns/{run_id}")["duration"]
    return Run(seconds, {task["task_id"]: task["duration"] for task in tasks})
