"""Real flights through real Airflow: `dags test`, a trigger, a backfill and the command line agree."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import registry, settings
from pipelines.spec import zone
from pipelines.wiring import Wiring
from scripts import stack
from scripts.airflow_api import AirflowApi, DagRunFailed

BIN = Path(sys.executable).parent
FIRST, LAST = dt.date(2013, 1, 1), dt.date(2013, 2, 14)
TRAINED, NEXT = dt.date(2013, 2, 12), dt.date(2013, 2, 13)
PREDICT = "predict__flight_delay"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An installation whose warehouse and first model were made by `airflow dags test`."""
    folder = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "TAILRACE_HOME": str(folder)}
    configured = settings.load(environment)
    made = stack.Stack(configured, parallelism=2)
    for command in (["db", "migrate"], ["pools", "set", "warehouse", "1", "one writer"]):
        airflow(made, *command)
    airflow(made, "dags", "test", "warehouse", str(LAST), "-c", json.dumps({"first_day": str(FIRST)}))
    airflow(made, "dags", "test", "train__flight_delay", str(TRAINED), "-c", json.dumps({"trials": 3}))
    airflow(made, "dags", "test", PREDICT, str(TRAINED))
    return configured


@pytest.fixture(scope="module")
def api(home):
    """Airflow with its scheduler, on the same home."""
    running = stack.Stack(home, parallelism=2)
    try:
        running.start()
        yield AirflowApi(running.airflow_url, stack.USER, running.password, zone(registry.get("flight_delay")))
    finally:
        running.stop()


def airflow(made: stack.Stack, *command: str) -> None:
    done = subprocess.run([BIN / "airflow", *command], env=made.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def tailrace(home: settings.Settings, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TAILRACE_HOME": str(home.home)}
    return subprocess.run([BIN / "tailrace", *command], env=environment, capture_output=True, text=True)


def published(home: settings.Settings) -> dict[dt.date, str]:
    """The version of each day's last publication."""
    days = Wiring(home).lake.days(registry.get("flight_delay").predictions_table)
    return {day: commit.version for day, commit in days.items()}


def test_dags_test_published_the_day(home):
    assert list(published(home)) == [TRAINED]
    commit = Wiring(home).lake.days("predictions/flight_delay")[TRAINED]
    assert commit.rows > 600
    assert commit.metadata["model_version"] == "1"


def test_a_backfill_and_a_trigger_give_the_same_tables(home, api):
    before = published(home)
    api.backfill(PREDICT, TRAINED, NEXT, {"model": "as-of"}, at_once=2)
    after = published(home)
    assert list(after) == [TRAINED, NEXT]
    assert after[TRAINED] == before[TRAINED], "the same bytes make no commit"
    api.run_day(PREDICT, NEXT, {})
    by_hand = tailrace(home, "predict", "flight_delay", "--date", str(TRAINED), "--to", str(NEXT), "--json")
    assert by_hand.returncode == 0, by_hand.stderr
    assert [row["unchanged"] for row in json.loads(by_hand.stdout)] == [True, True]
    assert published(home) == after


def test_events_carry_the_day(home, api):
    api.run_day(PREDICT, NEXT, {})
    events = api.get("/assets/events?limit=100")["asset_events"]
    seen = {(event["name"], event["partition_key"]) for event in events}
    assert ("predictions/flight_delay", str(NEXT)) in seen
    assert ("features/flight_delay", str(LAST)) in seen, "the range of one run is announced day by day"
    assert ("features/flight_delay", str(FIRST)) in seen
    assert ("models/flight_delay", str(TRAINED)) in seen
    extra = next(
        e["extra"] for e in events if (e["name"], e["partition_key"]) == ("predictions/flight_delay", str(NEXT))
    )
    assert extra["model_version"] == "1"


@pytest.mark.parametrize(
    ("dag", "day", "conf", "sentence"),
    [
        (PREDICT, NEXT, {"modle": "1"}, "'modle' is not a parameter of this DAG. Did you mean 'model'?"),
        (PREDICT, dt.date(2013, 2, 1), {}, "no model was champion on 2013-02-01"),
        (PREDICT, NEXT, {"model": "7"}, "There is no version of model flight_delay '7'"),
        ("warehouse", dt.date(2014, 2, 1), {}, "has no extract of 2014-02-01; its calendar goes from"),
    ],
)
def test_what_cannot_be_done_fails_at_once_with_a_sentence(home, api, dag, day, conf, sentence):
    before = published(home)
    with pytest.raises(DagRunFailed) as raised:
        api.run_day(dag, day, conf)
    assert sentence in str(raised.value)
    assert "try 1 of" in str(raised.value), "it was not retried"
    assert published(home) == before


def test_the_command_line_says_what_is_wrong(home):
    for command, code, sentence in (
        (["predict", "flight_dely", "--date", "2013-02-12"], 2, "Did you mean 'flight_delay'?"),
        (["predict", "flight_delay", "--date", "2013-02-31"], 2, "write a day of the calendar"),
        (["predict", "flight_delay", "--date", "2013-02-12", "--model", "newest"], 2, "ask for 'as-of'"),
        (["predict", "flight_delay", "--date", "2013-02-01"], 1, "no model was champion on 2013-02-01"),
        (["predictions", "flight_delay", "--date", "2013-02-01"], 1, "has no published predictions of 2013-02-01"),
        (["run", "ingest", "flight_delay", "--date", "2015-01-01"], 2, "its calendar goes from"),
        (["reproduce", "nothing"], 2, "nothing"),
    ):
        done = tailrace(home, *command)
        assert done.returncode == code, (command, done.stdout, done.stderr)
        assert sentence in done.stderr.replace("\n", " "), (command, done.stderr)
        assert "Traceback" not in done.stderr


def test_tables_come_as_json(home):
    for command in (
        ["list"],
        ["history", "flight_delay"],
        ["predictions", "flight_delay", "--date", str(TRAINED)],
        ["check"],
    ):
        done = tailrace(home, *command, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)


def test_a_run_is_reproduced(home):
    (run,) = {row["run_id"] for row in json.loads(tailrace(home, "history", "flight_delay", "--json").stdout)}
    done = tailrace(home, "reproduce", run, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "same model digest, same metrics" in json.loads(done.stdout)["sentence"]
