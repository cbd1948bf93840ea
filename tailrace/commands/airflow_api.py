"""The few calls of Airflow's REST API that the command line and the demo make."""

from __future__ import annotations

import datetime as dt
import json
import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote
from zoneinfo import ZoneInfo

import httpx
from tenacity import RetryCallState, retry, retry_if_exception, stop_after_delay, wait_fixed

from tailrace.errors import BadInput, Refused, Unavailable, cause_of
from tailrace.settings import Settings

FINAL = ("success", "failed")
BUSY = (404, 409, 503)
"""Answers that pass: a DAG not parsed yet, a backfill closing, a database locked."""
LOGIN = "/auth/token"
PAGE = 100
SECONDS_BETWEEN_LOOKS = 0.5
RESULT, ERROR = "tailrace_result", "tailrace_error"
"""The XComs in which a task leaves its result, and the sentence it failed with."""


class DagRunFailed(Refused):
    """A DAG run failed; the message holds the sentences of its failed tasks."""


@dataclass(frozen=True)
class Backfill:
    """A backfill of the days first..last as Airflow knows it. `conf` is what its runs were to be given."""

    id: int
    dag: str
    first: dt.date
    last: dt.date
    created_at: dt.datetime
    conf: Mapping[str, Any]


@dataclass(frozen=True)
class DayRun:
    """A DAG run of one day."""

    id: str
    day: str
    state: str
    seconds: float | None
    conf: Mapping[str, Any]


def _busy(error: BaseException) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in BUSY and not _no_login(error)


def _no_login(error: httpx.HTTPStatusError) -> bool:
    """Whether another server than Airflow's answers."""
    return error.response.status_code == 404 and error.request.url.path.endswith(LOGIN)


def _passes(error: BaseException) -> bool:
    # 500 is what the api-server answers while its database is restarted.
    failed = isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 500
    return failed or _busy(error) or isinstance(error, httpx.TransportError)


PAUSE, PATIENCE = wait_fixed(0.5), stop_after_delay(90)
FIRST_PATIENCE = stop_after_delay(4)
"""For an Airflow that has not answered yet: it is more likely down, or its address wrong, than restarting."""
CONNECT_SECONDS = 5

log = logging.getLogger("tailrace")


def _patience(state: RetryCallState) -> bool:
    """Whether to give up."""
    error = state.outcome.exception() if state.outcome else None
    silent = isinstance(error, httpx.TransportError) and not state.args[0].answered
    return (FIRST_PATIENCE if silent else PATIENCE)(state)


def _say_once(state: RetryCallState) -> None:
    """That an Airflow which has answered before is waited for."""
    error = state.outcome.exception() if state.outcome else None
    if state.attempt_number == 1 and isinstance(error, httpx.TransportError) and state.args[0].answered:
        log.info("Airflow does not answer (%s); trying again for up to 90 seconds.", cause_of(error))


def login(settings: Settings) -> tuple[str, str, str]:
    """Address, user and password of Airflow: of the settings, else of what runs on this home. Raises BadInput."""
    if settings.airflow_url:
        return settings.airflow_url, settings.airflow_user, settings.airflow_password
    try:
        held = json.loads(settings.airflow_login.read_text())
        return held["url"], held["user"], held["password"]
    except (OSError, ValueError, LookupError) as error:
        raise BadInput(
            f"No Airflow runs on {settings.home}: start it with `make up`, or say where it is with "
            "TAILRACE_AIRFLOW_URL, TAILRACE_AIRFLOW_USER and TAILRACE_AIRFLOW_PASSWORD."
        ) from error


class Login(httpx.Auth):
    """Asks Airflow for a token, and for another one when that has run out: a long backfill outlives one."""

    requires_response_body = True

    def __init__(self, url: str, user: str, password: str) -> None:
        self._asking = httpx.Request("POST", f"{url}{LOGIN}", json={"username": user, "password": password})
        self._token = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See httpx.Auth."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
            answer = yield request
            if answer.status_code != 401:
                return
        given = yield self._asking
        if given.is_success:
            self._token = given.json()["access_token"]
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request


class AirflowApi:
    """A client that logs in; days are those of a time zone. Raises Unavailable, BadInput, in Airflow's own words."""

    def __init__(self, url: str, user: str, password: str, zone: ZoneInfo) -> None:
        self.url, self.user = url, user
        self.answered = False
        """Whether it has, since this client was made."""
        self._zone = zone
        timeout = httpx.Timeout(300, connect=CONNECT_SECONDS)
        # A backfill makes all of its runs before it answers.
        self._client = httpx.Client(base_url=f"{url}/api/v2", auth=Login(url, user, password), timeout=timeout)

    def run_day(self, dag: str, day: dt.date, conf: Mapping[str, Any]) -> str:
        """Trigger a run for a day and wait for it; its id. Raises DagRunFailed."""
        body = {"logical_date": None, "partition_key": str(day), "conf": dict(conf)}
        run_id = str(self._post(f"/dags/{dag}/dagRuns", body)["dag_run_id"])
        while (state := self.get(f"/dags/{dag}/dagRuns/{quote(run_id, safe='')}")["state"]) not in FINAL:
            # Airflow tells nobody when a run ends; this is how often it is asked.
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if state == "failed":
            raise DagRunFailed(self.why(dag, run_id))
        return run_id

    def backfill(
        self, dag: str, first: dt.date, last: dt.date, conf: Mapping[str, Any], at_once: int
    ) -> dict[str, float]:
        """Backfill a range of days and wait for it; the seconds each day's run took. Raises DagRunFailed."""
        started = self.start_backfill(dag, first, last, conf, at_once)
        runs = self.follow(started)
        failed = [run for run in runs if run.state == "failed"]
        if failed:
            raise DagRunFailed("\n".join(self.why(dag, run.id) for run in failed))
        return {run.day: run.seconds or 0.0 for run in runs}

    def start_backfill(
        self, dag: str, first: dt.date, last: dt.date, conf: Mapping[str, Any], at_once: int
    ) -> Backfill:
        """Start a backfill of a range of days, whose runs are told every parameter of the DAG.

        Raises BadInput if another one runs, the DAG is paused, or Airflow refuses it.
        """
        details = self.get(f"/dags/{dag}/details")
        if details["is_paused"]:
            raise BadInput(f"{dag} is paused in Airflow, where its runs would wait for ever: switch it on first.")
        if (running := self.running_backfill(dag)) and any(run.state not in FINAL for run in self.runs(running)):
            raise BadInput(f"Backfill {running.id} of {dag} is still running; wait for it, or cancel it.")
        body = {
            "dag_id": dag,
            "from_date": dt.datetime.combine(first, dt.time(), self._zone).isoformat(),
            # Ticks after the last day's midnight belong to it.
            "to_date": dt.datetime.combine(last, dt.time(23, 59, 59), self._zone).isoformat(),
            "max_active_runs": at_once,
            "reprocess_behavior": "completed",
            "dag_run_conf": self._whole(details["params"], conf),
        }
        with self._in_words(f"The backfill of {dag} from {first} to {last}"):
            return self._backfill(self._post("/backfills", body))

    def under_way(self, dag: str, first: dt.date, last: dt.date) -> dict[str, str]:
        """The days of the range of which a run is queued or running, and that run: a backfill makes none of them."""
        runs = self._newest_first(dag, "state=queued&state=running")
        found = {run["partition_key"]: run["dag_run_id"] for run in runs if run["partition_key"]}
        return {day: run for day, run in sorted(found.items()) if str(first) <= day <= str(last)}

    def running_backfill(self, dag: str) -> Backfill | None:
        """The DAG's backfill that is not at its end; there is one at most."""
        held = self.get(f"/backfills?dag_id={quote(dag)}&limit={PAGE}&order_by=-id")["backfills"]
        return next((self._backfill(each) for each in held if each["completed_at"] is None), None)

    def cancel_backfill(self, backfill: Backfill) -> None:
        """Start no more of its runs; those that run go on to their end."""
        with self._in_words(f"Cancelling backfill {backfill.id} of {backfill.dag}"):
            self._client.put(f"/backfills/{backfill.id}/cancel").raise_for_status()

    def follow(self, backfill: Backfill, each: Callable[[Sequence[DayRun]], None] = lambda runs: None) -> list[DayRun]:
        """Wait for the runs of a backfill, calling `each` with all of them at every look; the runs, oldest day first.

        Raises Refused if parameters did not reach them.
        """
        while True:
            runs = self.runs(backfill)
            lost = [run.day for run in runs if dict(run.conf) != dict(backfill.conf)]
            if lost:
                self.cancel_backfill(backfill)
                raise Refused(
                    f"Backfill {backfill.id} of {backfill.dag}: Airflow did not hand its parameters on to the runs of "
                    f"{', '.join(lost)}. It is cancelled; those runs refuse to start."
                )
            each(runs)
            if all(run.state in FINAL for run in runs):
                return runs
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def runs(self, backfill: Backfill) -> list[DayRun]:
        """The runs of a DAG's latest backfill, oldest day first; not those of an earlier one that was cleared since."""
        found = [
            DayRun(
                run["dag_run_id"],
                run["partition_key"] or str(run["run_after"])[:10],
                run["state"],
                run["duration"],
                run["conf"] or {},
            )
            for run in self._newest_first(backfill.dag, "run_type=backfill")
            if dt.datetime.fromisoformat(run["queued_at"] or run["run_after"]) >= backfill.created_at
        ]
        return sorted(
            (run for run in found if str(backfill.first) <= run.day <= str(backfill.last)), key=lambda run: run.day
        )

    def why(self, dag: str, run_id: str) -> str:
        """The sentences of the failed tasks of a run; where a task left none, the errors in its log."""
        lines = [f"{dag} {run_id} failed."]
        for task in self.tasks(dag, run_id):
            if task["state"] == "failed":
                lines.append(f"{task['task_id']} (try {task['try_number']} of {task['max_tries'] + 1}):")
                said = self.left(dag, run_id, task["task_id"], ERROR)
                log = f"{_tasks(dag, run_id)}/{task['task_id']}/logs/{task['try_number']}"
                lines += [str(said)] if said else self._logged(log)
        return "\n".join(lines)

    def tasks(self, dag: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        return list(self.get(_tasks(dag, run_id))["task_instances"])

    def left(self, dag: str, run_id: str, task: str, key: str) -> Any:
        """What a task left under a key for people; None if nothing."""
        path = f"{_tasks(dag, run_id)}/{task}/xcomEntries/{key}"
        with self._in_words(f"Reading what {task} of {dag} {run_id} left"):
            answer = self._client.get(path, params={"deserialize": "true"})
        return answer.json()["value"] if answer.is_success else None

    def links(self, dag: str, run_id: str, task: str) -> dict[str, str]:
        """Where a task links to, by the link's name."""
        held = self.get(f"{_tasks(dag, run_id)}/{task}/links")["extra_links"]
        return {name: address for name, address in held.items() if address}

    def get(self, path: str) -> Any:
        """What the API answers, as JSON."""
        with self._in_words(f"Reading {path.partition('?')[0]}"):
            return self._get(path)

    @retry(retry=retry_if_exception(_passes), wait=PAUSE, stop=_patience, before_sleep=_say_once, reraise=True)
    def _get(self, path: str) -> Any:
        answer = self._client.get(path)
        self.answered = True
        return answer.raise_for_status().json()

    def page(self, path: str) -> str:
        """A page of the plugin's, or of Airflow's own, as HTML."""
        with self._in_words(f"Reading {path.partition('?')[0]}"):
            return self._client.get(f"{self.url}{path}").raise_for_status().text

    # Without an answer nobody knows whether the run was started: that is not tried again.
    @retry(retry=retry_if_exception(_busy), wait=PAUSE, stop=PATIENCE, reraise=True)
    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._client.post(path, json=body).raise_for_status().json()

    def _newest_first(self, dag: str, which: str) -> Iterator[dict[str, Any]]:
        """The DAG's runs that a query string chooses, page by page."""
        offset = 0
        while True:
            query = f"{which}&limit={PAGE}&offset={offset}&order_by=-id"
            page = self.get(f"/dags/{dag}/dagRuns?{query}")["dag_runs"]
            yield from page
            if len(page) < PAGE:
                return
            offset += PAGE

    def _whole(self, params: Mapping[str, Any], conf: Mapping[str, Any]) -> dict[str, Any]:
        """The conf with the form's defaults for what it leaves out."""
        defaults = {name: param["value"] if isinstance(param, dict) else param for name, param in params.items()}
        return defaults | dict(conf)

    def _logged(self, path: str) -> list[str]:
        content = self.get(path)["content"]
        said = [
            str(line.get("error_detail") or line.get("event", "")) for line in content if line.get("level") == "error"
        ]
        return said[-3:]

    def _backfill(self, held: Mapping[str, Any]) -> Backfill:
        moments = [dt.datetime.fromisoformat(held[name]) for name in ("from_date", "to_date")]
        first, last = (moment.astimezone(self._zone).date() for moment in moments)
        created = dt.datetime.fromisoformat(held["created_at"])
        return Backfill(held["id"], held["dag_id"], first, last, created, held["dag_run_conf"] or {})

    @contextmanager
    def _in_words(self, what: str) -> Iterator[None]:
        """What goes wrong with a call, in a sentence."""
        try:
            yield
        except httpx.TransportError as error:
            raise Unavailable(
                f"{what}: Airflow does not answer at {self.url} ({cause_of(error)}). "
                "Start it, or correct TAILRACE_AIRFLOW_URL."
            ) from error
        except httpx.HTTPStatusError as error:
            self._refused(what, error)
        except (ValueError, LookupError) as error:
            raise self._another_server(what) from error

    def _another_server(self, what: str) -> BadInput:
        return BadInput(f"{what}: what answers at {self.url} is not Airflow's API. Correct TAILRACE_AIRFLOW_URL.")

    def _refused(self, what: str, error: httpx.HTTPStatusError) -> NoReturn:
        status = error.response.status_code
        if _no_login(error):
            raise self._another_server(what) from error
        if status >= 500:
            raise Unavailable(
                f"{what}: Airflow at {self.url} answers {status}; its api-server's log says why."
            ) from error
        if status == 401 or error.request.url.path.endswith(LOGIN):
            raise BadInput(
                f"Airflow at {self.url} does not let {self.user!r} in; check TAILRACE_AIRFLOW_USER and "
                "TAILRACE_AIRFLOW_PASSWORD."
            ) from error
        if status == 403:
            raise BadInput(f"{what}: the user {self.user!r} has no right to it in Airflow.") from error
        try:
            detail = error.response.json()["detail"]
        except (ValueError, LookupError):
            detail = error.response.reason_phrase
        raise BadInput(f"{what} is refused by Airflow: {detail}") from error


def _tasks(dag: str, run_id: str) -> str:
    return f"/dags/{dag}/dagRuns/{quote(run_id, safe='')}/taskInstances"
