"""DAG runs, task results and backfills of a running Airflow."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from tailrace.commands.airflow.connection import Connection
from tailrace.errors import BadInput, Refused
from tailrace.lineage import xcom_keys

FINAL = ("success", "failed")
PAGE = 100
SECONDS_BETWEEN_LOOKS = 0.5


class DagRunFailed(Refused):
    """A DAG run failed; the message holds the sentences of its failed tasks."""


@dataclass(frozen=True, kw_only=True)
class Backfill:
    """A backfill of the days first..last as Airflow knows it.

    `conf` is what it was started with, for all its runs. Airflow writes down up to half a minute after its last run
    that it has `ended`.
    """

    id: int
    dag: str
    first: dt.date
    last: dt.date
    created_at: dt.datetime
    conf: Mapping[str, Any]
    ended: bool


@dataclass(frozen=True, kw_only=True)
class DayRun:
    """A DAG run of one day."""

    id: str
    day: str
    state: str
    seconds: float | None
    conf: Mapping[str, Any]


class AirflowApi(Connection):
    """A client whose days are those of a time zone."""

    def __init__(self, url: str, user: str, password: str, zone: ZoneInfo) -> None:
        super().__init__(url, user, password)
        self._zone = zone

    def run_day(self, dag: str, day: dt.date, conf: Mapping[str, Any]) -> str:
        """Trigger a run for a day and wait for it; its id. Raises DagRunFailed."""
        body = {"logical_date": None, "partition_key": str(day), "conf": dict(conf)}
        run_id = str(self._post(f"/dags/{dag}/dagRuns", body)["dag_run_id"])
        while (state := self.get(f"/dags/{dag}/dagRuns/{quote(run_id, safe='')}")["state"]) not in FINAL:
            # Airflow sends no message when a run ends.
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if state == "failed":
            raise DagRunFailed(self.why_failed(dag, run_id))
        return run_id

    def why_failed(self, dag: str, run_id: str) -> str:
        """The sentences of a run's failed tasks; for a task that left none, the errors in its log."""
        lines = [f"{dag} {run_id} failed."]
        for task in self.tasks(dag, run_id):
            if task["state"] == "failed":
                lines.append(f"{task['task_id']} (try {task['try_number']} of {task['max_tries'] + 1}):")
                sentence = self.xcom(dag, run_id, task["task_id"], xcom_keys.ERROR)
                log = f"{_tasks(dag, run_id)}/{task['task_id']}/logs/{task['try_number']}"
                lines += [str(sentence)] if sentence else self._logged_errors(log)
        return "\n".join(lines)

    def tasks(self, dag: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        return list(self._pages(f"{_tasks(dag, run_id)}?order_by=id", "task_instances"))

    def xcom(self, dag: str, run_id: str, task: str, key: str) -> Any:
        """What a task left under a key; None if nothing."""
        path = f"{_tasks(dag, run_id)}/{task}/xcomEntries/{key}"
        with self._errors_as_sentences(f"Reading the XCom {key} of {task} in {dag} {run_id}"):
            answer = self._client.get(path, params={"deserialize": "true"})
        return answer.json()["value"] if answer.is_success else None

    def links(self, dag: str, run_id: str, task: str) -> dict[str, str]:
        """The addresses that a task links to, by the link's name."""
        links = self.get(f"{_tasks(dag, run_id)}/{task}/links")["extra_links"]
        return {name: address for name, address in links.items() if address}

    def backfill(
        self, dag: str, first: dt.date, last: dt.date, *, conf: Mapping[str, Any], at_once: int
    ) -> dict[str, float]:
        """Backfill a range of days and wait for it; the seconds each day's run took. Raises DagRunFailed."""
        started = self.start_backfill(dag, first, last, conf=conf, at_once=at_once)
        runs = self.follow(started)
        failed = [run for run in runs if run.state == "failed"]
        if failed:
            raise DagRunFailed("\n".join(self.why_failed(dag, run.id) for run in failed))
        return {run.day: run.seconds or 0.0 for run in runs}

    def start_backfill(
        self, dag: str, first: dt.date, last: dt.date, *, conf: Mapping[str, Any], at_once: int
    ) -> Backfill:
        """Start a backfill of a range of days, whose runs are given every parameter of the DAG.

        Raises BadInput if another one runs, the DAG is paused, or Airflow refuses it.
        """
        details = self.get(f"/dags/{dag}/details")
        if details["is_paused"]:
            raise BadInput(f"{dag} is paused in Airflow, so its runs would never start: switch it on first.")
        if running := self.unfinished_backfill(dag):
            raise BadInput(f"Backfill {running.id} of {dag} is still running; wait for it, or cancel it.")
        body = {
            "dag_id": dag,
            "from_date": dt.datetime.combine(first, dt.time(), self._zone).isoformat(),
            # Ticks after the last day's midnight belong to it.
            "to_date": dt.datetime.combine(last, dt.time(23, 59, 59), self._zone).isoformat(),
            "max_active_runs": at_once,
            "reprocess_behavior": "completed",
            "dag_run_conf": _defaults(details["params"]) | dict(conf),
        }
        with self._errors_as_sentences(f"The backfill of {dag} from {first} to {last}"):
            return self._backfill(self._post("/backfills", body))

    def unfinished_runs(self, dag: str, first: dt.date, last: dt.date) -> dict[str, str]:
        """The days of the range that have a queued or running run, and that run: a backfill leaves such days out."""
        runs = self._newest_first(dag, "state=queued&state=running")
        found = {run["partition_key"]: run["dag_run_id"] for run in runs if run["partition_key"]}
        return {day: run for day, run in sorted(found.items()) if str(first) <= day <= str(last)}

    def running_backfill(self, dag: str) -> Backfill | None:
        """The DAG's backfill that Airflow has not written down as ended."""
        latest = self.latest_backfill(dag)
        return None if latest is None or latest.ended else latest

    def unfinished_backfill(self, dag: str) -> Backfill | None:
        """The DAG's backfill that has runs which have not ended."""
        running = self.running_backfill(dag)
        return running if running and any(run.state not in FINAL for run in self.runs(running)) else None

    def latest_backfill(self, dag: str) -> Backfill | None:
        """The DAG's latest backfill. Only the latest can be running: Airflow starts none before the last one ended."""
        found = self.get(f"/backfills?dag_id={quote(dag)}&limit=1&order_by=-id")["backfills"]
        return self._backfill(found[0]) if found else None

    def cancel_backfill(self, backfill: Backfill) -> None:
        """Start no more of its runs; those that run already continue to their end."""
        with self._errors_as_sentences(f"Cancelling backfill {backfill.id} of {backfill.dag}"):
            self._client.put(f"/backfills/{backfill.id}/cancel").raise_for_status()

    def follow(self, backfill: Backfill, each: Callable[[Sequence[DayRun]], None] = lambda runs: None) -> list[DayRun]:
        """Wait for the runs of a backfill, calling `each` with all of them every half second; returns them by day.

        Raises Refused if parameters did not reach them.
        """
        while True:
            runs = self.runs(backfill)
            without = [run.day for run in runs if dict(run.conf) != dict(backfill.conf)]
            if without:
                self.cancel_backfill(backfill)
                raise Refused(
                    f"Backfill {backfill.id} of {backfill.dag}: Airflow did not hand its parameters on to the runs of "
                    f"{', '.join(without)}. It is cancelled; those runs refuse to start."
                )
            each(runs)
            if all(run.state in FINAL for run in runs):
                return runs
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def runs(self, backfill: Backfill) -> list[DayRun]:
        """The runs of a DAG's latest backfill, by day; without those of an earlier one that were cleared since."""
        found = [
            _day_run(run)
            for run in self._newest_first(backfill.dag, "run_type=backfill")
            if dt.datetime.fromisoformat(run["queued_at"] or run["run_after"]) >= backfill.created_at
        ]
        within = (run for run in found if str(backfill.first) <= run.day <= str(backfill.last))
        return sorted(within, key=lambda run: run.day)

    def _newest_first(self, dag: str, which: str) -> Iterator[dict[str, Any]]:
        """The DAG's runs that a query string chooses."""
        return self._pages(f"/dags/{dag}/dagRuns?{which}&order_by=-id", "dag_runs")

    def _pages(self, query: str, rows: str) -> Iterator[dict[str, Any]]:
        """The rows of a list, page by page: Airflow gives the first 50 to who does not ask for more."""
        offset = 0
        while True:
            page = self.get(f"{query}&limit={PAGE}&offset={offset}")[rows]
            yield from page
            if len(page) < PAGE:
                return
            offset += PAGE

    def _logged_errors(self, path: str) -> list[str]:
        """The last three errors of a task's log."""
        content = self.get(path)["content"]
        errors = [line for line in content if line.get("level") == "error"]
        return [str(line.get("error_detail") or line.get("event", "")) for line in errors[-3:]]

    def _backfill(self, answer: Mapping[str, Any]) -> Backfill:
        moments = [dt.datetime.fromisoformat(answer[name]) for name in ("from_date", "to_date")]
        first, last = (moment.astimezone(self._zone).date() for moment in moments)
        return Backfill(
            id=answer["id"],
            dag=answer["dag_id"],
            first=first,
            last=last,
            created_at=dt.datetime.fromisoformat(answer["created_at"]),
            conf=answer["dag_run_conf"] or {},
            ended=answer["completed_at"] is not None,
        )


def _tasks(dag: str, run_id: str) -> str:
    return f"/dags/{dag}/dagRuns/{quote(run_id, safe='')}/taskInstances"


def _defaults(params: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of a DAG's form."""
    return {name: param["value"] if isinstance(param, dict) else param for name, param in params.items()}


def _day_run(answer: Mapping[str, Any]) -> DayRun:
    return DayRun(
        id=answer["dag_run_id"],
        day=answer["partition_key"] or str(answer["run_after"])[:10],
        state=answer["state"],
        seconds=answer["duration"],
        conf=answer["conf"] or {},
    )
