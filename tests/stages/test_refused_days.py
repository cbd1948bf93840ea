"""A range of days goes on past the days that are refused, and every command tells of them."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pytest

from tailrace.commands import options
from tailrace.commands.main import call
from tailrace.errors import AuditFailed, StagingGone
from tailrace.reporting import model_report
from tailrace.rows import refused_days
from tailrace.spec import Audit
from tailrace.stages import audit, score
from tests.stages.conftest import Loop, installation, memory
from tests.stages.test_stages_by_command import TRAINED
from tests.support import new_project

LAST = TRAINED + dt.timedelta(days=3)
REFUSED, MISSING = TRAINED + dt.timedelta(days=1), TRAINED + dt.timedelta(days=2)


@pytest.fixture
def loop(tmp_path, spec, monkeypatch) -> Loop:
    """A champion, and four days to predict: one with predictions that the suite refuses, one without features."""
    project = new_project(tmp_path, monkeypatch)
    # Its pictures take longer than all the rest, and change nothing here.
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    spec = replace(spec, audit=Audit(max_psi=1.0))
    (project.pipelines / f"{spec.name}.py").write_text(
        f"from tailrace import *\nfrom tailrace.spec import *\nSPEC = {spec!r}\n"
    )
    monkeypatch.setenv("TAILRACE_HOME", str(tmp_path / "home"))
    services = installation(memory, tmp_path, spec)
    monkeypatch.setattr(options, "open_services", lambda engine=None, on_spark=None: services)
    loop = Loop(services, spec)
    loop.take(last=TRAINED)
    loop.challenge(TRAINED)
    loop.take(LAST, LAST)
    rows = services.lake.read(spec.features_table, first=TRAINED, last=TRAINED).read_all().drop_columns("ds")
    repeated = rows.take([0] * rows.num_rows)
    services.lake.publish(services.lake.stage(spec.features_table, REFUSED, "planted", repeated.to_reader()), {})
    return loop


def run(*arguments: str) -> object:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as ended:
        call([*arguments])
    return ended.value.code


def predict(*more: str) -> object:
    return run("predict", "churn", f"--date={TRAINED}", f"--to={LAST}", "--json", *more)


def test_a_range_goes_on_and_says_why_days_were_refused(loop, capsys):
    assert predict() == 1
    said = capsys.readouterr()
    rows = {dt.date.fromisoformat(row["day"]): row for row in json.loads(said.out)}
    assert [row["state"] for row in rows.values()] == ["published", "refused", "not published", "published"]
    assert "150 keys" not in rows[TRAINED]["why"]
    assert "1 keys (customer) have more than one prediction each." in rows[REFUSED]["why"]
    assert f"no published features of {MISSING}" in rows[MISSING]["why"]
    assert sorted(loop.services.lake.days(loop.spec.predictions_table)) == [TRAINED, LAST]
    assert f"predictions/churn of {REFUSED}, scored by version 1, is refused" in said.err
    assert f"no published features of {MISSING}" in said.err


def test_list_and_history_tell_of_refused_days_until_they_are_published(loop, capsys):
    predict()
    capsys.readouterr()
    assert run("list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["refused days"] == f"1, the last {REFUSED}"
    assert run("history", "churn", "--json") == 0
    decided = json.loads(capsys.readouterr().out)
    assert [row["decision"] for row in decided] == ["promoted", "day_refused"]
    assert decided[1]["effective_from"] == str(REFUSED)
    assert "1 keys (customer)" in decided[1]["reason"]
    loop.take(REFUSED, REFUSED, run="corrected")
    loop.predict(REFUSED)
    assert run("list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["refused days"] is None
    (refusal,) = refused_days.history(loop.services.lake, loop.spec)
    assert (refusal.day, refusal.stands) == (REFUSED, False)


def test_a_dry_run_writes_no_refusal_down(loop, capsys):
    assert predict("--dry-run") == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in rows] == ["audited", "refused", "not published", "audited"]
    assert refused_days.history(loop.services.lake, loop.spec) == []


def test_a_retry_of_several_days_says_again_why_one_was_refused(loop):
    of_run = [TRAINED, REFUSED]
    for day in of_run:
        score.run(loop.work("both"), day)
    for _ in ("first try", "retry"):
        with pytest.raises(
            AuditFailed, match=f"of {REFUSED}, scored by version 1, is refused:\n  - .*more than one prediction"
        ):
            audit.run_all(loop.work("both"), of_run)
    with pytest.raises(StagingGone):
        audit.run_all(loop.work("another"), of_run)


def test_a_wrong_request_still_ends_the_command_at_once(loop, capsys):
    assert predict("--model=9") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("There is no version of model churn '9'") == 1
