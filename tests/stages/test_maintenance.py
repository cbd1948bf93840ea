"""Upkeep covers every table of a pipeline, and what killed runs left in the folder for temporary files."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import re
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest

import tailrace
from tailrace.champions import model_versions, promotions
from tailrace.champions.promotions import Promotion
from tailrace.errors import ModelGone
from tailrace.lake.memory import MemoryLake
from tailrace.operations import maintenance
from tailrace.operations.maintenance import Upkept
from tailrace.operations.unneeded_runs import unneeded_runs
from tailrace.reporting import model_report
from tailrace.rows import staleness
from tailrace.settings import UpkeepSettings
from tailrace.stages import evaluate, promote
from tests.stages.conftest import memory

DAY = dt.date(2013, 1, 9)
NOW = dt.datetime(2013, 3, 1, tzinfo=dt.UTC)


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_every_table_of_the_pipeline_is_kept_small(services, spec, temporary):
    lake = services.lake
    tables = (spec.features_table, spec.outcomes_table, spec.predictions_table, spec.performance_table)
    tables += (staleness.table(spec),)
    for table in tables:
        lake.publish(lake.stage(table, DAY, "r", pa.table({"x": [1]}).to_reader()), {})
    for version in ("1", "2"):
        promotions.record(
            lake,
            Promotion(
                pipeline="churn",
                version=version,
                effective_from=DAY,
                recorded_at=NOW,
                training_run="run",
                decided_by="ada",
                reason="it is better",
            ),
        )
    done = maintenance.maintain(services, spec, dt.timedelta(days=30))
    assert [row.table for row in done] == [*tables, promotions.TABLE]
    assert [row.version for row in promotions.decisions(lake, "churn")] == ["2", "1"]


def test_no_table_of_the_lake_is_forgotten(spec):
    texts = [source.read_text() for source in Path(tailrace.__file__).parent.rglob("*.py")]
    shared = {name for text in texts for name in re.findall(r'^TABLE = "(\w+)"', text, re.MULTILINE)}
    assert shared - {"rows"} == set(maintenance.SHARED_TABLES), "`rows` is in the validator's own database"
    own = {name for text in texts for name in re.findall(r'return f"(\w+)/\{(?:self|spec)\.name\}"', text)}
    assert {f"{name}/{spec.name}" for name in own} == set(maintenance.tables_of(spec))


def test_every_temporary_folder_of_the_package_is_known():
    sources = Path(tailrace.__file__).parent.rglob("*.py")
    used = {name for source in sources for name in re.findall(r'prefix="tailrace-([a-z-]+)-"', source.read_text())}
    assert used == set(maintenance.PURPOSES)


def test_temporary_folders_of_killed_runs_are_removed_and_nothing_else(services, spec, temporary):
    def left(name: str, file_days: int, folder_days: int = 40) -> Path:
        folder = temporary / name
        folder.mkdir()
        (folder / "model.ubj").write_bytes(b"half")
        for path, days in ((folder / "model.ubj", file_days), (folder, folder_days)):
            then = dt.datetime.now().timestamp() - days * 86_400
            os.utime(path, (then, then))
        return folder

    old = [left("tailrace-train-a1b2c3d4", 40), left("tailrace-validation-abcd_f12", 31)]
    kept = [
        left("tailrace-train-b1b2c3d4", 29),
        left("tailrace-train-c1b2c3d4", 40, folder_days=1),
        left("tailrace-postgres", 40),
        left("somebody-else-a1b2c3d4", 40),
    ]
    (temporary / "tailrace-model-a1b2c3d4").symlink_to(kept[-1])
    found = maintenance.maintain(services, spec, dt.timedelta(days=30), dry_run=True)
    assert all(folder.exists() for folder in old)
    done = maintenance.maintain(services, spec, dt.timedelta(days=30))
    assert done == [Upkept(table="temporary folders", deleted=2, bytes=8)]
    assert done == found
    assert not [folder for folder in old if folder.exists()]
    assert all((folder / "model.ubj").exists() for folder in kept)


def _stopped(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("services", [memory], indirect=True, ids=["memory"])
def test_models_that_never_were_champion_go_and_no_other_is_touched(loop, services, spec, monkeypatch, temporary):
    monkeypatch.setattr(model_report, "write", lambda folder, judged: None)
    loop.take()
    first = loop.challenge(DAY)
    loop.predict(DAY)
    unneeded = loop.train(DAY + dt.timedelta(days=1)).training_run
    evaluate.run(loop.work(), unneeded)
    newest = loop.train(DAY + dt.timedelta(days=2)).training_run
    versions = {version.training_run: version.version for version in services.tracker.versions(spec.name)}
    kept = next(run for run, number in versions.items() if number == first.version)

    def upkeep(days: int, *, dry_run: bool = False) -> Upkept:
        settings = UpkeepSettings(models_days=days)
        *_, models = maintenance.of_pipeline(services, spec, settings, dry_run=dry_run)
        return models

    assert upkeep(365).deleted == upkeep(0).deleted == 0
    now = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    assert [run.training_run for run in unneeded_runs(services, spec, now)] == [unneeded]
    monkeypatch.setattr(maintenance, "unneeded_runs", lambda services, spec, before: unneeded_runs(services, spec, now))
    another = dataclasses.replace(services, lake=MemoryLake())
    assert unneeded_runs(another, spec, now) == (), "a lake that does not know the champion cannot say what is needed"
    found = upkeep(365, dry_run=True)
    assert found.deleted > 1
    assert found.bytes > 0
    with monkeypatch.context() as interrupted:
        interrupted.setattr(shutil, "rmtree", _stopped)
        with pytest.raises(KeyboardInterrupt):
            upkeep(365)
    assert upkeep(365).bytes == found.bytes, "an interrupted deletion is finished by the next upkeep"
    assert unneeded_runs(services, spec, now) == ()
    for training_run in (kept, newest):
        model_versions.load(services, spec, versions[training_run])
    with pytest.raises(ModelGone, match="deleted by upkeep"):
        model_versions.load(services, spec, versions[unneeded])
    with pytest.raises(ModelGone, match=f"version {versions[unneeded]} were deleted by upkeep"):
        promote.approve(loop.work(), unneeded, recorded_at=NOW, decided_by="ada", reason="it is better")
    again = loop.train(DAY + dt.timedelta(days=1))
    assert not again.unchanged, "a training of the same inputs makes the files anew"
