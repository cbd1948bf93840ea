"""The tracker: which trainings ran, with what, and which model versions they registered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tailrace.contracts.engine import Trial
from tailrace.contracts.lake import Pin

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A training run as the tracker remembers it."""

    training_run: str
    pipeline: str
    status: Literal["running", "finished", "failed", "killed"]
    started_at: dt.datetime
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A registered model version of a pipeline."""

    pipeline: str
    version: str
    training_run: str
    created_at: dt.datetime
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Shrunk:
    """What was deleted of a training run, or would be: its trials, and its model's files with their bytes."""

    trials: int = 0
    files: int = 0
    bytes: int = 0


class Tracker(Protocol):
    """What was tried, with what, and which model versions came of it. All raise TrackerUnavailable."""

    def start_run(self, pipeline: str, name: str, tags: Mapping[str, str]) -> str:
        """Open a run and return its id, after closing runs of this pipeline whose process has died."""
        ...

    def close_runs_of(self, pipeline: str, host: str, why: str) -> None:
        """Close the pipeline's open runs that were started on a host which is gone."""
        ...

    def log_trial(self, training_run: str, trial: Trial) -> None:
        """Record a trial as a run nested in the training run."""
        ...

    def log_inputs(self, training_run: str, pins: Mapping[str, Pin]) -> None:
        """Record lake pins as the run's dataset inputs, by role (features, outcomes)."""
        ...

    def log(
        self,
        training_run: str,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None: ...

    def log_files(self, training_run: str, folder: Path, under: str) -> None:
        """Store every file of a folder as artefacts of the run."""
        ...

    def log_model(self, training_run: str, folder: Path, example: pa.Table, predictions: pa.Table) -> str:
        """Register a saved model with signature and input example; its version. Logged twice: same version."""
        ...

    def end_run(self, training_run: str, status: Literal["finished", "failed"]) -> None: ...

    def run(self, training_run: str) -> RunRecord:
        """Raises UnknownName."""
        ...

    def runs(self, pipeline: str) -> tuple[RunRecord, ...]:
        """Training runs (not trials), newest first."""
        ...

    def fetch(self, training_run: str, path: str, folder: Path) -> Path:
        """Download an artefact (a file or a folder) of a run into `folder`. Raises UnknownName."""
        ...

    def model_folder(self, pipeline: str, version: str, folder: Path, digest: str = "") -> Path:
        """Download what `Model.save` wrote for that version.

        Raises UnknownName; Refused if the files have another digest than the tracker recorded, or than `digest`, which
        the lake recorded with the decision about this version.
        """
        ...

    def versions(self, pipeline: str) -> tuple[ModelVersion, ...]:
        """Newest first; empty if the pipeline has none."""
        ...

    def shrink(self, training_run: str, *, dry_run: bool = False) -> Shrunk:
        """Delete the trials of a training run and the files of its model; with `dry_run` only count them.

        The run, its reports and its version stay; its tag FILES_DELETED says when it happened, and `model_folder`
        raises ModelGone. Without the tag FILES_DELETED_ALL it was interrupted, and is called again to go on. Raises
        UnknownName.
        """
        ...

    def set_alias(self, pipeline: str, alias: str, version: str) -> None: ...
