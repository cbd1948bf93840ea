"""Collects what the evaluation report and the model card show about a challenger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tailrace.champions.gate import Decision
from tailrace.contracts import Model, RunRecord, Trial, not_trained
from tailrace.lineage import run_tags
from tailrace.lineage.libraries import installed_versions
from tailrace.reporting.evaluation import Intervals, ScoredHoldout, known_interval, slice_table, write_report
from tailrace.reporting.model_card import CardMetric, ModelCard, write_model_card
from tailrace.spec import PipelineSpec
from tailrace.training.training_set import TrainingSet

LIBRARIES = ("scikit-learn", "xgboost", "numpy", "pandas", "pyarrow", "skops")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A challenger, its scores on the holdout, and the champion that it was compared with, if there was one."""

    spec: PipelineSpec
    record: RunRecord
    version: str
    model: Model
    data: TrainingSet
    labels: np.ndarray
    scores: np.ndarray
    champion: str | None
    champion_scores: np.ndarray | None
    baseline: np.ndarray | None
    slices: Mapping[str, np.ndarray]
    decision: Decision
    trials: Sequence[Trial]
    intervals: Mapping[str, Intervals]


def write(folder: Path, judged: Judged) -> None:
    """Write `evaluation.html` with its pictures, and `model_card.md`, into the folder."""
    challenger = _holdout(judged, f"challenger v{judged.version}", judged.scores)
    champion = None
    if judged.champion_scores is not None:
        champion = _holdout(judged, f"champion v{judged.champion}", judged.champion_scores)
    write_report(
        folder,
        pipeline=judged.spec.name,
        facts=_facts(judged),
        metric=judged.spec.gate.metric,
        challenger=challenger,
        champion=champion,
        baselines=[] if judged.baseline is None else [_holdout(judged, judged.spec.gate.beat or "", judged.baseline)],
        interval=judged.intervals[judged.spec.gate.metric].difference,
        importance=judged.model.importance(),
        trials=judged.trials,
        gate_lines=[(rule.passed, rule.sentence) for rule in judged.decision.rules],
        search_metric=judged.spec.search.metric,
    )
    write_model_card(folder, _card(judged, challenger))


def _holdout(judged: Judged, name: str, scores: np.ndarray) -> ScoredHoldout:
    return ScoredHoldout(
        name=name,
        problem=judged.spec.problem,
        labels=judged.labels,
        scores=scores,
        slices=judged.slices,
        threshold=judged.spec.predictions.threshold,
    )


def _facts(judged: Judged) -> dict[str, str]:
    spec, record = judged.spec, judged.record
    return {
        "Owner": spec.owner,
        "Label": f"{spec.outcome.label}: {spec.outcome.description}",
        "Trained as of": record.tags[run_tags.DAY],
        "Learned from": f"{judged.data.learning.rows:,} rows",
        "Evaluated on": f"{judged.data.holdout.num_rows:,} rows of the last {spec.window.holdout_days} days",
        "Estimator": record.params["candidate"],
        "Training run": record.training_run,
        "Code": record.tags[run_tags.GIT_COMMIT],
    }


def _card(judged: Judged, challenger: ScoredHoldout) -> ModelCard:
    spec, record, data = judged.spec, judged.record, judged.data
    importance = judged.model.importance()
    learned_from, learned_to = data.learning.days
    holdout = data.holdout["ds"].unique().sort().to_pylist()
    shares = {name: f"{importance[name]:.1%} of the model's decisions" if importance else "-" for name in importance}
    return ModelCard(
        pipeline=spec.name,
        version=judged.version,
        description=spec.description.strip(),
        users=f"Readers of the lake table {spec.predictions_table}",
        owner=spec.owner,
        kind=f"{record.params['candidate']} ({judged.model.kind})",
        training_run=record.training_run,
        features={name: (kind, shares.get(name, "-")) for name, kind in spec.features.columns.items()},
        outputs={
            **spec.problem.output_words(spec.predictions, f"{spec.outcome.label}: {spec.outcome.description}"),
            "model_version": ("string", "the version that scored the row"),
        },
        input_format=(
            f"Rows of {spec.features_table}, one per {', '.join(spec.features.key)}, {_known(spec)}; "
            "nulls and categories not seen in training are accepted."
        ),
        trained_from=learned_from,
        trained_to=learned_to,
        training_rows=data.learning.rows,
        holdout_from=holdout[0],
        holdout_to=holdout[-1],
        holdout_rows=data.holdout.num_rows,
        pins=data.pins,
        metrics={
            name: CardMetric(value, *(known_interval(judged.intervals[name].first) or ()))
            for name, value in spec.problem.measure(judged.labels, judged.scores).items()
        },
        production_ready=judged.decision.verdict == "promote" and spec.gate.approval == "auto",
        reasons=[rule.sentence for rule in judged.decision.rules]
        + (["A person has to approve it; the lake records the promotions."] if spec.gate.approval == "human" else []),
        limitations=[
            f"It has seen the outcomes of every day up to {holdout[-1]}: score later days with it.",
            f"It was chosen from {len(judged.trials)} trials on one split by time, and not refitted on the holdout.",
            *_unknown_moments(spec),
            *spec.problem.cautions,
            *(f"Not among these trials: {sentence}." for sentence in not_trained(judged.trials)),
        ],
        libraries=installed_versions(*LIBRARIES),
        slice_metric=spec.gate.metric,
        slice_heading=spec.problem.slice_heading,
        slices=slice_table(challenger, spec.gate.metric, list(judged.slices)),
    )


def _known(spec: PipelineSpec) -> str:
    """When the rows are known, as a part of a sentence."""
    if spec.features.known_at is None:
        return "as they were taken on ds"
    return f"known at {spec.schedule.cutoff} {spec.schedule.timezone} of ds"


def _unknown_moments(spec: PipelineSpec) -> list[str]:
    if spec.features.known_at is not None:
        return []
    return [
        f"{spec.mart('features').table} does not say when its rows became known. Days that were taken later may hold "
        f"more than was known then: the training run's tag {run_tags.TAKEN_LATE} names them."
    ]
