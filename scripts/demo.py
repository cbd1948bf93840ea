"""The demo: trains, predicts and publishes on weeks of a pipeline's days, through Airflow's own DAG runs.

python -m scripts.demo [PIPELINE]
"""

from __future__ import annotations

import datetime as dt
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

from scripts import stack
from tailrace import settings
from tailrace.commands.airflow.api import AirflowApi
from tailrace.contracts import Commit
from tailrace.days import span
from tailrace.errors import UnknownName
from tailrace.lineage import dag_ids, run_tags
from tailrace.monitoring import performance
from tailrace.spec import PipelineSpec, registry, zone
from tailrace.wiring import Wiring

PIPELINE = "flight_delay"
"""The pipeline whose demo runs if none is named."""
TRIALS = 8
METRICS = {"roc_auc": "AUC", "mae": "MAE", "macro_f1": "macro F1"}
"""Headings of columns; other metrics have their name."""


@dataclass(frozen=True, kw_only=True)
class Days:
    """The days of a demo: what is landed, and when it trains. It predicts from the first training to the second."""

    landed: tuple[dt.date, dt.date]
    trained: tuple[dt.date, dt.date]

    @property
    def predicted(self) -> list[dt.date]:
        first, second = self.trained
        return list(span(first, second - dt.timedelta(days=1)))

    @property
    def rerun(self) -> dt.date:
        """The day that is predicted a second time."""
        return self.predicted[4]


DEMOS = {
    "flight_delay": Days(
        landed=(dt.date(2013, 1, 1), dt.date(2013, 3, 12)), trained=(dt.date(2013, 3, 1), dt.date(2013, 3, 8))
    ),
    # Not from the first day of the texts: features would look back to flights, which need not be landed.
    "journal_mood": Days(
        landed=(dt.date(2014, 2, 1), dt.date(2014, 4, 12)), trained=(dt.date(2014, 4, 1), dt.date(2014, 4, 8))
    ),
    "pizza_demand": Days(
        landed=(dt.date(2015, 1, 1), dt.date(2015, 3, 27)), trained=(dt.date(2015, 3, 16), dt.date(2015, 3, 23))
    ),
}

T = TypeVar("T")

console = Console()


class Steps:
    """Does one thing after another, and prints how many seconds each took."""

    def do(self, what: str, action: Callable[[], T]) -> T:
        started = time.monotonic()
        with console.status(f"{what} ..."):
            done = action()
        console.print(f"{time.monotonic() - started:6.1f} s  {what}")
        return done


def main(pipeline: str = PIPELINE) -> None:
    """Run the demo and print what it did. Raises UnknownName, DagRunFailed with the failed tasks' sentences."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    spec = registry.get(pipeline)
    if pipeline not in DEMOS:
        raise UnknownName("demo", pipeline, DEMOS, "scripts/demo.py says on which days the demo of a pipeline works.")
    demo = DEMOS[pipeline]
    first_training, second_training = demo.trained
    steps, started = Steps(), time.monotonic()
    running = stack.Stack(settings.load(), parallelism=3)
    memory = PeakMemory(running)
    try:
        steps.do("start Airflow and MLflow", running.start)
        memory.start()
        api = running.api(zone(spec))
        first, last = demo.landed
        steps.do(
            f"warehouse: land, build, validate and snapshot {first} to {last}",
            lambda: api.run_day("warehouse", last, {"first_day": str(first)}),
        )
        steps.do(f"train as of {first_training}", lambda: _train(api, spec, first_training))
        first, *_, last = demo.predicted
        seconds = steps.do(
            f"backfill predictions {first} to {last}",
            lambda: api.backfill(dag_ids.predict(spec.name), first, last, conf={"model": "as-of"}, at_once=3),
        )
        steps.do(
            f"train again as of {second_training}: challenger meets champion",
            lambda: _train(api, spec, second_training),
        )
        before = _commit(spec, demo.rerun)
        steps.do(f"predict {demo.rerun} again", lambda: api.run_day(dag_ids.predict(spec.name), demo.rerun, {}))
    finally:
        running.stop()
        memory.stop()
    _report(spec, demo, seconds, before)
    console.print(
        f"{time.monotonic() - started:.0f} s in all; the peak memory of all processes was {memory.mib:,.0f} MiB.\n"
    )
    _where_next(spec, demo)


class PeakMemory(threading.Thread):
    """Measures the memory of all processes of the stack together, every two seconds."""

    def __init__(self, running: stack.Stack) -> None:
        super().__init__(daemon=True)
        self.mib, self._running, self._done = 0.0, running, threading.Event()

    def run(self) -> None:
        while not self._done.wait(2):
            self.mib = max(self.mib, self._running.processes.memory_mib())

    def stop(self) -> None:
        self._done.set()
        if self.is_alive():
            self.join()


def _train(api: AirflowApi, spec: PipelineSpec, day: dt.date) -> None:
    api.run_day(dag_ids.train(spec.name), day, {"trials": TRIALS})


def _commit(spec: PipelineSpec, day: dt.date) -> Commit:
    return Wiring(settings.load()).lake.days(spec.predictions_table)[day]


def _report(spec: PipelineSpec, demo: Days, seconds: dict[str, float], before: Commit) -> None:
    services, metric = Wiring(settings.load()), spec.gate.metric
    heading = METRICS.get(metric, metric)
    days = Table("day", "rows", "model", heading, "seconds", box=box.SIMPLE, title=f"\n{spec.predictions_table}")
    for day in demo.predicted:
        report = performance.day_report(services.lake, spec, day)
        value = report.metrics.get(metric, float("nan"))
        version = report.commit.metadata["model_version"]
        days.add_row(str(day), f"{report.commit.rows:,}", f"v{version}", f"{value:.3f}", f"{seconds[str(day)]:.1f}")
    console.print(days)
    console.print(_models(services, spec))
    same = _commit(spec, demo.rerun).version == before.version
    result = "the same bytes, so no second commit was made." if same else "THE SECOND RUN CHANGED IT."
    console.print(f"{demo.rerun} was predicted twice: {result}")
    if not same:
        raise SystemExit(1)


def _models(services: Wiring, spec: PipelineSpec) -> Table:
    """Each version with its metric on its own holdout, and the gate's answer."""
    metric = spec.gate.metric
    heading = METRICS.get(metric, metric)
    models = Table(
        *("model", "trained as of", heading, f"champion's {heading}", "gate"),
        box=box.SIMPLE,
        title=f"models/{spec.name}",
    )
    records = {record.training_run: record for record in services.tracker.runs(spec.name)}
    for version in reversed(services.tracker.versions(spec.name)):
        record = records[version.training_run]
        compared = record.metrics.get(f"champion.{metric}")
        models.add_row(
            f"v{version.version}",
            record.tags[run_tags.DAY],
            f"{record.metrics[f'holdout.{metric}']:.3f}",
            f"{compared:.3f}" if compared is not None else "-",
            record.tags.get(run_tags.GATE, "-"),
        )
    return models


def _where_next(spec: PipelineSpec, demo: Days) -> None:
    configured = settings.load()
    console.print("Where to look next:")
    console.print("  make up      run Airflow and MLflow on this data")
    console.print(f"  .venv/bin/tailrace predictions {spec.name} --date {demo.rerun}", soft_wrap=True)
    console.print(f"  .venv/bin/tailrace history {spec.name}", soft_wrap=True)
    console.print(f"  {configured.data_docs / 'index.html'}", soft_wrap=True)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except UnknownName as error:
        sys.exit(str(error))
