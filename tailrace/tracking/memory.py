"""A tracker that keeps runs in memory and artefacts in a folder, for tests and experiments."""

from __future__ import annotations

import datetime as dt
import shutil
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from tailrace.contracts import ModelVersion, Pin, RunRecord, Shrunk, Trial
from tailrace.errors import UnknownName
from tailrace.lineage import run_tags
from tailrace.lineage.pins import to_tags
from tailrace.tracking import folders, processes

Status = Literal["running", "finished", "failed", "killed"]


@dataclass(kw_only=True)
class _Run:
    pipeline: str
    started_at: dt.datetime
    status: Status = "running"
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class MemoryTracker:
    """Keeps runs and versions as long as the object lives; their artefacts go to `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trials: dict[str, list[Trial]] = {}
        self._runs: dict[str, _Run] = {}
        self._versions: dict[str, list[ModelVersion]] = {}
        self._aliases: dict[str, dict[str, str]] = {}
        self._lock = threading.RLock()

    def start_run(self, pipeline: str, name: str, tags: Mapping[str, str]) -> str:
        training_run = uuid.uuid4().hex
        with self._lock:
            for other in self._runs.values():
                if other.pipeline == pipeline and other.status == "running":
                    self._close_if_dead(other, training_run)
            self._runs[training_run] = _Run(
                pipeline=pipeline,
                started_at=dt.datetime.now(dt.UTC),
                tags={"tailrace.name": name, **processes.identity(), **tags},
            )
        return training_run

    def close_runs_of(self, pipeline: str, host: str, why: str) -> None:
        with self._lock:
            for run in self._runs.values():
                if (run.pipeline, run.status, run.tags[run_tags.HOST]) == (pipeline, "running", host):
                    self._close(run, why, processes.here())

    def log_trial(self, training_run: str, trial: Trial) -> None:
        with self._lock:
            self._find(training_run).tags.update(processes.heartbeat())
            self.trials.setdefault(training_run, []).append(trial)

    def log_inputs(self, training_run: str, pins: Mapping[str, Pin]) -> None:
        self.log(training_run, tags=to_tags(pins))

    def log(
        self,
        training_run: str,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        with self._lock:
            run = self._find(training_run)
            run.params.update({name: str(value) for name, value in (params or {}).items()})
            run.metrics.update({name: float(value) for name, value in (metrics or {}).items()})
            run.tags.update({**processes.heartbeat(), **(tags or {})})

    def log_files(self, training_run: str, folder: Path, under: str) -> None:
        folders.require(folder)
        self._find(training_run).tags.update(processes.heartbeat())
        shutil.copytree(folder, self._artefacts(training_run) / under, dirs_exist_ok=True)

    def log_model(self, training_run: str, folder: Path, example: pa.Table, predictions: pa.Table) -> str:
        folders.require(folder)
        with self._lock:
            run = self._find(training_run)
            known = self._versions.setdefault(run.pipeline, [])
            for version in known:
                if version.training_run == training_run:
                    return version.version
            created = ModelVersion(
                pipeline=run.pipeline,
                version=str(len(known) + 1),
                training_run=training_run,
                created_at=dt.datetime.now(dt.UTC),
                aliases=(),
                tags={run_tags.MODEL_DIGEST: folders.digest(folder)},
            )
            shutil.copytree(folder, self._model(created))
            known.append(created)
            return created.version

    def end_run(self, training_run: str, status: Literal["finished", "failed"]) -> None:
        self._find(training_run).status = status

    def run(self, training_run: str) -> RunRecord:
        return self._record(training_run, self._find(training_run))

    def runs(self, pipeline: str) -> tuple[RunRecord, ...]:
        with self._lock:
            mine = [(training_run, run) for training_run, run in self._runs.items() if run.pipeline == pipeline]
        return tuple(self._record(training_run, run) for training_run, run in reversed(mine))

    def fetch(self, training_run: str, path: str, folder: Path) -> Path:
        self._find(training_run)
        root = self._artefacts(training_run)
        source = root / path
        if not source.exists():
            raise UnknownName(
                f"artefact of run {training_run}", path, [str(p.relative_to(root)) for p in root.rglob("*")]
            )
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
        return target

    def model_folder(self, pipeline: str, version: str, folder: Path, digest: str = "") -> Path:
        found = self._find_version(pipeline, version)
        folders.refuse_deleted(self._find(found.training_run).tags, pipeline, version)
        folder.mkdir(parents=True, exist_ok=True)
        return folders.deliver(
            self._model(found),
            found.tags[run_tags.MODEL_DIGEST],
            folder=folder,
            pipeline=pipeline,
            version=version,
            decided=digest,
        )

    def versions(self, pipeline: str) -> tuple[ModelVersion, ...]:
        with self._lock:
            aliases = self._aliases.get(pipeline, {})
            return tuple(
                replace(version, aliases=tuple(sorted(a for a, v in aliases.items() if v == version.version)))
                for version in reversed(self._versions.get(pipeline, []))
            )

    def shrink(self, training_run: str, *, dry_run: bool = False) -> Shrunk:
        run = self._find(training_run)
        versions = [each for each in self._versions.get(run.pipeline, []) if each.training_run == training_run]
        files = [file for each in versions for file in self._model(each).rglob("*") if file.is_file()]
        trials = len(self.trials.get(training_run, []))
        found = Shrunk(trials=trials, files=len(files), bytes=sum(file.stat().st_size for file in files))
        if not dry_run:
            run.tags[run_tags.FILES_DELETED] = folders.today()
            self.trials.pop(training_run, None)
            for each in versions:
                shutil.rmtree(self._model(each), ignore_errors=True)
            run.tags[run_tags.FILES_DELETED_ALL] = folders.today()
        return found

    def set_alias(self, pipeline: str, alias: str, version: str) -> None:
        with self._lock:
            self._aliases.setdefault(pipeline, {})[alias] = self._find_version(pipeline, version).version

    def _find(self, training_run: str) -> _Run:
        if training_run not in self._runs:
            raise UnknownName("run", training_run, self._runs)
        return self._runs[training_run]

    def _find_version(self, pipeline: str, version: str) -> ModelVersion:
        known = {found.version: found for found in self._versions.get(pipeline, [])}
        if version not in known:
            raise UnknownName(f"model version of {pipeline}", version, known)
        return known[version]

    def _close_if_dead(self, run: _Run, closed_by: str) -> None:
        reason = processes.why_dead(run.tags)
        if reason:
            self._close(run, reason, closed_by)

    def _close(self, run: _Run, why: str, closed_by: str) -> None:
        run.status = "killed"
        run.tags.update({run_tags.CLOSED_BECAUSE: why, run_tags.CLOSED_BY: closed_by})

    def _artefacts(self, training_run: str) -> Path:
        return self.folder / "runs" / training_run

    def _model(self, version: ModelVersion) -> Path:
        return self.folder / "models" / version.pipeline / version.version

    def _record(self, training_run: str, run: _Run) -> RunRecord:
        return RunRecord(
            training_run=training_run,
            pipeline=run.pipeline,
            status=run.status,
            started_at=run.started_at,
            params=dict(run.params),
            metrics=dict(run.metrics),
            tags=dict(run.tags),
        )
