"""What a DAG run was asked for, read in one place whatever started it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines import days
from pipelines.errors import BadInput, did_you_mean


@dataclass(frozen=True)
class Request:
    """The days first..last a run works on, and what its form chose; `day` is the last of them."""

    first: dt.date
    last: dt.date
    params: Mapping[str, Any]

    @property
    def day(self) -> dt.date:
        return self.last

    @property
    def span(self) -> list[dt.date]:
        return list(days.span(self.first, self.last))


def read(context: Mapping[str, Any]) -> Request:
    """The request of the running task's DAG run.

    The day is the run's partition key, set by schedule and backfill; or the form's `day`; or the
    day given to `airflow dags test`. Raises BadInput listing all that is wrong, unknown parameters
    included: Airflow lets them pass.
    """
    dag_run, params, known = context["dag_run"], dict(context["params"]), list(context["dag"].params)
    problems = [
        f"{name!r} is not a parameter of this DAG.{did_you_mean(name, known)}"
        for name in sorted(dag_run.conf or {})
        if name not in known
    ]
    partition, form = dag_run.partition_key, params.get("day")
    if partition and form and partition != form:
        problems.append(f"day is {form!r}, but the run is for the partition {partition!r}; leave day empty.")
    chosen = partition or form or _tested_day(dag_run.logical_date)
    if not chosen:
        problems.append("no day is given; fill in day (YYYY-MM-DD), or trigger the run with a partition key.")
    if problems:
        raise BadInput("This run cannot start: " + " ".join(problems))
    last = days.parse(str(chosen), "day")
    first = days.parse(params["first_day"], "first_day") if params.get("first_day") else last
    if first > last:
        raise BadInput(f"This run cannot start: first_day {first} is after day {last}.")
    return Request(first, last, params)


def run_id(context: Mapping[str, Any]) -> str:
    """What stages of one DAG run find each other's work by."""
    return f"{context['dag_run'].dag_id}/{context['dag_run'].run_id}"


def _tested_day(logical_date: dt.datetime | None) -> str | None:
    """`airflow dags test DAG DAY` gives the day as its midnight, UTC; a moment inside a day names none."""
    if logical_date is None or logical_date.astimezone(dt.UTC).time() != dt.time():
        return None
    return str(logical_date.astimezone(dt.UTC).date())
