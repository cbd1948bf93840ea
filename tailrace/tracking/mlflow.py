"""The tracker on MLflow: one experiment and one registered model per pipeline, trials nested in runs.

Every call names its run explicitly; nothing depends on MLflow's active run, so threads may share a tracker.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from tailrace.contracts import ModelVersion, Pin, RunRecord, Shrunk, Trial
from tailrace.errors import ModelGone, UnknownName
from tailrace.lineage import run_tags
from tailrace.lineage.pins import to_json, to_tags
from tailrace.settings import Settings
from tailrace.tracking import folders, locations, processes
from tailrace.tracking.mlflow_seam import mlflow_call

# isort: split
import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModel, Metric, Param, Run, RunTag
from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import ExclusiveFileLock
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID
from mlflow.utils.validation import (
    MAX_DATASET_DIGEST_SIZE,
    MAX_PARAM_VAL_LENGTH,
    MAX_PARAMS_TAGS_PER_BATCH,
    MAX_TAG_VAL_LENGTH,
)

from tailrace.tracking import mlflow_artifacts, mlflow_model

STATUS: Mapping[str, Literal["running", "finished", "failed", "killed"]] = {
    "RUNNING": "running",
    "SCHEDULED": "running",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "killed",
}
TRIAL_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
SQLITE = "sqlite:///"
OWN_TAGS_OF_MLFLOW = "mlflow."
RECENT_RUNS = 10


class MlflowTracker:
    """Runs and models in MLflow at `uri` (a server, or a database such as sqlite:////data/mlflow.db).

    `artifacts` is where runs keep their files, including runs whose files were moved there later (None: MLflow
    chooses). `ui_url` is the URL of MLflow's pages; `loader_module` is what MLflow's tools import to load a model.
    """

    def __init__(
        self,
        uri: str,
        artifacts: str | None,
        ui_url: str | None = None,
        loader_module: str = "tailrace.engines.pyfunc",
    ) -> None:
        self.uri = uri
        self.artifacts = artifacts
        self.ui_url = ui_url
        self.loader_module = loader_module

    @classmethod
    def from_settings(cls, settings: Settings) -> MlflowTracker:
        """The configured server or database; a server keeps the artefacts itself."""
        artifacts = None if settings.tracking_uri.startswith("http") else settings.artifacts
        return cls(settings.tracking_uri, artifacts, settings.tracking_ui or None)

    @mlflow_call("open a run")
    def start_run(self, pipeline: str, name: str, tags: Mapping[str, str]) -> str:
        experiment_id = self._experiment(pipeline)
        orphans = [(run, why) for run in self._running(experiment_id) if (why := processes.why_dead(run.data.tags))]
        training_run = self._client.create_run(
            experiment_id,
            run_name=name,
            # In the same call as the run: code that lists runs in between would read a run without its day.
            tags={
                run_tags.PIPELINE: pipeline,
                run_tags.KIND: run_tags.TRAINING,
                **processes.identity(),
                **_all_fitting(tags),
            },
        ).info.run_id
        self._write(training_run, {}, {}, {name: tag for name, tag in tags.items() if len(tag) > MAX_TAG_VAL_LENGTH})
        for run, why in orphans:
            self._close(run, why, training_run)
        return training_run

    @mlflow_call("close the runs of a lost host")
    def close_runs_of(self, pipeline: str, host: str, why: str) -> None:
        for run in self._running(self._experiment(pipeline)):
            if run.data.tags.get(run_tags.HOST) == host:
                self._close(run, why, processes.here())

    @mlflow_call("record a trial")
    def log_trial(self, training_run: str, trial: Trial) -> None:
        parent = self._get_run(training_run)
        ended = int(time.time() * 1000)
        tags = {MLFLOW_PARENT_RUN_ID: training_run, run_tags.KIND: run_tags.TRIAL, run_tags.TRIAL_STATE: trial.state}
        child = self._client.create_run(
            parent.info.experiment_id,
            start_time=ended - int(trial.seconds * 1000),
            run_name=f"trial {trial.number}: {trial.candidate}",
            tags=tags | {run_tags.PIPELINE: parent.data.tags[run_tags.PIPELINE], **processes.identity()},
        ).info.run_id
        metrics = {"seconds": trial.seconds} | ({"value": trial.value} if trial.value is not None else {})
        self._write(child, {"candidate": trial.candidate, **trial.parameters}, metrics, {})
        self._client.set_terminated(child, TRIAL_STATUS[trial.state], end_time=ended)
        self._write(training_run, {}, {}, processes.heartbeat())

    @mlflow_call("record the inputs of a run")
    def log_inputs(self, training_run: str, pins: Mapping[str, Pin]) -> None:
        self._client.log_inputs(training_run, [_dataset(role, pin) for role, pin in pins.items()])
        self._write(training_run, {}, {}, processes.heartbeat() | to_tags(pins))

    @mlflow_call("record parameters, metrics or tags")
    def log(
        self,
        training_run: str,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._write(training_run, params or {}, metrics or {}, processes.heartbeat() | dict(tags or {}))

    @mlflow_call("store files of a run")
    def log_files(self, training_run: str, folder: Path, under: str) -> None:
        folders.require(folder)
        self._client.log_artifacts(training_run, str(folder), under)
        self._write(training_run, {}, {}, processes.heartbeat())

    @mlflow_call("register a model")
    def log_model(self, training_run: str, folder: Path, example: pa.Table, predictions: pa.Table) -> str:
        folders.require(folder)
        run = self._get_run(training_run)
        pipeline = run.data.tags[run_tags.PIPELINE]
        self._registered_model(pipeline)
        for version in self._search_versions(f"name = '{pipeline}' and run_id = '{training_run}'"):
            return str(version.version)
        with tempfile.TemporaryDirectory(prefix="tailrace-tracking-") as scratch:
            pyfunc = Path(scratch) / "pyfunc"
            mlflow_model.write_pyfunc(
                folder, pyfunc, loader_module=self.loader_module, example=example, predictions=predictions
            )
            model = self._upload(run, pyfunc)
        versions = {f"library.{name}": version for name, version in mlflow_model.library_versions().items()}
        created = self._client.create_model_version(
            pipeline,
            # Not models:/<id>, which MLflow's SQL store resolves against its global tracking URI.
            source=model.artifact_location,
            run_id=training_run,
            model_id=model.model_id,
            tags={run_tags.MODEL_DIGEST: folders.digest(folder), **versions},
        )
        self._write(training_run, {}, {}, processes.heartbeat())
        return str(created.version)

    @mlflow_call("close a run")
    def end_run(self, training_run: str, status: Literal["finished", "failed"]) -> None:
        self._client.set_terminated(training_run, status.upper())

    @mlflow_call("read a run")
    def run(self, training_run: str) -> RunRecord:
        return self._record(self._get_run(training_run))

    @mlflow_call("list the runs")
    def runs(self, pipeline: str) -> tuple[RunRecord, ...]:
        experiment = self._client.get_experiment_by_name(pipeline)
        if experiment is None:
            return ()
        found = self._search_runs(experiment.experiment_id, f"tags.`{run_tags.KIND}` = '{run_tags.TRAINING}'")
        return tuple(self._record(run) for run in found)

    @mlflow_call("download files of a run")
    def fetch(self, training_run: str, path: str, folder: Path) -> Path:
        self._get_run(training_run)
        parent = Path(path).parent.as_posix()
        listed = [file.path for file in self._client.list_artifacts(training_run, None if parent == "." else parent)]
        if path.rstrip("/") not in listed:
            raise UnknownName(f"artefact of run {training_run}", path, listed)
        folder.mkdir(parents=True, exist_ok=True)
        return Path(self._client.download_artifacts(training_run, path, str(folder)))

    @mlflow_call("download a model")
    def model_folder(self, pipeline: str, version: str, folder: Path, digest: str = "") -> Path:
        found = self._find_version(pipeline, version)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="tailrace-tracking-") as scratch:
            try:
                pyfunc = mlflow.artifacts.download_artifacts(
                    artifact_uri=found.source, dst_path=scratch, tracking_uri=self.uri
                )
            except (MlflowException, OSError):
                self._refuse_if_gone(pipeline, version, found)
                raise
            files = mlflow_model.saved_files(Path(pyfunc))
            return folders.deliver(
                files,
                found.tags[run_tags.MODEL_DIGEST],
                folder=folder,
                pipeline=pipeline,
                version=version,
                decided=digest,
            )

    @mlflow_call("list the model versions")
    def versions(self, pipeline: str) -> tuple[ModelVersion, ...]:
        aliases = self._aliases(pipeline)
        return tuple(
            ModelVersion(
                pipeline=pipeline,
                version=str(version.version),
                training_run=version.run_id or "",
                created_at=_moment(version.creation_timestamp),
                aliases=tuple(sorted(alias for alias, number in aliases.items() if number == str(version.version))),
                tags=dict(version.tags),
            )
            for version in self._all_versions(pipeline)
        )

    @mlflow_call("delete the trials and the model of a run")
    def shrink(self, training_run: str, *, dry_run: bool = False) -> Shrunk:
        run = self._get_run(training_run)
        pipeline, experiment = run.data.tags[run_tags.PIPELINE], run.info.experiment_id
        trials = list(self._search_runs(experiment, f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{training_run}'"))
        versions = list(self._search_versions(f"name = '{pipeline}' and run_id = '{training_run}'"))
        stores = [mlflow_artifacts.store_of(version.source, self.uri) for version in versions]
        sizes = [size for store in stores for size in mlflow_artifacts.sizes(store)]
        if not dry_run:
            # First, so that whoever asks for the model in between is told why it is gone.
            self._write(training_run, {}, {}, {run_tags.FILES_DELETED: folders.today()})
            for store in stores:
                store.delete_artifacts()
            for trial in trials:
                mlflow_artifacts.delete_run(self._client, trial.info.run_id)
            self._write(training_run, {}, {}, {run_tags.FILES_DELETED_ALL: folders.today()})
        return Shrunk(trials=len(trials), files=len(sizes), bytes=sum(sizes))

    @mlflow_call("set an alias")
    def set_alias(self, pipeline: str, alias: str, version: str) -> None:
        self._find_version(pipeline, version)
        self._client.set_registered_model_alias(pipeline, alias, version)

    @functools.cached_property
    def _client(self) -> MlflowClient:
        if not self.uri.startswith(SQLITE):
            return MlflowClient(self.uri, self.uri)
        database = Path(self.uri.removeprefix(SQLITE))
        database.parent.mkdir(parents=True, exist_ok=True)
        # A process that opens a database while another process still creates it would migrate it a second time.
        with ExclusiveFileLock(f"{database}.lock"):
            client = MlflowClient(self.uri, self.uri)
            client.search_registered_models(max_results=1)  # also opens the registry's store
            if self.artifacts:
                locations.settle(self.uri, self.artifacts)
            return client

    def _experiment(self, pipeline: str) -> str:
        """The id of the pipeline's experiment; it is created if it is new, and restored if somebody deleted it."""
        location = f"{self.artifacts.rstrip('/')}/{pipeline}" if self.artifacts else None
        found = self._client.get_experiment_by_name(pipeline)
        if found is None:
            _unless_exists(lambda: self._client.create_experiment(pipeline, artifact_location=location))
            return self._experiment(pipeline)
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return found.experiment_id

    def _refuse_if_gone(self, pipeline: str, version: str, found: MlflowVersion) -> None:
        """Raises ModelGone if upkeep deleted the files, or the artefact store answers but has no files there."""
        folders.refuse_deleted(self._get_run(found.run_id).data.tags, pipeline, version)
        source = found.source
        place = locations.local(source)
        if place.exists() if place else mlflow.artifacts.list_artifacts(artifact_uri=source, tracking_uri=self.uri):
            return
        raise ModelGone(
            f"The files of {pipeline} version {version} are gone: nothing is stored at {place or source}. Restore the "
            "artefact store from a backup, set TAILRACE_ARTIFACTS to its present place, or use another version."
        )

    def _registered_model(self, pipeline: str) -> None:
        _unless_exists(lambda: self._client.create_registered_model(pipeline))

    def _upload(self, run: Run, pyfunc: Path) -> LoggedModel:
        """Store a pyfunc folder as a model of the run; a failed upload is marked as failed."""
        model = self._client.create_logged_model(
            run.info.experiment_id, name=run.data.tags[run_tags.PIPELINE], source_run_id=run.info.run_id
        )
        try:
            self._client.log_model_artifacts(model.model_id, str(pyfunc))
        except BaseException:
            self._client.finalize_logged_model(model.model_id, "FAILED")
            raise
        return self._client.finalize_logged_model(model.model_id, "READY")

    def _close(self, run: Run, why: str, closed_by: str) -> None:
        """Mark a run, and those of its trials that are still open, as killed."""
        experiment_id, run_id = run.info.experiment_id, run.info.run_id
        trials = self._search_runs(
            experiment_id, f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}' and attributes.status = 'RUNNING'"
        )
        for left_open in [*trials, run]:
            self._write(left_open.info.run_id, {}, {}, {run_tags.CLOSED_BECAUSE: why, run_tags.CLOSED_BY: closed_by})
            self._client.set_terminated(left_open.info.run_id, "KILLED")

    def _running(self, experiment_id: str) -> list[Run]:
        return list(
            self._search_runs(
                experiment_id, f"attributes.status = 'RUNNING' and tags.`{run_tags.KIND}` = '{run_tags.TRAINING}'"
            )
        )

    def _write(
        self, run_id: str, params: Mapping[str, Any], metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        """Log everything with as few requests as MLflow's limits allow."""
        now = int(time.time() * 1000)
        text = {
            name: self._fitting(run_id, f"params/{name}", str(value), MAX_PARAM_VAL_LENGTH)
            for name, value in params.items()
        }
        marks = {
            name: self._fitting(run_id, f"tags/{name}", str(value), MAX_TAG_VAL_LENGTH) for name, value in tags.items()
        }
        entities: list[Param | Metric | RunTag] = [
            *(Param(name, value) for name, value in text.items()),
            *(RunTag(name, value) for name, value in marks.items()),
            *(Metric(name, float(value), now, 0) for name, value in metrics.items()),
        ]
        for start in range(0, len(entities), MAX_PARAMS_TAGS_PER_BATCH):
            batch = entities[start : start + MAX_PARAMS_TAGS_PER_BATCH]
            self._client.log_batch(
                run_id,
                params=[entity for entity in batch if isinstance(entity, Param)],
                tags=[entity for entity in batch if isinstance(entity, RunTag)],
                metrics=[entity for entity in batch if isinstance(entity, Metric)],
            )

    def _fitting(self, run_id: str, name: str, value: str, limit: int) -> str:
        """The value if it is short enough for MLflow; else its beginning; the full value is stored as an artefact."""
        if len(value) > limit:
            self._client.log_text(run_id, value, f"long/{name}.txt")
        return _shortened(value, limit)

    def _search_runs(self, experiment_id: str, query: str) -> Iterator[Run]:
        yield from _pages(
            lambda token: self._client.search_runs(
                [experiment_id], query, order_by=["attributes.start_time DESC"], page_token=token
            )
        )

    def _search_versions(self, query: str) -> Iterator[MlflowVersion]:
        yield from _pages(lambda token: self._client.search_model_versions(query, page_token=token))

    def _all_versions(self, pipeline: str) -> list[MlflowVersion]:
        return sorted(self._search_versions(f"name = '{pipeline}'"), key=lambda v: int(v.version), reverse=True)

    def _find_version(self, pipeline: str, version: str) -> MlflowVersion:
        known = {str(found.version): found for found in self._all_versions(pipeline)}
        if version not in known:
            raise UnknownName(f"model version of {pipeline}", version, known)
        return known[version]

    def _aliases(self, pipeline: str) -> dict[str, str]:
        """A mapping from alias to version; empty if nothing is registered yet."""
        try:
            aliases = self._client.get_registered_model(pipeline).aliases
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: str(version) for alias, version in aliases.items()}

    def _get_run(self, run_id: str) -> Run:
        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise UnknownName("run", run_id, self._recent_runs()) from error

    def _recent_runs(self) -> list[str]:
        experiments = [experiment.experiment_id for experiment in self._client.search_experiments()]
        newest = self._client.search_runs(
            experiments, f"tags.`{run_tags.KIND}` = '{run_tags.TRAINING}'", max_results=RECENT_RUNS
        )
        return [run.info.run_id for run in newest]

    def _record(self, run: Run) -> RunRecord:
        info = run.info
        page = f"/#/experiments/{info.experiment_id}/runs/{info.run_id}"
        return RunRecord(
            training_run=info.run_id,
            pipeline=run.data.tags.get(run_tags.PIPELINE, ""),
            status=STATUS[info.status],
            started_at=_moment(info.start_time),
            params=dict(run.data.params),
            metrics=dict(run.data.metrics),
            tags={name: tag for name, tag in run.data.tags.items() if not name.startswith(OWN_TAGS_OF_MLFLOW)},
            url=self.ui_url.rstrip("/") + page if self.ui_url else "",
        )


def _dataset(role: str, pin: Pin) -> DatasetInput:
    """The pin in the form in which MLflow shows inputs; the field `source` has all of it."""
    days = {"first": pin.first and pin.first.isoformat(), "last": pin.last and pin.last.isoformat()}
    return DatasetInput(
        dataset=Dataset(
            name=pin.table,
            digest=pin.digest[:MAX_DATASET_DIGEST_SIZE],
            source_type="tailrace_lake",
            source=to_json(pin),
            profile=json.dumps({"num_rows": pin.rows, "num_files": pin.files, **days}),
        ),
        tags=[InputTag(MLFLOW_DATASET_CONTEXT, role)],
    )


def _all_fitting(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: _shortened(tag, MAX_TAG_VAL_LENGTH) for name, tag in tags.items()}


def _shortened(value: str, limit: int) -> str:
    """The value, or its beginning with its length and its SHA-256, within MLflow's limit."""
    if len(value) <= limit:
        return value
    ending = f"... [{len(value)} characters, sha256 {hashlib.sha256(value.encode()).hexdigest()}]"
    return value[: limit - len(ending)] + ending


def _unless_exists(create: Callable[[], object]) -> None:
    """Create an object that another process may be creating at the same moment."""
    try:
        create()
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _pages(ask: Callable[[str | None], Any]) -> Iterator[Any]:
    """Every item of a listing that MLflow returns in pages."""
    token = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return


def _moment(milliseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
