"""The demo: trains, predicts and publishes on ten weeks of flights, through Airflow's own DAG runs."""

from __future__ import annotations

import datetime as dt
import signal
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

from scripts import stack
from tailrace import settings
from tailrace.commands.airflow.api import AirflowApi
from tailrace.contracts import Commit
from tailrace.lineage import dag_ids, run_tags
from tailrace.monitoring import performance
from tailrace.spec import PipelineSpec, registry, zone
from tailrace.wiring import Wiring

PIPELINE = "flight_delay"
LANDED = (dt.date(2013, 1, 1), dt.date(2013, 3, 12))
FIRST_TRAINING, SECOND_TRAINING = dt.date(2013, 3, 1), dt.date(2013, 3, 8)
PREDICTED = [FIRST_TRAINING + dt.timedelta(days=offset) for offset in range(7)]
RERUN = PREDICTED[4]
TRIALS = 8

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


def main() -> None:
    """Run the demo and print what it did. Raises DagRunFailed with the failed tasks' sentences."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    steps, started = Steps(), time.monotonic()
    running = stack.Stack(settings.load(), parallelism=3)
    memory = PeakMemory(running)
    try:
        steps.do("start Airflow and MLflow", running.start)
        memory.start()
        api = running.api(zone(registry.get(PIPELINE)))
        first, last = LANDED
        steps.do(
            f"warehouse: land, build, validate and snapshot {first} to {last}",
            lambda: api.run_day("warehouse", last, {"first_day": str(first)}),
        )
        steps.do(f"train as of {FIRST_TRAINING}", lambda: _train(api, FIRST_TRAINING))
        seconds = steps.do(
            f"backfill predictions {PREDICTED[0]} to {PREDICTED[-1]}",
            lambda: api.backfill(
                dag_ids.predict(PIPELINE), PREDICTED[0], PREDICTED[-1], conf={"model": "as-of"}, at_once=3
            ),
        )
        steps.do(
            f"train again as of {SECOND_TRAINING}: challenger meets champion", lambda: _train(api, SECOND_TRAINING)
        )
        before = _commit(RERUN)
        steps.do(f"predict {RERUN} again", lambda: api.run_day(dag_ids.predict(PIPELINE), RERUN, {}))
    finally:
        running.stop()
        memory.stop()
    _report(seconds, before)
    console.print(
        f"{time.monotonic() - started:.0f} s in all; the peak memory of all processes was {memory.mib:,.0f} MiB.\n"
    )
    _where_next()


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


def _train(api: AirflowApi, day: dt.date) -> None:
    api.run_day(dag_ids.train(PIPELINE), day, {"trials": TRIALS})


def _commit(day: dt.date) -> Commit:
    spec = registry.get(PIPELINE)
    return Wiring(settings.load()).lake.days(spec.predictions_table)[day]


def _report(seconds: dict[str, float], before: Commit) -> None:
    services, spec = Wiring(settings.load()), registry.get(PIPELINE)
    days = Table("day", "rows", "model", "AUC", "seconds", box=box.SIMPLE, title=f"\n{spec.predictions_table}")
    for day in PREDICTED:
        report = performance.day_report(services.lake, spec, day)
        auc = report.metrics.get("roc_auc", float("nan"))
        version = report.commit.metadata["model_version"]
        days.add_row(str(day), f"{report.commit.rows:,}", f"v{version}", f"{auc:.3f}", f"{seconds[str(day)]:.1f}")
    console.print(days)
    console.print(_models(services, spec))
    same = _commit(RERUN).version == before.version
    result = "the same bytes, so no second commit was made." if same else "THE SECOND RUN CHANGED IT."
    console.print(f"{RERUN} was predicted twice: {result}")
    if not same:
        raise SystemExit(1)


def _models(services: Wiring, spec: PipelineSpec) -> Table:
    """Each version with its metric on its own holdout, and the gate's answer."""
    models = Table(
        "model", "trained as of", "AUC", "champion's AUC", "gate", box=box.SIMPLE, title=f"models/{spec.name}"
    )
    records = {record.training_run: record for record in services.tracker.runs(spec.name)}
    for version in reversed(services.tracker.versions(spec.name)):
        record = records[version.training_run]
        compared = record.metrics.get("champion.roc_auc")
        models.add_row(
            f"v{version.version}",
            record.tags[run_tags.DAY],
            f"{record.metrics['holdout.roc_auc']:.3f}",
            f"{compared:.3f}" if compared is not None else "-",
            record.tags.get(run_tags.GATE, "-"),
        )
    return models


def _where_next() -> None:
    configured = settings.load()
    console.print("Where to look next:")
    console.print("  make up      run Airflow and MLflow on this data")
    console.print(f"  .venv/bin/tailrace predictions {PIPELINE} --date {RERUN}", soft_wrap=True)
    console.print(f"  .venv/bin/tailrace history {PIPELINE}", soft_wrap=True)
    console.print(f"  {configured.data_docs / 'index.html'}", soft_wrap=True)


if __name__ == "__main__":
    main()
