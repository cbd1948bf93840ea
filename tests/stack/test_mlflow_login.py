"""MLflow's server as docker-compose.yaml starts it: who may read, who may write, and who is not let in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from scripts import make_secrets
from tailrace.champions.model_versions import CHAMPION
from tailrace.errors import BadInput
from tailrace.settings import find_project
from tailrace.tracking.mlflow import MlflowTracker
from tests.object_store import answers, free_ports

pytestmark = pytest.mark.services

START_SECONDS = 180
DAY = {"tailrace.day": "2013-02-12"}


@dataclass(frozen=True)
class Server:
    """A running server and its users' passwords."""

    url: str
    secrets: dict[str, str]
    monkeypatch: pytest.MonkeyPatch

    def password(self, user: str) -> str:
        return self.secrets[f"MLFLOW_{user.upper()}_PASSWORD"]

    def tracker(self, user: str, password: str | None = None) -> MlflowTracker:
        """The project's tracker, as a service of compose with this user's password has it."""
        self.monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        self.monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password or self.password(user))
        return MlflowTracker(self.url, None)

    def get(self, path: str, user: str = "", password: str = "") -> int:
        login = (user, password or self.password(user)) if user else None
        return httpx.get(f"{self.url}{path}", auth=login, timeout=60).status_code


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """MLflow's server with its login, on SQLite and a folder."""
    folder, root = tmp_path_factory.mktemp("mlflow"), find_project().root
    (port,) = free_ports(1)
    secrets = make_secrets.made()
    own = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(folder),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets["MLFLOW_SECRET_KEY"],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    options = [f"--port={port}", "--host=127.0.0.1", "--workers=1", f"--artifacts-destination={folder}/artifacts"]
    with (folder / "log").open("wb") as log, pytest.MonkeyPatch.context() as patched:
        command = ["bash", root / "deploy" / "compose" / "mlflow.sh", *options, "--serve-artifacts"]
        process = subprocess.Popen(
            command, env=os.environ | secrets | own, stdout=log, stderr=log, start_new_session=True
        )
        try:
            until = time.monotonic() + START_SECONDS
            while not answers(f"http://127.0.0.1:{port}/health"):
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < until, f"MLflow did not start in {START_SECONDS} s"
                time.sleep(0.2)
            yield Server(f"http://127.0.0.1:{port}", secrets, patched)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def trained(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The training run of a model that Airflow's user registered."""
    tracker, folder = server.tracker("airflow"), tmp_path_factory.mktemp("model")
    (folder / "model.json").write_text("{}")
    run = tracker.start_run("churn", "train", DAY)
    tracker.log_files(run, folder, "reports")
    tracker.log_model(run, folder, pa.table({"visits": [1.0]}), pa.table({"score": [0.5]}))
    tracker.end_run(run, "finished")
    tracker.set_alias("churn", CHAMPION, "1")
    return run


def test_only_the_health_check_needs_no_login(server: Server, trained: str) -> None:
    assert server.get("/health") == 200
    for path in ("/", f"/api/2.0/mlflow/runs/get?run_id={trained}", "/version", "/docs", "/openapi.json"):
        assert server.get(path) == 401
        assert server.get(path, "admin", "password1234") == 401, "the password that MLflow once shipped"
        assert server.get(path, "notebook", "wrong") == 401
    asked = httpx.get(server.url, timeout=60).headers["www-authenticate"]
    assert asked.startswith("Basic "), "a browser that follows a link of Airflow's pages asks for the login"
    assert server.get("/", "notebook") == 200


@pytest.mark.parametrize("user", ["notebook", "pages"])
def test_a_reader_reads_models_and_artefacts(server: Server, trained: str, user: str, tmp_path: Path) -> None:
    tracker = server.tracker(user)
    assert [run.training_run for run in tracker.runs("churn")] == [trained]
    (version,) = tracker.versions("churn")
    assert version.aliases == (CHAMPION,)
    assert (tracker.model_folder("churn", "1", tmp_path) / "model.json").read_text() == "{}"
    assert tracker.fetch(trained, "reports/model.json", tmp_path / "reports").exists()


@pytest.mark.parametrize("user", ["notebook", "pages"])
def test_a_reader_writes_nothing(server: Server, trained: str, user: str, tmp_path: Path) -> None:
    tracker = server.tracker(user)
    (tmp_path / "model.json").write_text("[]")
    refused = f"it refused the user '{user}' .HTTP 403.*may only read.*Set MLFLOW_TRACKING_USERNAME"
    writes: tuple[Callable[[], object], ...] = (
        lambda: tracker.start_run("churn", "mine", DAY),
        lambda: tracker.log(trained, tags={"tailrace.model_digest": "another"}),
        lambda: tracker.log_files(trained, tmp_path, "reports"),
        lambda: tracker.set_alias("churn", CHAMPION, "1"),
        lambda: tracker.end_run(trained, "failed"),
    )
    for write in writes:
        with pytest.raises(BadInput, match=refused):
            write()
    client = MlflowClient(server.url, server.url)
    others: tuple[Callable[[], object], ...] = (
        lambda: client.create_experiment("mine"),
        lambda: client.create_registered_model("mine"),
        lambda: client.set_model_version_tag("churn", "1", "tailrace.model_digest", "another"),
        lambda: client.delete_model_version("churn", "1"),
        lambda: client.delete_run(trained),
    )
    for write in others:
        with pytest.raises(MlflowException, match="may only read"):
            write()
    stored = client.get_model_version("churn", "1").source.replace("mlflow-artifacts:", "")
    files = f"{server.url}/api/2.0/mlflow-artifacts/artifacts{stored}/MLmodel"
    login = (user, server.password(user))
    assert httpx.put(files, content=b"", auth=login, timeout=60).status_code == 403
    assert httpx.delete(files, auth=login, timeout=60).status_code == 403


def test_a_wrong_password_is_said_in_a_sentence(server: Server, trained: str) -> None:
    with pytest.raises(BadInput, match=r"it refused the user 'airflow' \(HTTP 401\)"):
        server.tracker("airflow", "wrong-password").run(trained)


def test_airflows_user_is_no_administrator(server: Server) -> None:
    new = {"username": "mallory", "password": "a-long-password"}
    for user, status in (("airflow", 403), ("notebook", 403), ("admin", 200)):
        made = httpx.post(
            f"{server.url}/api/2.0/mlflow/users/create", json=new, auth=(user, server.password(user)), timeout=30
        )
        assert made.status_code == status
