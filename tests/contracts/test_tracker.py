"""What every Tracker promises, on memory, on MLflow with SQLite, and on an MLflow server."""

from __future__ import annotations

import datetime as dt
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from tailrace.contracts import Pin, Shrunk, Tracker, Trial
from tailrace.errors import BadInput, ModelGone, Refused, UnknownName
from tailrace.lineage import run_tags
from tailrace.lineage.pins import from_tags
from tailrace.tracking.memory import MemoryTracker
from tailrace.tracking.mlflow import MlflowTracker

EXAMPLE = pa.table({"hour": [5, 6, None], "carrier": ["UA", None, "AA"]})
SCORES = pa.table({"score": [0.1, 0.5, 0.9]})
PIN = Pin(
    table="features/flights", version="12", first=dt.date(2013, 1, 1), last=None, rows=4123, files=9, digest="ab" * 32
)


@pytest.fixture(scope="session")
def sqlite_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/new/mlflow.db"


@pytest.fixture(scope="session")
def server_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow_server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=os.environ | quiet, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", server, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    @retry(retry=retry_if_exception_type(urllib.error.URLError), wait=wait_fixed(0.1), stop=stop_after_delay(90))
    def ask() -> None:
        assert server.poll() is None, log.read_text()
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own server on 127.0.0.1

    ask()


@pytest.fixture(params=["memory", "sqlite", "server"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Tracker:
    if request.param == "memory":
        return MemoryTracker(tmp_path / "memory")
    if request.param == "sqlite":
        artifacts = str(tmp_path / "artifacts")
        return MlflowTracker(request.getfixturevalue("sqlite_uri"), artifacts, "http://127.0.0.1:5000/")
    return MlflowTracker(request.getfixturevalue("server_uri"), None)


@pytest.fixture
def pipeline(request: pytest.FixtureRequest) -> str:
    """A name of its own for each test: the MLflow stores are shared by them all."""
    return request.node.originalname.removeprefix("test_")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    (folder / "parts").mkdir(parents=True)
    (folder / "model.json").write_text('{"kind": "test"}')
    (folder / "parts" / "trees.ubj").write_bytes(bytes(range(256)))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def trial(number: int, **changes: object) -> Trial:
    fields = {
        "candidate": "xgboost",
        "parameters": {"depth": number},
        "value": 0.4,
        "state": "complete",
        "seconds": 1.5,
    }
    return Trial(number=number, **(fields | changes))  # type: ignore[arg-type]


def test_a_run_is_remembered(tracker: Tracker, pipeline: str) -> None:
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    training_run = tracker.start_run(pipeline, "2013-03-01", {"day": "2013-03-01"})
    assert tracker.run(training_run).status == "running"
    tracker.log(
        training_run, params={"seed": 7}, metrics={"roc_auc": 0.75, "undefined": math.nan}, tags={"commit": "abc"}
    )
    tracker.end_run(training_run, "finished")
    record = tracker.run(training_run)
    assert (record.pipeline, record.status, record.params) == (pipeline, "finished", {"seed": "7"})
    assert record.metrics["roc_auc"] == 0.75
    assert math.isnan(record.metrics["undefined"])
    assert record.tags.items() >= {"day": "2013-03-01", "commit": "abc"}.items()
    assert before <= record.started_at <= dt.datetime.now(dt.UTC)


def test_runs_are_listed_newest_first_without_trials(tracker: Tracker, pipeline: str) -> None:
    assert tracker.runs(pipeline) == ()
    first = tracker.start_run(pipeline, "first", {})
    tracker.log_trial(first, trial(0))
    tracker.log_trial(first, trial(1, value=None, state="failed"))
    tracker.log_trial(first, trial(2, state="pruned", parameters={"long": "x" * 20_000}))
    tracker.end_run(first, "failed")
    second = tracker.start_run(pipeline, "second", {})
    assert [(run.training_run, run.status) for run in tracker.runs(pipeline)] == [
        (second, "running"),
        (first, "failed"),
    ]


def test_an_unknown_run_is_named(tracker: Tracker, pipeline: str, tmp_path: Path, model: Path) -> None:
    known = tracker.start_run(pipeline, "known", {})
    wrong = known[:-1] + ("0" if known[-1] != "0" else "1")
    calls: list[Callable[[], object]] = [
        lambda: tracker.run(wrong),
        lambda: tracker.log_trial(wrong, trial(0)),
        lambda: tracker.fetch(wrong, "report.html", tmp_path),
        lambda: tracker.log_model(wrong, model, EXAMPLE, SCORES),
    ]
    for call in calls:
        with pytest.raises(UnknownName, match=wrong) as caught:
            call()
        assert known in str(caught.value)
    with pytest.raises(BadInput):
        tracker.log(wrong, metrics={"roc_auc": 1.0})


def test_long_values_are_kept(tracker: Tracker, pipeline: str) -> None:
    training_run = tracker.start_run(pipeline, "long", {"tag": "t" * 9_000})
    tracker.log(training_run, params={f"p{i}": i for i in range(150)} | {"long": "x" * 7_000})
    params = tracker.run(training_run).params
    assert len(params) == 151
    assert params["long"].startswith("x" * 5_000)


def test_pins_come_back(tracker: Tracker, pipeline: str) -> None:
    training_run = tracker.start_run(pipeline, "pins", {})
    pins = {
        "features": PIN,
        "outcomes": Pin(
            table="outcomes/flights", version="3", first=None, last=None, rows=0, files=0, digest="cd" * 32
        ),
    }
    tracker.log_inputs(training_run, pins)
    assert from_tags(tracker.run(training_run).tags) == pins


def test_files_are_stored_and_fetched(tracker: Tracker, pipeline: str, tmp_path: Path, model: Path) -> None:
    training_run = tracker.start_run(pipeline, "files", {})
    tracker.log_files(training_run, model, "report")
    whole = tracker.fetch(training_run, "report", tmp_path / "whole")
    assert contents(whole) == contents(model)
    one = tracker.fetch(training_run, "report/parts/trees.ubj", tmp_path / "one")
    assert one.read_bytes() == bytes(range(256))
    with pytest.raises(UnknownName, match=r"modle\.json"):
        tracker.fetch(training_run, "report/modle.json", tmp_path / "none")
    with pytest.raises(BadInput, match="no folder"):
        tracker.log_files(training_run, tmp_path / "absent", "report")


def test_a_model_is_registered_once_per_run(tracker: Tracker, pipeline: str, tmp_path: Path, model: Path) -> None:
    assert tracker.versions(pipeline) == ()
    first, second = (tracker.start_run(pipeline, name, {}) for name in ("first", "second"))
    assert tracker.log_model(first, model, EXAMPLE, SCORES) == "1"
    assert tracker.log_model(first, model, EXAMPLE, SCORES) == "1"
    (model / "model.json").write_text('{"kind": "other"}')
    assert tracker.log_model(second, model, EXAMPLE, SCORES) == "2"
    assert [(v.version, v.training_run, v.pipeline) for v in tracker.versions(pipeline)] == [
        ("2", second, pipeline),
        ("1", first, pipeline),
    ]
    latest = tracker.model_folder(pipeline, "2", tmp_path / "out")
    assert contents(latest) == contents(model)
    assert contents(tracker.model_folder(pipeline, "2", tmp_path / "out")) == contents(model)
    earlier = tracker.model_folder(pipeline, "1", tmp_path / "out")
    assert (earlier / "model.json").read_text() == '{"kind": "test"}'


def test_a_run_loses_its_trials_and_its_model_and_nothing_else(
    tracker: Tracker, pipeline: str, tmp_path: Path, model: Path
) -> None:
    shrunk, other = (tracker.start_run(pipeline, name, {run_tags.DAY: "2013-03-01"}) for name in ("one", "two"))
    versions = {}
    for training_run in (shrunk, other):
        tracker.log_inputs(training_run, {"features": PIN})
        for number in range(2):
            tracker.log_trial(training_run, trial(number))
        tracker.log_files(training_run, model, "report")
        versions[training_run] = tracker.log_model(training_run, model, EXAMPLE, SCORES)
        tracker.end_run(training_run, "finished")
    before = tracker.run(shrunk)
    found = tracker.shrink(shrunk, dry_run=True)
    assert (found.trials, found.files > 0, found.bytes > 0) == (2, True, True)
    assert tracker.run(shrunk) == before
    assert tracker.shrink(shrunk) == found
    after = tracker.run(shrunk)
    assert set(after.tags) - set(before.tags) == {run_tags.FILES_DELETED, run_tags.FILES_DELETED_ALL}
    assert (after.params, after.metrics, after.status) == (before.params, before.metrics, before.status)
    assert from_tags(after.tags) == {"features": PIN}
    assert tracker.fetch(shrunk, "report", tmp_path / "report").is_dir()
    assert {version.version for version in tracker.versions(pipeline)} == set(versions.values())
    with pytest.raises(ModelGone, match=r"were deleted by upkeep on .* --date 2013-03-01\."):
        tracker.model_folder(pipeline, versions[shrunk], tmp_path / "gone")
    assert tracker.model_folder(pipeline, versions[other], tmp_path / "there").is_dir()
    assert tracker.shrink(other, dry_run=True).trials == 2
    assert tracker.shrink(shrunk) == Shrunk()
    with pytest.raises(UnknownName):
        tracker.shrink("nobody")


def test_an_alias_points_at_one_version(tracker: Tracker, pipeline: str, model: Path) -> None:
    for name in ("first", "second"):
        tracker.log_model(tracker.start_run(pipeline, name, {}), model, EXAMPLE, SCORES)
    tracker.set_alias(pipeline, "champion", "1")
    tracker.set_alias(pipeline, "challenger", "2")
    tracker.set_alias(pipeline, "champion", "2")
    assert {v.version: v.aliases for v in tracker.versions(pipeline)} == {"2": ("challenger", "champion"), "1": ()}


def test_an_unknown_version_is_named(tracker: Tracker, pipeline: str, tmp_path: Path, model: Path) -> None:
    tracker.log_model(tracker.start_run(pipeline, "only", {}), model, EXAMPLE, SCORES)
    with pytest.raises(UnknownName, match=r"'7'.*Known: 1"):
        tracker.model_folder(pipeline, "7", tmp_path / "out")
    with pytest.raises(UnknownName, match="'7'"):
        tracker.set_alias(pipeline, "champion", "7")
    with pytest.raises(UnknownName):
        tracker.set_alias("nobody", "champion", "1")


def test_a_tampered_model_is_refused(
    tracker: Tracker, pipeline: str, tmp_path: Path, model: Path, request: pytest.FixtureRequest
) -> None:
    tracker.log_model(tracker.start_run(pipeline, "whole", {}), model, EXAMPLE, SCORES)
    whole = contents(tracker.model_folder(pipeline, "1", tmp_path / "out"))
    marker = (model / "parts" / "trees.ubj").read_bytes()
    root = tmp_path.parent
    stored = [p for p in root.rglob("trees.ubj") if p.read_bytes() == marker and not p.is_relative_to(tmp_path / "out")]
    for path in stored:
        path.write_bytes(marker + b"!")
    with pytest.raises(Refused, match=f"{pipeline} version 1 are not those that were logged"):
        tracker.model_folder(pipeline, "1", tmp_path / "out")
    assert contents(tmp_path / "out" / f"{pipeline}-1") == whole


def test_a_model_with_another_digest_than_the_lake_recorded_is_refused(
    tracker: Tracker, pipeline: str, tmp_path: Path, model: Path
) -> None:
    tracker.log_model(tracker.start_run(pipeline, "whole", {}), model, EXAMPLE, SCORES)
    (version,) = tracker.versions(pipeline)
    assert tracker.model_folder(pipeline, "1", tmp_path / "out", version.tags[run_tags.MODEL_DIGEST]).exists()
    with pytest.raises(Refused, match=rf"{pipeline} version 1 are not those that were decided about.*{'f' * 12}"):
        tracker.model_folder(pipeline, "1", tmp_path / "out", "f" * 64)


@pytest.mark.parametrize("lost", ["a file", "all of them"])
def test_a_model_whose_files_are_gone_is_refused(
    tracker: Tracker, pipeline: str, tmp_path: Path, model: Path, lost: str
) -> None:
    marker = bytes(reversed(range(256)))
    (model / "parts" / "trees.ubj").write_bytes(marker)
    version = tracker.log_model(tracker.start_run(pipeline, "whole", {}), model, EXAMPLE, SCORES)
    for path in [p for p in tmp_path.parent.rglob("trees.ubj") if p.read_bytes() == marker]:
        path.unlink()
        if lost != "a file" and not path.is_relative_to(model):
            shutil.rmtree(path.parents[3] if "data" in path.parts else path.parents[1])
    with pytest.raises(Refused, match=f"{pipeline} version {version} ") as refused:
        tracker.model_folder(pipeline, version, tmp_path / "out")
    assert not str(refused.value).endswith(":")
    assert "backup" in str(refused.value)


def test_a_run_whose_process_died_is_closed(tracker: Tracker, pipeline: str) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    orphan = tracker.start_run(pipeline, "orphan", {run_tags.PID: str(ended.pid)})
    hour_ago = (dt.datetime.now(dt.UTC) - dt.timedelta(minutes=61)).isoformat()
    silent = tracker.start_run(pipeline, "silent", {run_tags.HOST: "elsewhere", run_tags.HEARTBEAT: hour_ago})
    busy = tracker.start_run(pipeline, "busy", {run_tags.HOST: "elsewhere"})
    mine = tracker.start_run(pipeline, "mine", {})
    statuses = {run.training_run: run.status for run in tracker.runs(pipeline)}
    assert statuses == {orphan: "killed", silent: "killed", busy: "running", mine: "running"}
    assert str(ended.pid) in tracker.run(orphan).tags["tailrace.closed_because"]
    assert "elsewhere" in tracker.run(silent).tags["tailrace.closed_because"]
    assert tracker.run(orphan).tags["tailrace.closed_by"] == silent


def test_the_open_runs_of_a_host_that_is_gone_are_closed(tracker: Tracker, pipeline: str) -> None:
    lost = tracker.start_run(pipeline, "lost", {run_tags.HOST: "train-pod-1"})
    done = tracker.start_run(pipeline, "done", {run_tags.HOST: "train-pod-1"})
    tracker.end_run(done, "finished")
    other = tracker.start_run(pipeline, "other", {run_tags.HOST: "train-pod-2"})
    tracker.close_runs_of(pipeline, "train-pod-1", "Its pod was deleted.")
    assert {run.training_run: run.status for run in tracker.runs(pipeline)} == {
        lost: "killed",
        done: "finished",
        other: "running",
    }
    assert tracker.run(lost).tags["tailrace.closed_because"] == "Its pod was deleted."


def test_a_log_call_is_a_sign_of_life(tracker: Tracker, pipeline: str) -> None:
    old = {run_tags.HOST: "elsewhere", run_tags.HEARTBEAT: "2013-01-01T00:00:00+00:00"}
    signs: list[Callable[[str], object]] = [
        lambda training_run: tracker.log(training_run, metrics={"rows": 1}),
        lambda training_run: tracker.log_trial(training_run, trial(0)),
        lambda training_run: tracker.log_inputs(training_run, {"features": PIN}),
    ]
    for sign in signs:
        training_run = tracker.start_run(pipeline, "old", old)
        sign(training_run)
        assert tracker.run(training_run).tags[run_tags.HEARTBEAT] > "2014"
