"""A comparison of challenger and champion in one small document: what a person needs to approve or reject."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from tailrace.contracts import RunRecord
from tailrace.lineage import pins, run_tags
from tailrace.problems.metrics import METRICS
from tailrace.reporting.evaluation import Intervals, ScoredHoldout, known_interval, slice_table
from tailrace.spec import PipelineSpec

Bounds = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ComparedMetric:
    """A metric on the holdout, with 95 % intervals; `difference` is challenger minus champion, in (low, high)."""

    metric: str
    greater_is_better: bool | None
    challenger: float | None
    challenger_interval: Bounds | None
    champion: float | None = None
    champion_interval: Bounds | None = None
    difference: Bounds | None = None


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The gate's metric on the rows with one value of a column; None if it is not defined for them."""

    column: str
    value: str
    rows: int
    challenger: float | None
    champion: float | None


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Rows whose prediction is in low..high: how many, their mean prediction, and what was observed on average.

    For a yes/no question these are the mean score and the share of true labels, whence the fields' names.
    """

    model: str
    low: float
    high: float
    rows: int
    mean_score: float
    positive_rate: float


@dataclass(frozen=True)
class Change:
    """What differs between the two trainings. `kind`: parameters, features or data."""

    kind: str
    what: str
    champion: str
    challenger: str


STORED = {"training_run": "run_id", "champion_training_run": "champion_run_id"}
"""Fields that the stored file has under another name, as earlier releases of Tailrace wrote them."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A challenger, and the champion on the same holdout rows, if there was one."""

    pipeline: str
    version: str
    training_run: str
    day: str
    champion: str | None
    champion_training_run: str | None
    gate_metric: str
    holdout_rows: int
    metrics: tuple[ComparedMetric, ...]
    slices: tuple[Slice, ...]
    calibration: tuple[CalibrationBin, ...]
    changes: tuple[Change, ...]

    def to_json(self) -> str:
        return json.dumps({STORED.get(name, name): value for name, value in asdict(self).items()}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        stored = json.loads(text)
        fields = {name: stored[STORED.get(name, name)] for name in cls.__dataclass_fields__}
        parts = {"metrics": ComparedMetric, "slices": Slice, "calibration": CalibrationBin, "changes": Change}
        for name, part in parts.items():
            fields[name] = tuple(part(**row) for row in fields[name])
        return cls(**fields)


@dataclass(frozen=True)
class Side:
    """One of the two: its version, training run, input columns with their kinds, and its scores on the holdout."""

    version: str
    record: RunRecord
    features: Mapping[str, str]
    holdout: ScoredHoldout


def compare(
    spec: PipelineSpec, challenger: Side, champion: Side | None, intervals: Mapping[str, Intervals]
) -> Comparison:
    """Everything that differs, with numbers that were computed only once; `intervals` are those of both sides."""
    gate_metric = spec.gate.metric
    return Comparison(
        pipeline=challenger.record.pipeline,
        version=challenger.version,
        training_run=challenger.record.training_run,
        day=challenger.record.tags[run_tags.DAY],
        champion=champion.version if champion else None,
        champion_training_run=champion.record.training_run if champion else None,
        gate_metric=gate_metric,
        holdout_rows=len(challenger.holdout.labels),
        metrics=tuple(_metrics(challenger, champion, intervals)),
        slices=tuple(_slices(challenger, champion, gate_metric)),
        calibration=tuple(
            _calibration("challenger", challenger) + (_calibration("champion", champion) if champion else [])
        ),
        changes=tuple(_changes(challenger, champion)) if champion else (),
    )


def _metrics(challenger: Side, champion: Side | None, intervals: Mapping[str, Intervals]) -> Iterator[ComparedMetric]:
    ours, theirs = (_measured(side) if side else {} for side in (challenger, champion))
    for name, value in ours.items():
        found = intervals[name]
        yield ComparedMetric(
            metric=name,
            greater_is_better=METRICS[name].greater_is_better,
            challenger=_known(value),
            challenger_interval=known_interval(found.first),
            champion=_known(theirs.get(name)),
            champion_interval=known_interval(found.second),
            difference=known_interval(found.difference),
        )


def _measured(side: Side) -> dict[str, float]:
    return side.holdout.problem.measure(side.holdout.labels, side.holdout.scores)


def _slices(challenger: Side, champion: Side | None, metric: str) -> Iterator[Slice]:
    columns = list(challenger.holdout.slices)
    theirs = slice_table(champion.holdout, metric, columns) if champion else []
    of_champion = {(row.column, row.value): row.metric for row in theirs}
    for row in slice_table(challenger.holdout, metric, columns):
        yield Slice(
            column=row.column,
            value=row.value,
            rows=row.rows,
            challenger=row.metric,
            champion=of_champion.get((row.column, row.value)),
        )


def _calibration(model: str, side: Side) -> list[CalibrationBin]:
    holdout = side.holdout
    return [
        CalibrationBin(
            model=model, low=one.low, high=one.high, rows=one.rows, mean_score=one.predicted, positive_rate=one.observed
        )
        for one in holdout.problem.calibration_bins(holdout.labels, holdout.scores)
    ]


def _changes(challenger: Side, champion: Side) -> Iterator[Change]:
    yield from _differences("parameters", _parameters(champion.record), _parameters(challenger.record))
    yield from _differences("features", champion.features, challenger.features)
    yield from _differences("data", _data(champion.record), _data(challenger.record))


_FRACTION = re.compile(r"-?\d+\.\d+(e-?\d+)?")


def _differences(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    names = [*before, *(name for name in after if name not in before)]
    for name in names:
        if before.get(name) != after.get(name):
            yield Change(kind, name, *_short(before.get(name, "–"), after.get(name, "–")))


def _short(before: str, after: str) -> tuple[str, str]:
    """Fractions with four digits, unless the two differ only in later ones."""
    short = tuple(f"{float(text):.4g}" if _FRACTION.fullmatch(text) else text for text in (before, after))
    return (before, after) if short[0] == short[1] else (short[0], short[1])


def _parameters(record: RunRecord) -> dict[str, str]:
    return {name.removeprefix("best."): str(value) for name, value in record.params.items()}


def _data(record: RunRecord) -> dict[str, str]:
    """The data of a training: its window, rows and pins, and the code that made it."""
    seen = {"trained as of": record.tags[run_tags.DAY]}
    for name, label in (("rows.learning", "rows learned from"), ("rows.holdout", "rows of the holdout")):
        if name in record.metrics:
            seen[label] = f"{int(record.metrics[name]):,}"
    for role, pin in pins.from_tags(record.tags).items():
        seen[f"{role}, days"] = f"{pin.first} to {pin.last}"
        seen[f"{role}, rows"] = f"{pin.rows:,}"
        seen[f"{role}, pin"] = f"version {pin.version}, {pin.digest[:12]}"
    seen["code"] = record.tags.get(run_tags.GIT_COMMIT, "unknown")
    return seen


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
