"""A backfill from its start to its end: how far it is, and what became of each day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from tailrace.commands import output
from tailrace.commands.airflow.api import FINAL, AirflowApi, Backfill, DayRun
from tailrace.lineage import xcom_keys
from tailrace.lineage.dag_ids import kind_of

RESULT_TASKS = {"predict": ("publish", "score"), "train": ("train",), "warehouse": ()}
"""By the DAG's kind: the tasks whose results say what became of a day, the last task first."""


def run(
    api: AirflowApi, dag: str, first: dt.date, last: dt.date, *, conf: Mapping[str, Any], at_once: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """Backfill the days and show the progress; a row per day, and a sentence for each that failed or was left out.

    Raises BadInput, Unavailable, Refused; after KeyboardInterrupt the backfill goes on in Airflow.
    """
    unfinished = api.unfinished_runs(dag, first, last)
    started = api.start_backfill(dag, first, last, conf=conf, at_once=at_once)
    runs = _watch(api, started)
    left_out = {day: run for day, run in unfinished.items() if day not in {each.day for each in runs}}
    rows = [_row(api, dag, each) for each in runs] + [_left_out(day) for day in left_out]
    problems = [f"{each.day}: {_why_failed(api, dag, each)}" for each in runs if each.state == "failed"]
    problems += [
        f"{day}: left out, because {run} had not ended when the backfill began. See how that run ended; backfill "
        "the day again if it should run once more."
        for day, run in left_out.items()
    ]
    return sorted(rows, key=lambda row: str(row["day"])), problems


def _watch(api: AirflowApi, backfill: Backfill) -> list[DayRun]:
    total = len(api.runs(backfill))
    shown: set[str] = set()
    with output.steps(f"backfill {backfill.id}", total) as advance:

        def show(runs: Sequence[DayRun]) -> None:
            done = sum(run.state == "success" for run in runs)
            failed = sum(run.state == "failed" for run in runs)
            for run in runs:
                if run.state in FINAL and run.id not in shown:
                    shown.add(run.id)
                    advance(f"{run.day} {run.state}; {done} done, {failed} failed, {len(runs) - done - failed} left")

        return api.follow(backfill, show)


def _row(api: AirflowApi, dag: str, run: DayRun) -> dict[str, Any]:
    results = [api.xcom(dag, run.id, task, xcom_keys.RESULT) for task in RESULT_TASKS[kind_of(dag)]]
    result: Mapping[str, Any] = next((each for each in results if isinstance(each, dict) and "skipped" not in each), {})
    return {
        "day": run.day,
        "state": "skipped" if result.get("already") else run.state,
        "model": result.get("model_version") or result.get("version"),
        "rows": result.get("rows"),
        "unchanged": bool(result.get("already") or result.get("unchanged")),
        "seconds": round(run.seconds or 0.0),
    }


def _left_out(day: str) -> dict[str, Any]:
    return {"day": day, "state": "left out", "model": None, "rows": None, "unchanged": False, "seconds": 0}


def _why_failed(api: AirflowApi, dag: str, run: DayRun) -> str:
    """The sentence of the task that failed; a run that was cancelled while it waited has none."""
    failed = [task["task_id"] for task in api.tasks(dag, run.id) if task["state"] == "failed"]
    sentences = [api.xcom(dag, run.id, task, xcom_keys.ERROR) for task in failed]
    return next(
        (str(each) for each in sentences if each),
        "the run failed before a task could give a reason; see it in Airflow.",
    )
