"""What builds the marts elsewhere, in the same Airflow: the event of an asset, or the run of a DAG, of a day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from tailrace.settings import ASSET

_EVENTS = 1_000
"""How many of an asset's events are looked at, newest first."""
_RUNS = 100
"""How many runs of a DAG are looked at, newest first."""
_DAY = dt.timedelta(days=1)


def lacking(wait_for: Sequence[str], day: dt.date, zone: dt.tzinfo) -> dict[str, str]:
    """For each of what [dbt] wait_for names that has not come for the day: what was last seen of it.

    An event is of the day that its partition key begins with. An event without a key counts for the day on which it was
    made, and for the days before. A DAG's run is of the day on which its data interval ends; of several runs of
    a day, the newest counts. Days are those of `zone`.
    """
    found = {}
    for upstream in wait_for:
        kind, _, name = upstream.partition(":")
        if seen := _event(name, day, zone) if kind == ASSET else _run(name, day, zone):
            found[upstream] = seen
    return found


def _event(name: str, day: dt.date, zone: dt.tzinfo) -> str:
    """Empty if the asset has an event of the day; else what its newest event is."""
    from airflow.sdk.execution_time.comms import GetAssetEventByAsset

    uri = name if "://" in name else None
    message = GetAssetEventByAsset(name=None if uri else name, uri=uri, ascending=False, limit=_EVENTS)
    events = _answer(message).asset_events
    if any(_of_day(event, day, zone) for event in events):
        return ""
    if not events:
        return "Airflow has no event of it; see whether this is its name, and whether anything updates it"
    newest = events[0]
    of = f"of the partition {newest.partition_key}" if newest.partition_key else "without a partition"
    return f"its newest event is {of}, made at {_moment(newest.timestamp, zone)}; one of {day} is needed"


def _of_day(event: Any, day: dt.date, zone: dt.tzinfo) -> bool:
    if event.partition_key:
        return str(event.partition_key).startswith(str(day))
    return bool(event.timestamp.astimezone(zone).date() >= day)


def _run(dag_id: str, day: dt.date, zone: dt.tzinfo) -> str:
    """Empty if the newest run of the day succeeded; else what there is."""
    from airflow.sdk.execution_time.comms import GetDRCount, GetPreviousDagRun

    before = dt.datetime.combine(day + _DAY, dt.time(), zone)
    newest = None
    for _ in range(_RUNS):
        run = _answer(GetPreviousDagRun(dag_id=dag_id, logical_date=before)).dag_run
        if run is None or _day_of(run, zone) < day:
            newest = newest or run
            break
        if _day_of(run, zone) == day:
            return "" if run.state == "success" else f"its run of {day} is {run.run_id}, which is {run.state.value}"
        before = run.logical_date
    if newest is not None:
        return f"its newest run before is {newest.run_id}, which is {newest.state.value}; one of {day} is needed"
    if _answer(GetDRCount(dag_id=dag_id)).count:
        return (
            f"no run of {day}, or of a day before, has a logical date. Airflow does not show the runs of a DAG that is "
            "scheduled by partition to tasks of others: name an asset that it updates instead"
        )
    return "Airflow has no run of a DAG of this name"


def _day_of(run: Any, zone: dt.tzinfo) -> dt.date:
    day: dt.date = (run.data_interval_end or run.logical_date).astimezone(zone).date()
    return day


def _moment(moment: dt.datetime, zone: dt.tzinfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def _answer(message: Any) -> Any:
    """What Airflow's API answers a task. Its messages are imported when a task runs."""
    from airflow.sdk.execution_time import task_runner

    return task_runner.SUPERVISOR_COMMS.send(message)
