"""`tailrace backfill`: a range of days through a running Airflow, watched until its end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from tailrace.commands import output
from tailrace.commands.airflow_api import ERROR, FINAL, RESULT, AirflowApi, Backfill, DayRun
from tailrace.operations.limits import kind_of

TELLING = {"predict": ("publish", "score"), "train": ("train",), "warehouse": ()}
"""By the DAG's kind, the tasks whose results tell what became of a day, the last first."""


def run(
    api: AirflowApi, dag: str, first: dt.date, last: dt.date, conf: Mapping[str, Any], at_once: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """Backfill the days and show how far it is; a row per day, a sentence for each that failed or was left out.

    Raises BadInput, Unavailable, Refused; KeyboardInterrupt leaves the backfill to Airflow.
    """
    busy = api.under_way(dag, first, last)
    started = api.start_backfill(dag, first, last, conf, at_once)
    runs = _watch(api, started)
    left_out = {day: run for day, run in busy.items() if day not in {each.day for each in runs}}
    rows = [_row(api, dag, each) for each in runs] + [_left_out(day) for day in left_out]
    why = [f"{each.day}: {_sentence(api, dag, each)}" for each in runs if each.state == "failed"]
    why += [
        f"{day}: left out, since {run} was under way when the backfill began. Look how that ended; backfill the day "
        "again if it should run once more."
        for day, run in left_out.items()
    ]
    return sorted(rows, key=lambda row: str(row["day"])), why


def _watch(api: AirflowApi, backfill: Backfill) -> list[DayRun]:
    total = len(api.runs(backfill))
    told: set[str] = set()
    with output.steps(f"backfill {backfill.id}", total) as advance:

        def show(runs: Sequence[DayRun]) -> None:
            done = sum(run.state == "success" for run in runs)
            failed = sum(run.state == "failed" for run in runs)
            for run in runs:
                if run.state in FINAL and run.id not in told:
                    told.add(run.id)
                    advance(f"{run.day} {run.state}; {done} done, {failed} failed, {len(runs) - done - failed} left")

        return api.follow(backfill, show)


def _row(api: AirflowApi, dag: str, run: DayRun) -> dict[str, Any]:
    left = [api.left(dag, run.id, task, RESULT) for task in TELLING[kind_of(dag)]]
    said: Mapping[str, Any] = next((each for each in left if isinstance(each, dict) and "skipped" not in each), {})
    return {
        "day": run.day,
        "state": "skipped" if said.get("already") else run.state,
        "model": said.get("model_version") or said.get("version"),
        "rows": said.get("rows"),
        "unchanged": bool(said.get("already") or said.get("unchanged")),
        "seconds": round(run.seconds or 0.0),
    }


def _left_out(day: str) -> dict[str, Any]:
    return {"day": day, "state": "left out", "model": None, "rows": None, "unchanged": False, "seconds": 0}


def _sentence(api: AirflowApi, dag: str, run: DayRun) -> str:
    """The sentence of the task that failed; a run that was cancelled while it waited has none."""
    failed = [task["task_id"] for task in api.tasks(dag, run.id) if task["state"] == "failed"]
    said = [api.left(dag, run.id, task, ERROR) for task in failed]
    return next((str(each) for each in said if each), "its run failed before a task could say why; see it in Airflow.")
