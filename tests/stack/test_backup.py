"""A backup of an installation at work: whatever nights do meanwhile, nothing that is restored refers to what is not."""

from __future__ import annotations

import datetime as dt
import importlib.util
import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import boto3
import pyarrow as pa
import pytest

from scripts import backup, restore
from scripts.postgres import Postgres
from tailrace import settings
from tailrace.champions import model_versions, promotions
from tailrace.lake.delta import DeltaLake
from tailrace.lineage import pins
from tailrace.reporting import model_report
from tailrace.spec import Gate
from tailrace.stages import evaluate, monitor, promote
from tailrace.tracking.mlflow import MlflowTracker
from tailrace.wiring import Wiring
from tests.object_store import s3_server
from tests.stages.conftest import NOW, Installation, Loop, embedded, installation, memory
from tests.support import mlflow_database, work

FIRST, LAST = dt.date(2013, 1, 9), dt.date(2013, 1, 14)


class Nights:
    """An installation at work: each night has other features, another champion, and predictions by it."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.passed = 0
        # What a training as of FIRST reads, and the day that is predicted.
        loop.take(FIRST - dt.timedelta(days=7), FIRST)
        loop.take(LAST, LAST)

    def __call__(self) -> None:
        services, spec, self.passed = self.loop.services, self.loop.spec, self.passed + 1
        table = services.tables["churn_features"]
        column = table.schema.get_field_index("visits")
        services.rebuild(churn_features=table.set_column(column, "visits", pa.compute.add(table["visits"], 1)))
        for day in (FIRST - dt.timedelta(days=1), LAST):
            self.loop.take(day, day, f"night {self.passed}")
        trained = self.loop.train(FIRST, seed=100 + self.passed)
        evaluate.run(work(services, spec), trained.training_run)
        made = {"recorded_at": NOW + dt.timedelta(days=self.passed), "decided_by": "ada", "reason": "r"}
        promote.run(work(services, spec), trained.training_run, **made)
        self.loop.predict(LAST, f"night {self.passed}", trained.version)
        monitor.run(work(services, spec, f"night {self.passed}"), LAST)


@pytest.fixture
def at_work(monkeypatch: pytest.MonkeyPatch) -> Callable[[Installation, object], Nights]:
    """Nights on services whose gate lets every challenger pass to a person."""
    # Its pictures take longer than all the rest, and decide nothing.
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    passes = Gate(metric="log_loss", ceiling=100.0, margin=-100.0, approval="human")
    return lambda services, spec: Nights(Loop(services, replace(spec, gate=passes)))


def refers_to_what_is_there(lake: DeltaLake, tracker: MlflowTracker, services: Installation, spec) -> int:
    """How many model versions there are, after every reference between them, tables and pins was followed."""
    known = {version.version: version.training_run for version in tracker.versions("churn")}
    decided = promotions.decisions(lake, "churn")
    assert {(row.version, row.training_run) for row in decided} <= set(known.items())
    for table in (spec.predictions_table, spec.performance_table):
        named = set(lake.read(table).read_all()["model_version"].to_pylist())
        assert named <= known.keys(), f"{table} names versions that the registry does not know"
    for commit in lake.commits(spec.predictions_table):
        assert lake.read_pin(pins.from_json(commit.metadata["features_pin"])).read_all().num_rows == commit.rows
    restored = replace(services, lake=lake, tracker=tracker)
    for version, training_run in known.items():
        model_versions.load(restored, spec, version)
        for pin in pins.from_tags(tracker.run(training_run).tags).values():
            assert lake.read_pin(pin).read_all().num_rows == pin.rows
    return len(known)


def before(monkeypatch: pytest.MonkeyPatch, module: object, name: str, night: Callable[[], None]) -> None:
    """Let a night pass before each call of a step."""
    step = getattr(module, name)

    def interrupted(*given, **named):
        night()
        return step(*given, **named)

    monkeypatch.setattr(module, name, interrupted)


@pytest.fixture
def home(tmp_path: Path) -> settings.Settings:
    """What `make up` keeps, with the metadata database that a backup dumps."""
    configured = settings.load({"TAILRACE_HOME": str(tmp_path)})
    postgres = Postgres(configured.home / "airflow" / "postgres")
    postgres.start("airflow")
    postgres.stop()
    return configured


@pytest.mark.services
def test_a_backup_beside_running_nights_restores_to_what_refers_to_nothing_missing(home, spec, monkeypatch, at_work):
    services = installation(embedded, home.home, spec)
    night = at_work(services, spec)
    night()
    for step in ("table_versions", "copy_sqlite", "copy_table"):
        before(monkeypatch, backup, step, night)
    made = home.home.with_name("backup")
    manifest = backup.back_up(home, made)
    assert night.passed > 6, "it was at work"
    assert manifest["tables"]["promotions"] < night.passed

    restore.restore(home, made, over=True)
    # By another name of the same file: this process holds the one that was moved aside open.
    tracker = MlflowTracker(f"sqlite:///{home.home}/./mlflow.db", home.artifacts)
    versions = refers_to_what_is_there(Wiring(home).lake, tracker, services, spec)
    assert 2 <= versions < night.passed, "some nights are in the backup, and not all"


def test_what_a_run_discards_meanwhile_is_left_out(tmp_path, monkeypatch):
    source = tmp_path / "table"
    for name in ("ds=1/run-a/kept.parquet", "ds=1/run-b/gone.parquet", "ds=2/run-c/folder gone.parquet", "x.partial"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("rows")
    copied = []

    def discarding(file, target):
        copied.append(file)
        if len(copied) == 1:
            (source / "ds=1/run-b/gone.parquet").unlink(missing_ok=True)
            shutil.rmtree(source / "ds=2")
        copy_if_there(file, target)

    copy_if_there = backup.copy_if_there
    monkeypatch.setattr(backup, "copy_if_there", discarding)
    backup.copy_living(source, tmp_path / "copy")
    assert [file.name for file in backup.files_of(tmp_path / "copy")] == ["kept.parquet"]


def test_what_cannot_be_read_is_no_backup(tmp_path, monkeypatch):
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "file").write_text("rows")

    def broken(file, target):
        raise OSError("Input/output error")

    monkeypatch.setattr(backup, "copy_if_there", broken)
    with pytest.raises(shutil.Error, match="Input/output error"):
        backup.copy_living(tmp_path / "table", tmp_path / "copy")


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """deploy/compose/objects.py, which is copied into an image as it is."""
    path = settings.find_project().root / "deploy" / "compose" / "objects.py"
    found = importlib.util.spec_from_file_location("objects", path)
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def printed(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> bytes:
    """What is written to standard output, as bytes."""
    written = io.BytesIO()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", io.TextIOWrapper(written, write_through=True))
        act()
        sys.stdout.detach()
    return written.getvalue()


def given(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], content: bytes) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        act()


def store_of_compose(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Point everything at an object store with compose's two buckets, empty."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", variables["AWS_ENDPOINT_URL"])
    store = boto3.client("s3", region_name=variables["AWS_REGION"])
    for bucket in ("tailrace", "mlflow"):
        store.create_bucket(Bucket=bucket)


@pytest.mark.services
def test_composes_backup_beside_running_nights_restores_alike(tmp_path, spec, monkeypatch, at_work, objects):
    """With MLflow's database in a file: its dump is one moment's, as pg_dump's is."""
    registry, artifacts = mlflow_database(tmp_path), "s3://mlflow/artifacts"
    with s3_server() as store, monkeypatch.context() as at_first:
        store_of_compose(at_first, store)
        lake = DeltaLake("s3://tailrace/lake", {"AWS_ALLOW_HTTP": "true"})
        services = replace(installation(memory, tmp_path, spec), lake=lake, tracker=MlflowTracker(registry, artifacts))
        night = at_work(services, spec)
        night()
        limits = printed(monkeypatch, objects.versions)
        night()
        backup.copy_sqlite(tmp_path / "mlflow.db", tmp_path / "dump.db")
        night()
        before(at_first, objects, "too_late", lambda: night() if night.passed < 4 else None)
        saved = printed(monkeypatch, lambda: objects.save(limits.decode()))
        assert json.loads(limits)["promotions"] == 1, "the table was made, and one row added"
        objects.client.cache_clear()

    with s3_server() as store:
        store_of_compose(monkeypatch, store)
        given(monkeypatch, objects.load, saved)
        tracker = MlflowTracker(f"sqlite:///{tmp_path / 'dump.db'}", artifacts)
        lake = DeltaLake("s3://tailrace/lake", {"AWS_ALLOW_HTTP": "true"})
        assert refers_to_what_is_there(lake, tracker, services, spec) == 2, "those of before MLflow's dump"
        with pytest.raises(SystemExit, match="A backup is restored only into empty buckets"):
            given(monkeypatch, objects.load, saved)
        objects.client.cache_clear()
