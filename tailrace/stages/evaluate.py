"""Judge the challenger against the champion on the same holdout; write report and model card."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tailrace.champions import gate, model_versions, policies, promotions, score_limits
from tailrace.champions.gate import Decision
from tailrace.contracts import Model, Services, Trial
from tailrace.engines.encoding import to_numpy
from tailrace.engines.signatures import predictions
from tailrace.errors import UnknownName
from tailrace.lineage import identity, pins, run_tags
from tailrace.lineage.identity import Identity
from tailrace.reporting import comparison, model_report
from tailrace.reporting.comparison import Comparison, Side
from tailrace.reporting.evaluation import ScoredHoldout, bootstrap_intervals
from tailrace.reporting.model_report import Judged
from tailrace.spec import PipelineSpec
from tailrace.stages.train import TRIALS, holdout_labels
from tailrace.training import training_set
from tailrace.training.training_set import TrainingSet
from tailrace.work import Work

DECISION = "decision.json"
COMPARISON = "comparison.json"
FOLDER = "evaluation"


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """The gate's decision on a run's model, and both models' metrics on the holdout."""

    pipeline: str
    day: dt.date
    training_run: str
    version: str
    champion: str | None
    metrics: Mapping[str, float]
    champion_metrics: Mapping[str, float] | None
    decision: Decision


def run(work: Work, training_run: str) -> Evaluated:
    """Judge the model of a training run. Raises UnknownName if it registered no model, PinLost if its pins are gone."""
    services, spec = work.services, work.spec
    record = services.tracker.run(training_run)
    model_versions.refuse_baseline(record, "evaluated")
    model = model_of(work, training_run)
    version = model.version
    day = dt.date.fromisoformat(record.tags[run_tags.DAY])
    challenger = model_versions.load(services, spec, version, model.digest)
    against = champion_against(work, day, model)
    gone = model_versions.why_gone(services, spec, against) if against else ""
    champion_version = against.version if against and not gone else None
    champion = model_versions.load(services, spec, against.version, against.digest) if against and not gone else None
    if champion and (asks_else := _asks_something_else(spec, champion, champion_version)):
        gone, champion, champion_version = asks_else, None, None
    both = _with_features_of(work, champion) if champion else spec
    data = training_set.load(services.lake, services.engine, both, day, pins=pins.from_tags(record.tags))
    labels = holdout_labels(data)
    scores = predictions(challenger, data.holdout)
    champion_scores = predictions(champion, data.holdout, asked=spec.problem) if champion else None
    slices = _slices(spec, data)
    baseline = _baseline(spec, data)
    compared_by = gate.Scores(
        problem=spec.problem, labels=labels, challenger=scores, champion=champion_scores, baseline=baseline
    )
    audited = score_limits.judge_holdout(spec.audit, spec.problem, data.holdout["ds"].to_numpy(), scores)
    decision = gate.decide(spec.gate, compared_by, slices, audited)
    if gone:
        decision = gate.left_to_a_person(decision, gone, _by_hand(spec, training_run))
    seed = int(record.tags[run_tags.INPUT + "seed"])
    intervals = bootstrap_intervals(spec.problem, labels, scores, champion_scores, seed=seed)
    metrics = spec.problem.measure(labels, scores)
    champion_metrics = spec.problem.measure(labels, champion_scores) if champion_scores is not None else None
    held = ScoredHoldout(name="challenger", problem=spec.problem, labels=labels, scores=scores, slices=slices)
    theirs = None
    if champion_version is not None and champion is not None and champion_scores is not None:
        holdout = replace(held, name="champion", scores=champion_scores)
        theirs = _side(work, champion_version, champion, holdout)
    ours = _side(work, version, challenger, held)
    compared = comparison.compare(spec, ours, theirs, intervals)
    with tempfile.TemporaryDirectory(prefix="tailrace-evaluate-") as scratch:
        folder = Path(scratch)
        (folder / DECISION).write_text(decision.to_json())
        (folder / COMPARISON).write_text(compared.to_json())
        judged = Judged(
            spec=_with_threshold_in_force(work, day),
            record=record,
            version=version,
            model=challenger,
            data=data,
            labels=labels,
            scores=scores,
            champion=champion_version,
            champion_scores=champion_scores,
            baseline=baseline,
            slices=slices,
            decision=decision,
            trials=_trials(services, training_run),
            intervals=intervals,
        )
        model_report.write(folder, judged)
        services.tracker.log_files(training_run, folder, FOLDER)
    of_champion = {f"champion.{name}": value for name, value in (champion_metrics or {}).items()}
    services.tracker.log(
        training_run,
        metrics=of_champion,
        tags={run_tags.GATE: decision.verdict, run_tags.COMPARED_WITH: champion_version or "none"},
    )
    return Evaluated(
        pipeline=spec.name,
        day=day,
        training_run=training_run,
        version=version,
        champion=champion_version,
        metrics=metrics,
        champion_metrics=champion_metrics,
        decision=decision,
    )


def decision_of(services: Services, training_run: str) -> Decision:
    """What the gate decided on a training run. Raises UnknownName if it was not evaluated."""
    with tempfile.TemporaryDirectory(prefix="tailrace-decision-") as folder:
        path = services.tracker.fetch(training_run, f"{FOLDER}/{DECISION}", Path(folder))
        return Decision.from_json(path.read_text())


def comparison_of(services: Services, training_run: str) -> Comparison:
    """How a training run's model compares with the champion. Raises UnknownName if it was not evaluated."""
    with tempfile.TemporaryDirectory(prefix="tailrace-comparison-") as folder:
        path = services.tracker.fetch(training_run, f"{FOLDER}/{COMPARISON}", Path(folder))
        return Comparison.from_json(path.read_text())


def model_of(work: Work, training_run: str) -> Identity:
    """The model version that a training run registered. Raises UnknownName."""
    spec = work.spec
    versions = {
        version.training_run: identity.of_version(version) for version in work.services.tracker.versions(spec.name)
    }
    if training_run not in versions:
        raise UnknownName(f"training run of {spec.name} with a registered model", training_run, versions)
    return versions[training_run]


def champion_against(work: Work, day: dt.date, model: Identity) -> Identity | None:
    """The model that a challenger trained as of the day is compared with: that day's champion, other than itself.

    It may be gone from the registry.
    """
    services = work.services
    past = [row for row in promotions.history(services.lake, work.spec.name) if row.model.differs(model)]
    promotion = promotions.as_of(past, day)
    return promotions.with_digest(services.lake, promotion.model) if promotion else None


def _asks_something_else(spec: PipelineSpec, champion: Model, version: str | None) -> str:
    """Why the champion cannot be compared, as a sentence: it was trained for another question; empty if it can.

    A champion without intervals, or of another link, can: its values are compared.
    """
    if spec.problem.comparable(champion.problem):
        return ""
    return f"The champion, version {version}, was trained for another question: {champion.problem!r}."


def _by_hand(spec: PipelineSpec, training_run: str) -> str:
    return (
        "So nothing could be compared, and a person decides: "
        f"tailrace promote {spec.name} --run {training_run} --reason '...'."
    )


def _with_threshold_in_force(work: Work, day: dt.date) -> PipelineSpec:
    """The spec with the threshold that decisions of the day are published by: an operator may have set another one."""
    spec = work.spec
    threshold = policies.in_force(work.services.lake, spec, day).policy.threshold
    if threshold is None:
        return spec
    return replace(spec, predictions=replace(spec.predictions, threshold=threshold))


def _with_features_of(work: Work, champion: Model) -> PipelineSpec:
    """The spec with the champion's features too, as far as the lake still has them: the challenger may have fewer."""
    spec = work.spec
    held = work.services.lake.schema(spec.features_table).names
    more = {name: kind for name, kind in champion.features.items() if name in held}
    return replace(spec, features=replace(spec.features, columns={**more, **spec.features.columns}))


def _side(work: Work, version: str, model: Model, holdout: ScoredHoldout) -> Side:
    return Side(version, model_versions.record_of(work.services, work.spec, version), model.features, holdout)


def _slices(spec: PipelineSpec, data: TrainingSet) -> dict[str, np.ndarray]:
    columns = spec.gate.slices or spec.features.of_kind("categorical")[:1]
    return {
        column: np.asarray(data.holdout[column].cast("string").fill_null("(none)").to_pylist(), dtype=str)
        for column in columns
    }


def _baseline(spec: PipelineSpec, data: TrainingSet) -> np.ndarray | None:
    """The predictions of the baseline that the gate names for the holdout."""
    if spec.gate.beat is None:
        return None
    return spec.problem.baseline(spec.gate.beat, to_numpy(data.learning.labels()), data.holdout)


def _trials(services: Services, training_run: str) -> list[Trial]:
    """The search as the training run kept it."""
    with tempfile.TemporaryDirectory(prefix="tailrace-trials-") as folder:
        path = services.tracker.fetch(training_run, TRIALS, Path(folder))
        return [Trial(**trial) for trial in json.loads(path.read_text())]
