"""What MLflow must be left with, and what it must not be asked: beyond the contract of every tracker."""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import mlflow
import pyarrow as pa
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from tailrace.contracts import Pin, Trial
from tailrace.errors import BadInput, ModelGone, SignatureMismatch, StorageFull, TrackerUnavailable
from tailrace.lineage.pins import from_json
from tailrace.tracking import locations
from tailrace.tracking.mlflow import MlflowTracker
from tailrace.tracking.mlflow_seam import masked, mlflow_call
from tests.support import mlflow_database

PROJECT = Path(__file__).resolve().parents[3]
EXAMPLE = pa.table(
    {
        "hour": [5, 6],
        "seats": [180, None],
        "delay": pa.array([0.5, None], pa.float32()),
        "carrier": pa.array(["UA", None]).dictionary_encode(),
        "note": pa.array([None, None], pa.string()),
    }
)
SCORES = pa.table({"score": [0.25, 0.75]})


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return mlflow_database(tmp_path)


@pytest.fixture
def tracker(uri: str, tmp_path: Path) -> MlflowTracker:
    return MlflowTracker(uri, str(tmp_path / "artifacts"), "http://127.0.0.1:5000/")


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri, uri)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "model.json").write_text("0.5")
    return folder


def python(code: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_killed_run_and_its_trials_are_closed_by_the_next(
    tracker: MlflowTracker, client: MlflowClient, uri: str
) -> None:
    victim = python(
        """
        import signal, sys
        from tailrace.tracking.mlflow import MlflowTracker
        tracker = MlflowTracker(sys.argv[1], None)
        training_run = tracker.start_run("flights", "victim", {})
        client = tracker._client
        experiment = client.get_run(training_run).info.experiment_id
        client.create_run(experiment, tags={"mlflow.parentRunId": training_run, "tailrace.kind": "trial"})
        print(training_run, flush=True)
        signal.pause()
        """,
        uri,
    )
    assert victim.stdout is not None
    dead = victim.stdout.readline().strip()
    beside = tracker.start_run("flights", "beside", {})
    assert tracker.run(dead).status == "running", "its process is alive"
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    following = tracker.start_run("flights", "following", {})
    assert {run.training_run: run.status for run in tracker.runs("flights")} == {
        dead: "killed",
        beside: "running",
        following: "running",
    }
    tags = tracker.run(dead).tags
    assert tags["tailrace.closed_by"] == following
    assert str(victim.pid) in tags["tailrace.closed_because"]
    experiment = client.get_experiment_by_name("flights")
    children = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{dead}'")
    assert [child.info.status for child in children] == ["KILLED"]


def test_two_processes_may_create_everything_at_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    code = """
        import sys
        from pathlib import Path
        import pyarrow as pa
        from tailrace.tracking.mlflow import MlflowTracker
        tracker = MlflowTracker(sys.argv[1], sys.argv[2])
        sys.stdin.readline()
        training_run = tracker.start_run("flights", "together", {})
        print(tracker.log_model(training_run, Path(sys.argv[3]), pa.table({"hour": [1]}), pa.table({"score": [0.5]})))
        """
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "model.json").write_text("{}")
    arguments = (uri, str(tmp_path / "artifacts"), str(folder))
    pair = [python(code, *arguments, stdin=subprocess.PIPE) for _ in range(2)]
    for process in pair:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = sorted(process.communicate(timeout=60)[0].strip() for process in pair)
    assert printed == ["1", "2"]
    assert len(MlflowTracker(uri, None).runs("flights")) == 2


def test_trials_are_nested_with_their_parameters(tracker: MlflowTracker, client: MlflowClient, tmp_path: Path) -> None:
    training_run = tracker.start_run("flights", "search", {})
    tracker.log_trial(
        training_run,
        Trial(
            number=3,
            candidate="xgboost",
            parameters={"depth": 6, "text": "x" * 7000},
            value=0.41,
            state="pruned",
            seconds=2.0,
        ),
    )
    experiment = client.get_experiment_by_name("flights")
    (child,) = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{training_run}'")
    assert child.info.status == "KILLED"
    assert child.info.end_time - child.info.start_time == 2000
    assert child.data.tags["tailrace.trial_state"] == "pruned"
    assert child.data.metrics == {"value": 0.41, "seconds": 2.0}
    assert {name: child.data.params[name] for name in ("candidate", "depth")} == {"candidate": "xgboost", "depth": "6"}
    assert "[7000 characters, sha256 " in child.data.params["text"]
    kept = tracker.fetch(child.info.run_id, "long/params/text.txt", tmp_path / "kept")
    assert kept.read_text() == "x" * 7000


def test_pins_are_dataset_inputs(tracker: MlflowTracker, client: MlflowClient) -> None:
    training_run = tracker.start_run("flights", "inputs", {})
    pin = Pin(
        table="features/flights",
        version="12",
        first=dt.date(2013, 1, 1),
        last=None,
        rows=4123,
        files=9,
        digest="ab" * 32,
    )
    tracker.log_inputs(training_run, {"features": pin})
    (given,) = client.get_run(training_run).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("features/flights", pin.digest[:36])
    assert from_json(given.dataset.source) == pin
    assert json.loads(given.dataset.profile)["num_rows"] == 4123
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "features")]


def test_a_deleted_versions_number_is_not_given_again(
    tracker: MlflowTracker, client: MlflowClient, model: Path
) -> None:
    for number in ("1", "2"):
        assert tracker.log_model(tracker.start_run("flights", "model", {}), model, EXAMPLE, SCORES) == number
    tracker.set_alias("flights", "champion", "2")
    client.delete_model_version("flights", "2")
    assert [known.version for known in tracker.versions("flights")] == ["1"]
    assert tracker.log_model(tracker.start_run("flights", "model", {}), model, EXAMPLE, SCORES) == "3"


def test_mlflow_itself_loads_the_model(uri: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "constant_loader.py").write_text(
        textwrap.dedent(
            """
            from pathlib import Path
            class Constant:
                def __init__(self, value): self.value = value
                def predict(self, frame, params=None): return [self.value] * len(frame)
            def _load_pyfunc(path): return Constant(float((Path(path) / "model.json").read_text()))
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for file in ("uv.lock", "pyproject.toml"):
        (tmp_path / file).write_text((PROJECT / file).read_text())
    monkeypatch.chdir(tmp_path)
    tracker = MlflowTracker(uri, str(tmp_path / "artifacts"), loader_module="constant_loader")
    training_run = tracker.start_run("flights", "model", {})
    started = time.perf_counter()
    tracker.log_model(training_run, model, EXAMPLE, SCORES)
    assert time.perf_counter() - started < 2
    tracker.set_alias("flights", "champion", "1")

    mlflow.set_tracking_uri(uri)
    try:
        loaded = mlflow.pyfunc.load_model("models:/flights@champion")
    finally:
        mlflow.set_tracking_uri(None)
    types = {column.name: column.type.name for column in loaded.metadata.signature.inputs.inputs}
    assert types == {"hour": "long", "seats": "double", "delay": "double", "carrier": "string", "note": "string"}
    assert loaded.predict(loaded.input_example) == [0.5, 0.5]
    files = {path.name for path in (tmp_path / "artifacts").rglob("*")}
    assert "uv.lock" not in files
    assert not [name for name in files if name.endswith((".pkl", ".pickle"))]


def test_an_input_that_mlflow_has_no_type_for_is_named(tracker: MlflowTracker, model: Path) -> None:
    example = pa.table({"hour": [1], "weather": [{"wind": 2}]})
    training_run = tracker.start_run("flights", "model", {})
    with pytest.raises(SignatureMismatch, match="weather"):
        tracker.log_model(training_run, model, example, pa.table({"score": [0.5]}))
    assert tracker.versions("flights") == ()


def test_a_failed_upload_leaves_no_version(uri: str, tmp_path: Path, model: Path, client: MlflowClient) -> None:
    (tmp_path / "occupied").write_text("a file where the artefacts' folder should be")
    tracker = MlflowTracker(uri, str(tmp_path / "occupied"))
    training_run = tracker.start_run("flights", "model", {})
    with pytest.raises(TrackerUnavailable, match="could not register a model"):
        tracker.log_model(training_run, model, EXAMPLE, SCORES)
    assert tracker.versions("flights") == ()
    experiment = client.get_experiment_by_name("flights")
    (left,) = client.search_logged_models([experiment.experiment_id])
    assert left.status.value == "FAILED"


def test_links_and_places(tracker: MlflowTracker, client: MlflowClient, tmp_path: Path) -> None:
    training_run = tracker.start_run("flights", "place", {})
    experiment = client.get_experiment_by_name("flights")
    assert (
        tracker.run(training_run).url
        == f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs/{training_run}"
    )
    assert experiment.artifact_location == f"{tmp_path}/artifacts/flights"


def test_a_deleted_experiment_is_restored(tracker: MlflowTracker, client: MlflowClient) -> None:
    tracker.start_run("flights", "before", {})
    client.delete_experiment(client.get_experiment_by_name("flights").experiment_id)
    training_run = tracker.start_run("flights", "after", {})
    assert training_run in [run.training_run for run in tracker.runs("flights")]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_unreachable_server_is_said_soon(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    tracker = MlflowTracker(f"http://ada:s3cret@127.0.0.1:{closed_port}", None)
    started = time.perf_counter()
    with pytest.raises(TrackerUnavailable) as caught:
        tracker.start_run("flights", "nobody home", {})
    assert time.perf_counter() - started < 10
    assert f"http://ada:***@127.0.0.1:{closed_port} could not open a run" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__, "a traceback would show the password"


def test_an_unreachable_server_is_retried(closed_port: int) -> None:
    asked = subprocess.run(
        [
            sys.executable,
            "-c",
            "import tailrace.tracking.mlflow, os; print(os.environ['MLFLOW_HTTP_REQUEST_MAX_RETRIES'])",
        ],
        cwd=PROJECT,
        env={k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.strip() == "3"
    assert asked.stderr == ""


def test_a_database_that_cannot_be_opened_is_said_soon(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    started = time.perf_counter()
    with pytest.raises(TrackerUnavailable, match="could not list the runs"):
        MlflowTracker(f"sqlite:///{tmp_path}/mlflow.db", None).runs("flights")
    assert time.perf_counter() - started < 10


def test_a_locked_database_is_said() -> None:
    class Locked:
        uri = "sqlite:////data/mlflow.db"

        @mlflow_call("open a run")
        def open(self) -> None:
            raise MlflowException("(sqlite3.OperationalError) database is locked", TEMPORARILY_UNAVAILABLE)

    with pytest.raises(TrackerUnavailable, match="another process holds its SQLite database"):
        Locked().open()


def test_what_mlflow_does_not_accept_is_bad_input(tracker: MlflowTracker) -> None:
    training_run = tracker.start_run("flights", "names", {})
    with pytest.raises(BadInput, match="could not record parameters, metrics or tags"):
        tracker.log(training_run, metrics={"what?!": 1.0})


def test_a_full_disk_is_said() -> None:
    class Full:
        uri = "sqlite:////data/mlflow.db"

        @mlflow_call("store files of a run")
        def store(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageFull, match="could not store files of a run"):
        Full().store()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://ada:p%40ss@db:5432/mlflow", "postgresql://ada:***@db:5432/mlflow"),
        ("http://ada@host", "http://ada@host"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
    ],
)
def test_passwords_are_masked(uri: str, shown: str) -> None:
    assert masked(uri) == shown


AWKWARD = "models"
"""A pipeline's name that is a folder of MLflow's, too."""


def paths(client: MlflowClient, training_run: str, version: str) -> list[str]:
    """Where MLflow says that a run's files and a version's are."""
    found = client.get_model_version(AWKWARD, version)
    models = client.search_logged_models([client.get_run(training_run).info.experiment_id])
    of_model = [model.artifact_location for model in models if model.model_id == found.model_id]
    return [client.get_run(training_run).info.artifact_uri, found.source, *of_model]


class TestAHomeThatIsElsewhere:
    """MLflow records absolute paths; the setting says where the files are."""

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        folder = tmp_path / "home"
        folder.mkdir()
        mlflow_database(folder)
        return folder

    def at(self, home: Path, artifacts: Path | None = None) -> MlflowTracker:
        return MlflowTracker(f"sqlite:///{home}/mlflow.db", str(artifacts or home / "artifacts"))

    def train(self, tracker: MlflowTracker, model: Path) -> str:
        training_run = tracker.start_run(AWKWARD, "training", {})
        tracker.log_trial(
            training_run, Trial(number=1, candidate="trees", parameters={}, value=0.4, state="complete", seconds=1.0)
        )
        tracker.log_files(training_run, model, "report")
        tracker.log_model(training_run, model, EXAMPLE, SCORES)
        return training_run

    def sound(self, tracker: MlflowTracker, training_run: str, version: str, below: Path, out: Path) -> None:
        """Whether report and model of a run are found, and recorded below that folder."""
        assert tracker.fetch(training_run, "report/model.json", out).read_text() == "0.5"
        assert (tracker.model_folder(AWKWARD, version, out) / "model.json").read_text() == "0.5"
        assert all(path.startswith(f"{below}/") for path in paths(tracker._client, training_run, version))

    def test_a_moved_one_finds_its_models_and_writes_nothing_to_the_old_place(
        self, home: Path, tmp_path: Path, model: Path
    ) -> None:
        first = self.train(self.at(home), model)
        moved = home.rename(tmp_path / "moved")
        tracker = self.at(moved)
        self.sound(tracker, first, "1", moved / "artifacts", tmp_path / "out")
        self.sound(tracker, self.train(tracker, model), "2", moved / "artifacts", tmp_path / "out")
        assert not home.exists()
        experiment = tracker._client.get_experiment_by_name(AWKWARD)
        assert experiment.artifact_location == f"{moved}/artifacts/{AWKWARD}"

    def test_a_copy_and_its_original_go_on_side_by_side(self, home: Path, tmp_path: Path, model: Path) -> None:
        first = self.train(self.at(home), model)
        copy = Path(shutil.copytree(home, tmp_path / "copy"))
        before = sorted(home.rglob("*"))
        tracker = self.at(copy)
        self.sound(tracker, first, "1", copy / "artifacts", tmp_path / "out")
        self.sound(tracker, self.train(tracker, model), "2", copy / "artifacts", tmp_path / "out")
        assert sorted(home.rglob("*")) == before
        self.sound(self.at(home), first, "1", home / "artifacts", tmp_path / "out")

    def test_files_that_stay_where_they_are_are_read_there(self, home: Path, tmp_path: Path, model: Path) -> None:
        first = self.train(self.at(home), model)
        tracker = self.at(home, tmp_path / "larger disk")
        second = self.train(tracker, model)
        for training_run, version, below in ((first, "1", home / "artifacts"), (second, "2", tmp_path / "larger disk")):
            self.sound(tracker, training_run, version, below, tmp_path / "out")
        (home / "artifacts" / AWKWARD).rename(tmp_path / "aside")
        shutil.copytree(tmp_path / "aside", tmp_path / "larger disk" / AWKWARD, dirs_exist_ok=True)
        self.sound(self.at(home, tmp_path / "larger disk"), first, "1", tmp_path / "larger disk", tmp_path / "out")

    def test_files_that_are_gone_are_named_with_the_way_out(self, home: Path, tmp_path: Path, model: Path) -> None:
        self.train(self.at(home), model)
        shutil.rmtree(home / "artifacts")
        with pytest.raises(
            ModelGone, match=rf"{AWKWARD} version 1 are gone: nothing is stored at {home}/.*TAILRACE_ART"
        ):
            self.at(home).model_folder(AWKWARD, "1", tmp_path / "out")


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/data/a b", "/data/a b"),
        ("file:///data/a%20b", "/data/a b"),
        ("s3://bucket/key", None),
        ("mlflow-artifacts:/1/2", None),
    ],
)
def test_a_uri_of_this_machine_is_a_path(uri: str, path: str | None) -> None:
    assert locations.local(uri) == (Path(path) if path else None)


def test_a_run_never_exists_without_its_tags(
    tracker: MlflowTracker, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    created: list[dict[str, str]] = []
    create_run = MlflowClient.create_run

    def listed_at_once(self: MlflowClient, *args: object, **kwargs: object) -> object:
        run = create_run(self, *args, **kwargs)
        created.append(client.get_run(run.info.run_id).data.tags)
        return run

    monkeypatch.setattr(MlflowClient, "create_run", listed_at_once)
    tracker.start_run("flights", "new", {"tailrace.day": "2013-02-13", "patch": "x" * 9_000})
    assert created[0]["tailrace.day"] == "2013-02-13"
    assert "9000 characters" in created[0]["patch"]
