"""The engine: where models learn and score."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tailrace.contracts.lake import Scan, Staged, Target

if TYPE_CHECKING:
    import pyarrow as pa

    from tailrace.problems import Problem
    from tailrace.spec import PipelineSpec


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One set of parameters tried by the search."""

    number: int
    candidate: str
    parameters: Mapping[str, Any]
    value: float | None
    state: Literal["complete", "pruned", "failed"]
    seconds: float


def not_trained(trials: Iterable[Trial]) -> tuple[str, ...]:
    """A sentence for each candidate none of whose trials completed, with the first one's error."""
    tried: dict[str, list[Trial]] = {}
    for trial in trials:
        tried.setdefault(trial.candidate, []).append(trial)
    return tuple(
        f"{name}: 0 of {len(its_trials)} trials completed; the first ended with: "
        f"{its_trials[0].parameters.get('error', its_trials[0].state)}"
        for name, its_trials in tried.items()
        if not any(trial.state == "complete" for trial in its_trials)
    )


class Model(Protocol):
    """A fitted pipeline, preprocessing included."""

    @property
    def kind(self) -> str: ...

    @property
    def features(self) -> Mapping[str, str]:
        """Input columns and their kinds, in the model's order."""
        ...

    @property
    def problem(self) -> Problem:
        """The kind of question that it answers."""
        ...

    def predict(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The problem's raw columns, float64: for `Binary` the probability of true. Pure."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model without pickle."""
        ...

    def digest(self) -> str:
        """SHA-256 of the fitted parameters: equal for models that predict alike by construction."""
        ...

    def importance(self) -> Mapping[str, float]:
        """Share of each feature in the model's decisions, summing to 1; empty if it has none."""
        ...


@dataclass(frozen=True)
class Trained:
    """The outcome of a search: the best model refitted, and what was tried."""

    model: Model
    best: Trial
    trials: tuple[Trial, ...]

    @property
    def not_trained(self) -> tuple[str, ...]:
        """A sentence for each candidate none of whose trials completed."""
        return not_trained(self.trials)


class LabelledRows(Protocol):
    """The feature columns of the rows a model learns from, and their labels."""

    @property
    def rows(self) -> int: ...

    def table(self) -> pa.Table:
        """The feature columns, in this process's memory, sorted by time and key."""
        ...

    def labels(self) -> pa.Array:
        """Booleans, in the table's order."""
        ...

    def head(self, rows: int) -> pa.Table:
        """The first rows of the table; whole numbers are doubles in columns of which any row has a null."""
        ...

    @property
    def days(self) -> tuple[dt.date, dt.date]:
        """The first and the last day there are rows of."""
        ...


@dataclass(frozen=True)
class Joined:
    """Features with the outcomes known in time: what to learn from, and what to judge by.

    `holdout` is in this process's memory, sorted by time and key, its labels in column `spec.LABEL`; `digests` name
    the contents of the features and outcomes joined.
    """

    learning: LabelledRows
    holdout: pa.Table
    digests: Mapping[str, str]


@dataclass(frozen=True)
class DryRun:
    """What came of trying candidates in small: sentences about those that fail, and about those that were not tried."""

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Engine(Protocol):
    """Where models learn and score."""

    name: str

    def dry_run(self, specs: Sequence[PipelineSpec]) -> DryRun:
        """Try every candidate in small, on rows made up from its spec; a candidate that is not tried gets a note."""
        ...

    def join(
        self, spec: PipelineSpec, features: Scan, outcomes: Scan, *, known_by: dt.datetime, holdout_from: dt.date
    ) -> Joined | None:
        """The point-in-time join, made and held where a candidate learns; None if that is this process.

        Takes outcomes known by that moment; the holdout are the features of that day and later. Raises LookAhead,
        KeysRepeated.
        """
        ...

    def train(
        self,
        spec: PipelineSpec,
        rows: LabelledRows,
        *,
        seed: int,
        trials: int,
        on_trial: Callable[[Trial], None],
    ) -> Trained:
        """Search over the spec's candidates, refit the best on all rows.

        Same rows, seed and trials give the same model. Raises TrainingFailed if no trial completed,
        BadInput if a candidate needs another engine.
        """
        ...

    def load(self, folder: Path) -> Model:
        """A model as `Model.save` wrote it. Raises SignatureMismatch on an unknown kind."""
        ...

    def score(self, spec: PipelineSpec, model: Model, *, version: str, rows: Scan, target: Target) -> Staged:
        """Stage the prediction columns of every row; memory does not grow with rows.

        Raises SignatureMismatch naming every feature that the rows lack, and what staging raises.
        """
        ...
