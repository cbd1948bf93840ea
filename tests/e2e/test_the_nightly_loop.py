"""Real flights through real Airflow: `dags test`, a trigger, a backfill and the command line agree."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import signal
import subprocess
import threading

import pytest

from tailrace import settings
from tailrace.commands.airflow.api import DagRunFailed
from tailrace.lineage import pins
from tailrace.wiring import Wiring
from tests.e2e.flights import FIRST, LAST, NEXT, PREDICT, TRAINED, published, tailrace


def test_dags_test_published_the_day(home):
    assert list(published(home)) == [TRAINED]
    commit = Wiring(home).lake.days("predictions/flight_delay")[TRAINED]
    assert commit.rows > 600
    assert commit.metadata["model_version"] == "1"


def test_a_backfill_and_a_trigger_give_the_same_tables(home, api):
    before = published(home)
    api.backfill(PREDICT, TRAINED, NEXT, conf={"model": "as-of"}, at_once=2)
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
    told = {(event["name"], event["partition_key"]): event["extra"] for event in events}
    assert told["predictions/flight_delay", str(NEXT)]["model_version"] == "1"
    taken = told["features/flight_delay", str(FIRST)]
    assert (taken["first_day"], taken["last_day"]) == (str(FIRST), str(LAST))
    assert taken["data_interval_start"] == "2012-12-31T05:00:00+00:00"
    assert taken["data_interval_end"] == "2013-02-14T05:00:00+00:00"
    pinned = Wiring(home).lake.read_pin(pins.from_json(taken["pin"])).read_all()
    assert pinned.num_rows == int(taken["rows"])
    assert {FIRST, LAST} <= set(pinned["ds"].to_pylist())


@pytest.mark.parametrize(
    ("dag", "day", "conf", "sentence"),
    [
        (PREDICT, NEXT, {"modle": "1"}, "'modle' is not a parameter of this DAG. Did you mean 'model'?"),
        (PREDICT, dt.date(2013, 2, 1), {}, "no model was champion on 2013-02-01"),
        (PREDICT, NEXT, {"model": "7"}, "There is no version of model flight_delay '7'"),
        (PREDICT, dt.date(2999, 1, 1), {}, "2999-01-01 is in the future"),
        ("warehouse", dt.date(2017, 2, 1), {}, "has no extract of 2017-02-01; it has airlines"),
    ],
)
def test_what_cannot_be_done_fails_at_once_with_a_sentence(home, api, dag, day, conf, sentence):
    before = published(home)
    with pytest.raises(DagRunFailed) as raised:
        api.run_day(dag, day, conf)
    assert sentence in str(raised.value)
    assert "try 1 of" in str(raised.value), "it was not retried"
    (run,) = api.get(f"/dags/{dag}/dagRuns?limit=1&order_by=-id")["dag_runs"]
    # What follows a failed `ingest` fails too, and says so for each pipeline.
    failed = min(
        (task for task in api.tasks(dag, run["dag_run_id"]) if task["state"] == "failed"),
        key=lambda task: task["start_date"],
    )
    log = api.get(f"/dags/{dag}/dagRuns/{run['dag_run_id']}/taskInstances/{failed['task_id']}/logs/1")["content"]
    said = [line["event"] for line in log if not line["event"].startswith("::")]
    assert sentence in said[-1], "the sentence is what the log ends with"
    assert published(home) == before


def test_make_logs_follows_every_process(running):
    command = ["make", "--silent", "--assume-old", ".venv/.ready", "logs"]
    environment = {**os.environ, "TAILRACE_HOME": str(running.configured.home)}
    wanted, seen = {"api-server", "dag-processor", "mlflow", "scheduler", "triggerer"}, set()
    with subprocess.Popen(
        command,
        cwd=settings.find_project().root,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as following:
        # It would follow for ever.
        giving_up = threading.Timer(60, os.killpg, [following.pid, signal.SIGTERM])
        giving_up.start()
        for line in following.stdout:
            if named := re.match(r"==> .*/(.+)\.log <==", line):
                seen.add(named[1])
            if wanted <= seen:
                break
        giving_up.cancel()
        os.killpg(following.pid, signal.SIGTERM)
    assert wanted <= seen


def test_the_command_line_says_what_is_wrong(home):
    for command, code, sentence in (
        (["predict", "flight_dely", "--date", "2013-02-12"], 2, "Did you mean 'flight_delay'?"),
        (["predict", "flight_delay", "--date", "2013-02-31"], 2, "write a day of the calendar"),
        (["predict", "flight_delay", "--date", "2013-02-12", "--model", "newest"], 2, "use 'as-of'"),
        (["predict", "flight_delay", "--date", "2013-02-01"], 1, "no model was champion on 2013-02-01"),
        (["predictions", "flight_delay", "--date", "2013-01-20"], 1, "has no published predictions of 2013-01-20"),
        (["run", "ingest", "flight_delay", "--date", "2017-01-01"], 2, "has no extract of 2017-01-01; it has"),
        (["reproduce", "nothing"], 2, "nothing"),
        (["rollback", "flight_delay", "--version", "9", "--reason", "r"], 2, "no former champion of flight_delay '9'"),
        (["backfill", "flight_delay", "--from", "2013-02-12"], 2, "Name the days: --from YYYY-MM-DD --to YYYY-MM-DD."),
        (["backfill", "flight_delay", "--from", "2013-02-12", "--to", "2999-01-01"], 2, "2999-01-01, in the future"),
        (["backfill", "warehouse", "--train"], 2, "The warehouse is not trained"),
        (["predict", "flight_delay", "--date", "2013-02-12", "--engine", "sprak"], 2, "Did you mean 'spark'?"),
    ):
        done = tailrace(home, *command)
        assert done.returncode == code, (command, done.stdout, done.stderr)
        assert sentence in done.stderr.replace("\n", " "), (command, done.stderr)
        assert "Traceback" not in done.stderr


def test_tables_come_as_json(home):
    for command in (
        ["list"],
        ["history", "flight_delay"],
        ["run", "monitor", "flight_delay", "--date", str(TRAINED)],
        ["predictions", "flight_delay", "--date", str(TRAINED)],
        ["check"],
    ):
        done = tailrace(home, *command, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)


def test_a_run_is_reproduced(home):
    (run,) = {row["training_run"] for row in json.loads(tailrace(home, "history", "flight_delay", "--json").stdout)}
    done = tailrace(home, "reproduce", run, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "same model digest, same metrics" in json.loads(done.stdout)["sentence"]
