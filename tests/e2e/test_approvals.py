"""People decide in a running Airflow: approve, reject, say nothing, roll back; what they decided is written down."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from scripts import stack
from tailrace import settings
from tailrace.champions import promotions
from tailrace.commands.airflow.api import FINAL
from tailrace.lineage import pins
from tailrace.spec import registry
from tailrace.stages import evaluate, promote, publish, score
from tailrace.wiring import Wiring
from tests.stages.conftest import LAST, Installation, Loop, MemoryWarehouse, tables, write_suites
from tests.support import eventually, work

pytestmark = pytest.mark.airflow

FIRST, SECOND, THIRD = dt.date(2013, 1, 9), dt.date(2013, 1, 11), dt.date(2013, 1, 12)
SCRIPT = "<script>alert('x')</script>"
PIPELINE = """
from tailrace.spec import *

SPEC = PipelineSpec(
    name="churn",
    owner="growth",
    description="Who leaves? <script>alert('x')</script>",
    features=Features(
        key=("customer",),
        event_time="event_time",
        columns={"plan": "categorical", "age": "numeric", "visits": "numeric"},
    ),
    outcome=Outcome(label="left"),
    candidates=(Candidate("logistic", "sklearn.linear_model.LogisticRegression", {}, {"C": FloatRange(0.01, 10.0)}),),
    window=Window(days=6, holdout_days=2),
    schedule=Schedule(train="AN_HOUR_AGO", predict="30 0 * * *", timezone="America/New_York"),
    search=SearchBudget(trials=1),
    gate=Gate(metric="log_loss", ceiling=1.0, approval="human"),
)
"""
DAGS = """
import datetime as dt
from dataclasses import replace

from airflow.sdk import DAG

from tailrace.orchestration import decision_forms, decisions
from tailrace.orchestration.dags import pipeline_dags
from tailrace.spec import registry

train, approve, rollback, predict, monitor = pipeline_dags("churn", "Who leaves?")
for name, seconds in {"impatient": 2, "unattended": 20}.items():
    with DAG(name, schedule=None, params=decision_forms.approve(), default_args=approve.default_args) as dag:
        spec = registry.get("churn")
        hasty = replace(spec, gate=replace(spec.gate, approval_days=seconds / 86400))
        decisions.decide(hasty.name, answer=decisions.ask(hasty))
    globals()[name] = dag
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> settings.Settings:
    """An installation with a champion, version 1, and a challenger as of a later day, version 2, that waits."""
    folder = tmp_path_factory.mktemp("home")
    project = settings.Project(folder)
    project.file.write_text("")
    project.pipelines.mkdir()
    # Airflow starts the scheduled training at once, and it waits for days that nobody makes: it must hold nobody up.
    an_hour_ago = dt.datetime.now(ZoneInfo("America/New_York")) - dt.timedelta(hours=1)
    (project.pipelines / "churn.py").write_text(PIPELINE.replace("AN_HOUR_AGO", f"{an_hour_ago:%-M %-H} * * *"))
    project.dags.mkdir()
    (project.dags / "churn.py").write_text(DAGS)
    configured = settings.load({**os.environ, "TAILRACE_PROJECT": str(folder), "TAILRACE_HOME": str(folder)})
    spec = registry.get("churn", project.pipelines)
    wired = Wiring(configured)
    validator = memory_validator(folder, spec)
    held = tables(spec)
    services = Installation(wired.lake, wired.tracker, validator, MemoryWarehouse(held), wired.engine, held)
    loop = Loop(services, spec)
    loop.take(dt.date(2013, 1, 3), LAST)
    first = loop.train(FIRST).training_run
    evaluate.run(work(services, spec), first)
    promote.run(work(services, spec), first, recorded_at=dt.datetime(2013, 2, 1, tzinfo=dt.UTC), decided_by="eve")
    evaluate.run(work(services, spec), loop.train(SECOND, seed=2).training_run)
    loop.predict(FIRST)
    return configured


def memory_validator(folder: Path, spec: Any) -> Any:
    from tailrace.validation.memory import MemoryValidator

    return MemoryValidator(write_suites(folder / "expectations", spec))


class People:
    """Airflow as its users see it, through its REST API."""

    def __init__(self, running: stack.Stack) -> None:
        self.running = running
        self.users = {"admin": running.password, "ada": "ada-secret", "eve": "eve-secret"}
        self._clients: dict[str, httpx.Client] = {}

    def call(self, who: str, method: str, path: str, **body: Any) -> httpx.Response:
        if who not in self._clients:
            login = {"username": who, "password": self.users[who]}
            token = httpx.post(f"{self.running.airflow_url}/auth/token", json=login, timeout=60).raise_for_status()
            headers = {"Authorization": f"Bearer {token.json()['access_token']}"}
            self._clients[who] = httpx.Client(
                base_url=f"{self.running.airflow_url}/api/v2", headers=headers, timeout=300
            )
        return self._clients[who].request(method, path, json=body or None)

    def get(self, path: str) -> dict[str, Any]:
        return self.call("admin", "GET", path).raise_for_status().json()

    def trigger(self, dag: str, conf: dict[str, Any], who: str = "admin", **more: Any) -> str:
        path = f"/dags/{dag}/dagRuns"
        eventually(lambda: self.call("admin", "GET", f"/dags/{dag}").is_success, f"{dag} is parsed")
        return (
            self.call(who, "POST", path, logical_date=None, conf=conf, **more).raise_for_status().json()["dag_run_id"]
        )

    def waiting(self, dag: str, run: str, times: int = 1) -> dict[str, Any]:
        """The question, once it is asked for the so-many-th time and Airflow's scheduler knows that the task waits.

        An answer in the second before that makes Airflow take the task for lost and ask again: nobody is that fast.
        """
        of_the_question = f"TaskInstanceKey(dag_id='{dag}', task_id='ask', run_id='{run}'"
        told = f"event with state success for task instance {of_the_question}"
        log = self.running.home / "processes" / "scheduler.log"
        eventually(lambda: log.read_text().count(told) >= times, f"{dag} asks for the {times}. time in {run}")
        self.reaches(dag, run, "awaiting_input", task="ask")
        return self.get(f"/dags/{dag}/dagRuns/{run}/taskInstances/ask/-1/hitlDetails")

    def answer(self, run: str, who: str, option: str, **form: str) -> httpx.Response:
        path = f"/dags/approve__churn/dagRuns/{run}/taskInstances/ask/-1/hitlDetails"
        return self.call(who, "PATCH", path, chosen_options=[option], params_input=form)

    def settles(self, run: str, who: str, option: str, reason: str) -> str:
        """How the run ends after this answer."""
        assert self.answer(run, who, option, reason=reason).is_success
        return self.reaches("approve__churn", run, *FINAL)

    def reaches(self, dag: str, run: str, *states: str, task: str = "") -> str:
        path = f"/dags/{dag}/dagRuns/{run}" + (f"/taskInstances/{task}" if task else "")
        return eventually(lambda: (state := self.get(path)["state"]) in states and state, f"{path} is {states}")

    def xcom(self, dag: str, run: str, task: str, key: str) -> Any:
        return self.get(f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/{key}?deserialize=true")["value"]


@pytest.fixture(scope="module")
def people(home):
    running = stack.Stack(home, parallelism=2)
    passwords = running.home / "people.json"
    people = People(running)
    passwords.write_text(json.dumps(people.users))
    running.environment |= {
        # A busy machine answers late; a task that waits for the answer is not what is tested.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,ada:op,eve:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
    }
    with running.started():
        yield people


def decided(home: settings.Settings) -> list[tuple[str, str, str, str]]:
    rows = promotions.decisions(Wiring(home).lake, "churn")
    return [(row.version, row.decision, row.decided_by, row.reason) for row in reversed(rows)]


def champion(home: settings.Settings) -> list[str]:
    return [one.version for one in Wiring(home).tracker.versions("churn") if "champion" in one.aliases]


def run_of(home: settings.Settings, version: str) -> str:
    return next(one.training_run for one in Wiring(home).tracker.versions("churn") if one.version == version)


def test_nobody_answers_and_that_is_a_rejection(home, people):
    run = people.trigger("impatient", {"training_run": run_of(home, "2")})
    assert people.reaches("impatient", run, "success", "failed") == "success"
    assert [row[:3] for row in decided(home)[1:]] == [("2", "rejected", "timeout")]
    assert decided(home)[1][3].startswith("Nobody answered within")
    assert champion(home) == ["1"]


def test_a_training_asks_and_a_rejection_is_written_down(home, people):
    scheduled = "/dags/train__churn/dagRuns?run_type=scheduled"
    waiting = eventually(lambda: people.get(scheduled)["dag_runs"], "the scheduled training is there")
    people.reaches("train__churn", waiting[0]["dag_run_id"], "up_for_retry", task="train")
    trained = people.trigger("train__churn", {"trials": 1}, partition_key=str(THIRD))
    assert people.reaches("train__churn", trained, "success", "failed") == "success"
    tasks = f"/dags/train__churn/dagRuns/{trained}/taskInstances"
    links = {task: people.get(f"{tasks}/{task}/links")["extra_links"] for task in ("train", "evaluate", "promote")}
    assert {task: each["MLflow run"].rpartition("/runs/")[2] for task, each in links.items()} == dict.fromkeys(
        links, run_of(home, "3")
    )
    for task in ("evaluate", "promote"):
        assert links[task]["Evaluation report"].endswith(f"/tailrace/reports/{run_of(home, '3')}")
    run = f"challenger__{run_of(home, '3')}"
    question = people.waiting("approve__churn", run)
    assert question["subject"] == "churn: version 3 against champion version 1"
    for text in ("95 % intervals", "Calibration", "What changed", "2013-01-12", "within 3 days", "/tailrace/reports/"):
        assert text in question["body"].replace("(<tailrace", "(</tailrace")
    assert "\\<script\\>" in question["body"]
    assert "<script>" not in question["body"]
    assert champion(home) == ["1"], "nothing is promoted before somebody says so"

    assert people.answer(run, "eve", "Approve", reason="me too").status_code == 403, "who may only look cannot answer"
    assert people.answer(run, "ada", "Approve", reason=" ").is_success
    assert not people.waiting("approve__churn", run, times=2)["response_received"], "it is asked again"
    assert champion(home) == ["1"]
    assert people.settles(run, "ada", "Reject", f"{SCRIPT} | it drifts") == "success"
    assert decided(home)[2:] == [("3", "rejected", "ada", f"{SCRIPT} | it drifts")]
    assert champion(home) == ["1"]
    said = people.xcom("approve__churn", run, "decide", "tailrace_result")["skipped"]
    assert said.startswith("Version 3 is rejected by ada, version 1 stays champion")

    events = people.get("/assets/events?limit=100")["asset_events"]
    assert [event["name"] for event in events] == [], "no champion was announced"


@contextmanager
def killed(people: People, *names: str) -> Iterator[None]:
    """These processes of Airflow are killed, and there again afterwards."""
    for name in names:
        os.killpg(people.running.processes.pid(name), signal.SIGKILL)
    yield
    for name in names:
        people.running.start_one(name)


def test_of_two_at_once_one_counts_though_scheduler_and_triggerer_were_killed(home, people):
    run = people.trigger("approve__churn", {"training_run": "2"})
    late = people.trigger("approve__churn", {"training_run": "3"})
    people.waiting("approve__churn", run)
    people.waiting("approve__churn", late)
    with killed(people, "scheduler", "triggerer"), ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(lambda who: people.answer(run, who, "Approve", reason=f"so says {who}"), ["ada", "admin"])
        )
    # Within the same moment Airflow may take both; the task is handed one.
    assert sorted(answer.status_code for answer in answers) in ([200, 409], [200, 200])
    late_answer = people.answer(run, "ada", "Reject", reason="too late")
    assert late_answer.status_code == 409
    assert "has already been updated" in late_answer.json()["detail"]
    assert people.reaches("approve__churn", run, "success", "failed") == "success"
    ((version, decision, who, reason),) = decided(home)[3:]
    assert (version, decision, reason) == ("2", "promoted", f"so says {who}")
    assert champion(home) == ["2"]
    events = people.get("/assets/events?limit=100")["asset_events"]
    assert [(event["name"], event["partition_key"]) for event in events] == [("models/churn", str(SECOND))]
    trained_on = pins.from_tags(Wiring(home).tracker.run(run_of(home, "2")).tags)
    told = events[0]["extra"]
    assert {role: pins.from_json(told[f"{role}_pin"]) for role in ("features", "outcomes")} == trained_on

    assert people.settles(late, "ada", "Approve", "better still") == "failed"
    said = people.xcom("approve__churn", late, "decide", "tailrace_error")
    assert "the approval of version 3 was overtaken. It was judged against version 1" in said
    assert f"Version 2 became champion, from {SECOND} on (decided by {who})." in said
    assert len(decided(home)) == 4


def test_a_deadline_that_passes_while_airflow_is_down_is_kept(home, people):
    before = decided(home)
    run = people.trigger("unattended", {"training_run": "3"})
    asked = people.waiting("unattended", run)
    deadline = dt.datetime.fromisoformat(asked["created_at"]) + dt.timedelta(seconds=20)
    with killed(people, "scheduler", "triggerer"):
        eventually(lambda: dt.datetime.now(dt.UTC) > deadline, "the deadline passes")
    assert people.reaches("unattended", run, *FINAL) == "success"
    answer = people.xcom("unattended", run, "ask", "return_value")
    assert (answer["approved"], answer["decided_by"]) == (False, "timeout")
    assert decided(home) == before, "it was rejected before, and is not written down twice"
    assert champion(home) == ["2"]


def test_a_rollback_by_form(home, people):
    assert people.call("eve", "POST", "/dags/rollback__churn/dagRuns", logical_date=None, conf={}).status_code == 403
    for conf in ({"version": "1", "reason": ""}, {"version": "v1", "reason": "r"}, {"reason": "r"}):
        refused = people.call("ada", "POST", "/dags/rollback__churn/dagRuns", logical_date=None, conf=conf)
        assert refused.status_code in (400, 422), conf
    run = people.trigger("rollback__churn", {"version": "9", "reason": "r"})
    assert people.reaches("rollback__churn", run, "success", "failed") == "failed"
    assert "There is no former champion of churn '9'. Known: 1, 2." in people.xcom(
        "rollback__churn", run, "roll_back", "tailrace_error"
    )
    tried = people.trigger("rollback__churn", {"version": "1", "reason": "what if", "dry_run": True}, who="ada")
    assert people.reaches("rollback__churn", tried, "success", "failed") == "success"
    said = people.xcom("rollback__churn", tried, "roll_back", "tailrace_result")["skipped"]
    assert re.fullmatch(r"Dry run: version 1 would be champion from .* in place of version 2\. Nothing changed\.", said)
    assert champion(home) == ["2"]
    run = people.trigger("rollback__churn", {"version": "1", "reason": f"2 drifts {SCRIPT}"}, who="ada")
    assert people.reaches("rollback__churn", run, "success", "failed") == "success"
    assert decided(home)[-1] == ("1", "rolled_back", "ada", f"2 drifts {SCRIPT}")
    assert champion(home) == ["1"]


def test_a_dry_run_of_an_approval_shows_the_card_and_asks_nobody(home, people):
    before = decided(home)
    run = people.trigger("approve__churn", {"training_run": "3", "dry_run": True})
    assert people.reaches("approve__churn", run, *FINAL) == "success"
    assert people.xcom("approve__churn", run, "ask", "tailrace_result")["skipped"].startswith(
        "Dry run: churn: version 3 against champion version 1."
    )
    log = people.get(f"/dags/approve__churn/dagRuns/{run}/taskInstances/ask/logs/1")["content"]
    assert any("95 % intervals" in str(line["event"]) for line in log)
    assert decided(home) == before


def test_a_published_day_is_monitored_by_itself(home, people):
    assets = people.get("/assets?name_pattern=predictions/churn")["assets"]
    told = people.call("admin", "POST", "/assets/events", asset_id=assets[0]["id"], partition_key=str(FIRST), extra={})
    assert told.is_success, told.text
    runs = "/dags/monitor__churn/dagRuns"
    (run,) = eventually(lambda: people.get(runs)["dag_runs"], "the monitor runs")
    assert run["partition_key"] == str(FIRST)
    assert people.reaches("monitor__churn", run["dag_run_id"], "success", "failed") == "success"
    (row,) = Wiring(home).lake.read("performance/churn").read_all().to_pylist()
    assert (row["ds"], row["model_version"], row["known_outcomes"]) == (FIRST, "1", 150)
    events = people.get("/assets/events?limit=100")["asset_events"]
    told = next(event["extra"] for event in events if event["name"] == "performance/churn")
    assert Wiring(home).lake.read_pin(pins.from_json(told["pin"])).read_all().to_pylist() == [row]


def test_a_run_that_is_cleared_after_it_published_announces_the_day_once(home, people):
    # Its task `publish` made the commit, and died before Airflow knew of it.
    spec, wired, run = registry.get("churn", home.project.pipelines), Wiring(home), "by-hand"
    score.run(work(wired, spec, f"predict__churn/{run}"), SECOND)
    staged = wired.lake.staged(spec.predictions_table, SECOND, f"predict__churn/{run}")
    wired.lake.annotate(staged, {"audit": "passed"})
    version = publish.run(work(wired, spec, f"predict__churn/{run}"), SECOND).commit.version

    def announced() -> list[str]:
        events = people.get("/assets/events?limit=1000")["asset_events"]
        return [event["extra"]["version"] for event in events if event["source_run_id"] == run]

    people.trigger("predict__churn", {}, dag_run_id=run, partition_key=str(SECOND))
    assert people.reaches("predict__churn", run, *FINAL) == "success"
    assert announced() == [version]
    everything = {"dag_run_id": run, "dry_run": False, "only_failed": False, "reset_dag_runs": True}
    people.call("admin", "POST", "/dags/predict__churn/clearTaskInstances", **everything).raise_for_status()
    assert people.reaches("predict__churn", run, *FINAL) == "success"
    assert people.reaches("predict__churn", run, "success", "skipped", task="publish") == "skipped"
    assert announced() == [version]
    assert wired.lake.days(spec.predictions_table)[SECOND].version == version
