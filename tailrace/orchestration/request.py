"""The request of a DAG run: its days and its form, read in one place whatever started the run."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace import days
from tailrace.errors import BadInput, did_you_mean
from tailrace.operations.people import plain_text
from tailrace.orchestration import forms

DAYS = ("day", "first_day")
"""The form's fields that name days; scheduled runs and backfills know theirs."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The days first..last a run works on, and what its form chose; `day` is the last of them.

    `params` is the form as it was filled in; its common fields have names of their own, None where they were left as
    they are. `triggered_by` is the user, where Airflow knows one.
    """

    first: dt.date
    last: dt.date
    params: Mapping[str, Any]
    model: str = forms.AS_OF
    trials: int | None = None
    engine: str | None = None
    reason: str = ""
    dry_run: bool = False
    force: bool = False
    pipelines: tuple[str, ...] = ()
    dag: str = ""
    run: str = ""
    triggered_by: str = ""
    backfill: bool = False

    @property
    def day(self) -> dt.date:
        return self.last

    @property
    def span(self) -> list[dt.date]:
        return list(days.span(self.first, self.last))

    def record(self) -> dict[str, str]:
        """What is recorded with everything the run makes: in MLflow's tags, and in the metadata of commits."""
        fields = {
            "airflow_dag": self.dag,
            "airflow_run": self.run,
            "triggered_by": self.triggered_by,
            "backfill": "true" if self.backfill else "",
            "first_day": str(self.first) if self.first != self.last else "",
            "last_day": str(self.last) if self.first != self.last else "",
            "model": self.model if "model" in self.params else "",
            "trials": str(self.trials or ""),
            "engine": self.engine or "",
            "force": "true" if self.force else "",
            "pipelines": ", ".join(self.pipelines),
            "dry_run": "true" if self.dry_run else "",
            "reason": self.reason,
        }
        return {name: value for name, value in fields.items() if value}


def read(context: Mapping[str, Any]) -> Request:
    """The request of the running task's DAG run.

    The day is the run's partition key, set by schedule, backfill and asset event; or the form's `day`; or the day
    given to `airflow dags test`. Raises BadInput listing all that is wrong, unknown parameters included: Airflow
    lets them pass.
    """
    dag_run, params = context["dag_run"], dict(context["params"])
    problems = list(_unlike_the_form(dag_run, context["dag"].params))
    first, last = _days(dag_run, params, problems)
    if last and last > dt.datetime.now(getattr(context["dag"], "timezone", None) or dt.UTC).date():
        problems.append(f"{last} is in the future: nothing is known of a day before its first minute.")
    if problems or first is None or last is None:
        raise BadInput("This run cannot start: " + " ".join(problems))
    return Request(
        first=first,
        last=last,
        params=params,
        model=str(params.get("model") or forms.AS_OF),
        trials=params.get("trials"),
        engine=None if params.get("engine") in (None, forms.AS_SET) else str(params["engine"]),
        reason=plain_text(params.get("reason")),
        dry_run=bool(params.get("dry_run")),
        force=bool(params.get("force")),
        pipelines=tuple(dict.fromkeys(params.get("pipelines") or ())),
        dag=getattr(dag_run, "dag_id", ""),
        run=getattr(dag_run, "run_id", ""),
        triggered_by=getattr(dag_run, "triggering_user_name", None) or "",
        backfill=_is_backfill(dag_run),
    )


def form(context: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the form of a DAG that works on no day was filled in with. Raises BadInput listing unknown parameters."""
    problems = list(_unlike_the_form(context["dag_run"], context["dag"].params))
    if problems:
        raise BadInput("This run cannot start: " + " ".join(problems))
    return dict(context["params"])


def run_id(context: Mapping[str, Any]) -> str:
    """The staging run: the stages of one DAG run find each other's staged rows by it."""
    return f"{context['dag_run'].dag_id}/{context['dag_run'].run_id}"


def _unlike_the_form(dag_run: Any, form: Mapping[str, Any]) -> Iterator[str]:
    """Parameters that the form does not know; of a backfill, also those that it does not state."""
    conf, known = dag_run.conf or {}, list(form)
    for name in sorted(conf):
        if name not in known:
            yield f"{name!r} is not a parameter of this DAG.{did_you_mean(name, known)}"
    if not _is_backfill(dag_run):
        return
    missing = [name for name in known if name not in conf and name not in DAYS]
    if missing:
        whole = json.dumps({name: conf.get(name, _default(form[name])) for name in known if name not in DAYS})
        yield (
            f"It belongs to a backfill, and {', '.join(missing)} did not reach it. Airflow drops what a backfill's "
            "form was filled in with unless 'Override parameters on existing runs' is ticked: so a backfill states "
            f"all of its parameters, or does nothing. Tick it, send them as dag_run_conf (such as {whole}), or start "
            "it with `tailrace backfill`."
        )
    named = [name for name in DAYS if conf.get(name)]
    if named:
        yield f"It belongs to a backfill, which knows its days: leave {' and '.join(named)} empty."


def _days(dag_run: Any, params: Mapping[str, Any], problems: list[str]) -> tuple[dt.date | None, dt.date | None]:
    """The first and the last day; what is wrong with them goes to problems."""
    partition, form = dag_run.partition_key, params.get("day")
    if partition and form and partition != form:
        problems.append(f"day is {form!r}, but the run is for the partition {partition!r}; leave day empty.")
    chosen = partition or form or _tested_day(dag_run.logical_date)
    if not chosen:
        problems.append("no day is given; fill in day (YYYY-MM-DD), or trigger the run with a partition key.")
        return None, None
    last = _day(str(chosen), "day", problems)
    first = _day(str(params["first_day"]), "first_day", problems) if params.get("first_day") else last
    if first and last and first > last:
        problems.append(f"first_day {first} is after day {last}.")
    return first, last


def _day(text: str, name: str, problems: list[str]) -> dt.date | None:
    try:
        return days.parse(text, name)
    except BadInput as problem:
        problems.append(str(problem))
        return None


def _is_backfill(dag_run: Any) -> bool:
    return bool(getattr(dag_run, "run_type", "") == "backfill")


def _default(param: Any) -> Any:
    return getattr(param, "value", param)


def _tested_day(logical_date: dt.datetime | None) -> str | None:
    """`airflow dags test DAG DAY` gives the day as its midnight, UTC; a moment inside a day names none."""
    if logical_date is None or logical_date.astimezone(dt.UTC).time() != dt.time():
        return None
    return str(logical_date.astimezone(dt.UTC).date())
