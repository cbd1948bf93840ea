"""The few calls of Airflow's REST API that the demo makes."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

FINAL = ("success", "failed")
BUSY = (404, 409, 503)
"""Answers that pass: a DAG not parsed yet, a backfill closing, SQLite locked."""


class DagRunFailed(RuntimeError):
    """A DAG run failed; the message holds the sentences of its failed tasks."""


def _busy(error: BaseException) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in BUSY


def _passes(error: BaseException) -> bool:
    return _busy(error) or isinstance(error, httpx.TransportError)


PAUSE, PATIENCE = wait_fixed(0.5), stop_after_delay(90)


class AirflowApi:
    """A logged-in client; days are those of a time zone."""

    def __init__(self, url: str, user: str, password: str, zone: ZoneInfo) -> None:
        token = httpx.post(f"{url}/auth/token", json={"username": user, "password": password}).raise_for_status()
        headers = {"Authorization": f"Bearer {token.json()['access_token']}"}
        self._zone = zone
        self._client = httpx.Client(base_url=f"{url}/api/v2", headers=headers, timeout=60)

    def run_day(self, dag: str, day: dt.date, conf: Mapping[str, Any]) -> str:
        """Trigger a run for a day and wait for it; its id. Raises DagRunFailed."""
        body = {"logical_date": None, "partition_key": str(day), "conf": dict(conf)}
        run_id = self._post(f"/dags/{dag}/dagRuns", body)["dag_run_id"]
        self._wait(dag, [run_id])
        return run_id

    def backfill(
        self, dag: str, first: dt.date, last: dt.date, conf: Mapping[str, Any], at_once: int
    ) -> dict[str, float]:
        """Backfill a range of days and wait for it; the seconds each day's run took. Raises DagRunFailed."""
        body = {
            "dag_id": dag,
            "from_date": dt.datetime.combine(first, dt.time(), self._zone).isoformat(),
            # Ticks after the last day's midnight belong to it.
            "to_date": dt.datetime.combine(last, dt.time(23, 59, 59), self._zone).isoformat(),
            "max_active_runs": at_once,
            "reprocess_behavior": "completed",
            "dag_run_conf": dict(conf),
        }
        known = {run["dag_run_id"] for run in self._runs(dag)}
        self._post("/backfills", body)
        ids = [run["dag_run_id"] for run in self._runs(dag) if run["dag_run_id"] not in known]
        self._wait(dag, ids)
        return {run["partition_key"]: run["duration"] for run in self._runs(dag) if run["dag_run_id"] in ids}

    def _runs(self, dag: str) -> list[dict[str, Any]]:
        return self.get(f"/dags/{dag}/dagRuns?limit=100&order_by=-id")["dag_runs"]

    def _wait(self, dag: str, run_ids: list[str]) -> None:
        waiting = list(run_ids)
        while waiting:
            states = {run_id: self.get(f"/dags/{dag}/dagRuns/{run_id}")["state"] for run_id in waiting}
            failed = [run_id for run_id, state in states.items() if state == "failed"]
            if failed:
                raise DagRunFailed("\n".join(self._why(dag, run_id) for run_id in failed))
            waiting = [run_id for run_id, state in states.items() if state not in FINAL]
            # Airflow tells nobody when a run ends; this is how often it is asked.
            time.sleep(0.5 if waiting else 0)

    def _why(self, dag: str, run_id: str) -> str:
        """The ends of the failed tasks' logs."""
        tasks = self.get(f"/dags/{dag}/dagRuns/{run_id}/taskInstances")["task_instances"]
        lines = [f"{dag} {run_id} failed."]
        for task in tasks:
            if task["state"] == "failed":
                path = f"/dags/{dag}/dagRuns/{run_id}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
                content = self.get(path)["content"]
                said = [
                    str(line.get("error_detail") or line.get("event", ""))
                    for line in content
                    if line.get("level") == "error"
                ]
                lines += [f"{task['task_id']} (try {task['try_number']} of {task['max_tries'] + 1}):", *said[-3:]]
        return "\n".join(lines)

    @retry(retry=retry_if_exception(_passes), wait=PAUSE, stop=PATIENCE, reraise=True)
    def get(self, path: str) -> Any:
        """What the API answers, as JSON."""
        return self._client.get(path).raise_for_status().json()

    # Without an answer nobody knows whether the run was started: that is not tried again.
    @retry(retry=retry_if_exception(_busy), wait=PAUSE, stop=PATIENCE, reraise=True)
    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._client.post(path, json=body).raise_for_status().json()
