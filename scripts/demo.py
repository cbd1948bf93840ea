"""Ten weeks of flights through the whole loop, by Airflow's own DAG runs."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines import performance, promotions, registry, settings
from pipelines.interfaces import Commit
from pipelines.wiring import Wiring
from scripts import stack
from scripts.airflow_api import AirflowApi

PIPELINE = "flight_delay"
LANDED = (dt.date(2013, 1, 1), dt.date(2013, 3, 12))
FIRST_TRAINING, SECOND_TRAINING = dt.date(2013, 3, 1), dt.date(2013, 3, 8)
PREDICTED = [FIRST_TRAINING + dt.timedelta(days=offset) for offset in range(7)]
RERUN = PREDICTED[4]
TRIALS = 12

console = Console()


class Steps:
    """What was done, with the seconds it took, printed as it happens."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def do(self, what: str, action: Callable[[], Any]) -> None:
        started = time.monotonic()
        with console.status(f"{what} ..."):
            action()
        self.seconds[what] = time.monotonic() - started
        console.print(f"{self.seconds[what]:6.1f} s  {what}")


def main() -> None:
    """Run the demo and print what it did. Raises DagRunFailed with the failed tasks' sentences."""
    steps, started = Steps(), time.monotonic()
    running = stack.Stack(settings.load(), parallelism=2)
    try:
        steps.do("start Airflow and MLflow", running.start)
        api = AirflowApi(running.airflow_url, stack.USER, running.password)
        first, last = LANDED
        steps.do(
            f"warehouse: land, build, validate and snapshot {first} to {last}",
            lambda: api.run_day("warehouse", last, {"first_day": str(first)}),
        )
        steps.do(f"train as of {FIRST_TRAINING}", lambda: _train(api, FIRST_TRAINING))
        steps.do(
            f"backfill predictions {PREDICTED[0]} to {PREDICTED[-1]}",
            lambda: api.backfill(f"predict__{PIPELINE}", PREDICTED[0], PREDICTED[-1], {"model": "as-of"}, at_once=2),
        )
        steps.do(
            f"train again as of {SECOND_TRAINING}: challenger meets champion", lambda: _train(api, SECOND_TRAINING)
        )
        before = _commit(RERUN)
        steps.do(f"predict {RERUN} again", lambda: api.run_day(f"predict__{PIPELINE}", RERUN, {}))
        memory = running.peak_memory_mib()
    finally:
        running.stop()
    _report(before, time.monotonic() - started, memory)


def _train(api: AirflowApi, day: dt.date) -> None:
    api.run_day(f"train__{PIPELINE}", day, {"trials": TRIALS})


def _commit(day: dt.date) -> Commit:
    spec = registry.get(PIPELINE)
    return Wiring(settings.load()).lake.days(spec.predictions_table)[day]


def _report(before: Commit, seconds: float, memory: float) -> None:
    services, spec = Wiring(settings.load()), registry.get(PIPELINE)
    table = Table(
        "day", "rows", "model", "AUC", "late", title=f"\nPublished: {spec.predictions_table}", title_justify="left"
    )
    for day in PREDICTED:
        report = performance.day_report(services.lake, spec, day)
        auc = report.metrics.get("roc_auc", float("nan"))
        table.add_row(
            str(day),
            f"{report.commit.rows:,}",
            f"v{report.commit.metadata['model_version']}",
            f"{auc:.3f}",
            f"{report.known_outcomes:,} known",
        )
    console.print(table)
    champions = Table("model", "champion from", "decided by", title="Promotions", title_justify="left")
    for promotion in reversed(promotions.history(services.lake, PIPELINE)):
        champions.add_row(f"v{promotion.version}", str(promotion.effective_from), promotion.decided_by)
    console.print(champions)
    same = _commit(RERUN).version == before.version
    console.print(
        f"{RERUN} was predicted twice: "
        + ("same bytes, so no second commit was made." if same else "THE SECOND RUN CHANGED IT.")
    )
    console.print(f"\n{seconds:.0f} s in all; Airflow, MLflow and the last task held {memory:,.0f} MiB.\n")
    console.print("Where to look next:")
    console.print("  make up                                          Airflow and MLflow on this data")
    console.print(f"  .venv/bin/tailrace predictions {PIPELINE} --date {RERUN}")
    console.print(f"  .venv/bin/tailrace history {PIPELINE}")
    console.print(f"  {services.settings.data_docs}/index.html   what Great Expectations saw")
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
