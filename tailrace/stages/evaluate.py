"""Judge the challenger against the champion on the same holdout; write report and model card."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tailrace.champions import gate, model_versions, promotions
from tailrace.champions.gate import Decision
from tailrace.contracts import Model, Services, Trial
from tailrace.errors import UnknownName
from tailrace.lineage import identity, pins, run_tags
from tailrace.lineage.identity import Identity
from tailrace.problems.metrics import measure
from tailrace.reporting import comparison, model_report
from tailrace.reporting.comparison import Comparison, Side
from tailrace.reporting.evaluation import ScoredHoldout, bootstrap_intervals
from tailrace.reporting.model_report import Judged
from tailrace.spec import PipelineSpec
from tailrace.stages.train import TRIALS, holdout_labels, predict
from tailrace.training import training_set
from tailrace.training.training_set import TrainingSet

DECISION = "decision.json"
COMPARISON = "comparison.json"
FOLDER = "evaluation"


@dataclass(frozen=True)
class Evaluated:
    """The gate's decision on a run's model, and both models' metrics on the holdout."""

    pipeline: str
    day: dt.date
    run_id: str
    version: str
    champion: str | None
    metrics: Mapping[str, float]
    champion_metrics: Mapping[str, float] | None
    decision: Decision


def run(services: Services, spec: PipelineSpec, run_id: str) -> Evaluated:
    """Raises UnknownName if the run registered no model, PinLost if its pins are gone."""
    record = services.tracker.run(run_id)
    model = model_of(services, spec, run_id)
    version = model.version
    day = dt.date.fromisoformat(record.tags[run_tags.DAY])
    challenger = model_versions.load(services, spec, version)
    against = champion_against(services, spec, day, model)
    gone = model_versions.why_gone(services, spec, against) if against else ""
    champion_version = against.version if against and not gone else None
    champion = model_versions.load(services, spec, champion_version) if champion_version else None
    both = _with_features_of(champion, services, spec) if champion else spec
    data = training_set.load(services.lake, services.engine, both, day, pins.from_tags(record.tags))
    labels = holdout_labels(data)
    scores = predict(challenger, data.holdout)
    champion_scores = predict(champion, data.holdout) if champion else None
    slices = _slices(spec, data)
    decision = gate.decide(spec.gate, labels, scores, champion_scores, slices)
    if gone:
        decision = gate.left_to_a_person(decision, f"{gone} {_by_hand(spec, run_id)}")
    intervals = bootstrap_intervals(labels, scores, champion_scores, seed=int(record.tags[run_tags.INPUT + "seed"]))
    metrics = measure(labels, scores)
    champion_metrics = measure(labels, champion_scores) if champion_scores is not None else None
    evaluated = Evaluated(spec.name, day, run_id, version, champion_version, metrics, champion_metrics, decision)
    theirs = None
    if champion_version is not None and champion is not None and champion_scores is not None:
        holdout = ScoredHoldout("champion", labels, champion_scores, slices)
        theirs = _side(services, spec, champion_version, champion, holdout)
    ours = _side(services, spec, version, challenger, ScoredHoldout("challenger", labels, scores, slices))
    compared = comparison.compare(ours, theirs, spec.gate.metric, intervals)
    with tempfile.TemporaryDirectory(prefix="tailrace-evaluate-") as scratch:
        folder = Path(scratch)
        (folder / DECISION).write_text(decision.to_json())
        (folder / COMPARISON).write_text(compared.to_json())
        judged = Judged(
            spec,
            record,
            version,
            challenger,
            data,
            labels,
            scores,
            champion_version,
            champion_scores,
            slices,
            decision,
            _trials(services, run_id),
            intervals,
        )
        model_report.write(folder, judged)
        services.tracker.log_files(run_id, folder, FOLDER)
    of_champion = {f"champion.{name}": value for name, value in (champion_metrics or {}).items()}
    services.tracker.log(
        run_id,
        metrics=of_champion,
        tags={run_tags.GATE: decision.verdict, run_tags.COMPARED_WITH: champion_version or "none"},
    )
    return evaluated


def decision_of(services: Services, run_id: str) -> Decision:
    """What the gate decided on a run. Raises UnknownName if it was not evaluated."""
    with tempfile.TemporaryDirectory(prefix="tailrace-decision-") as folder:
        path = services.tracker.fetch(run_id, f"{FOLDER}/{DECISION}", Path(folder))
        return Decision.from_json(path.read_text())


def comparison_of(services: Services, run_id: str) -> Comparison:
    """What `evaluate` found a run's model to be, against the champion. Raises UnknownName if it was not evaluated."""
    with tempfile.TemporaryDirectory(prefix="tailrace-comparison-") as folder:
        path = services.tracker.fetch(run_id, f"{FOLDER}/{COMPARISON}", Path(folder))
        return Comparison.from_json(path.read_text())


def model_of(services: Services, spec: PipelineSpec, run_id: str) -> Identity:
    """The model version a run registered. Raises UnknownName."""
    versions = {version.run_id: identity.of_version(version) for version in services.tracker.versions(spec.name)}
    if run_id not in versions:
        raise UnknownName(f"training run of {spec.name} with a registered model", run_id, versions)
    return versions[run_id]


def champion_against(services: Services, spec: PipelineSpec, day: dt.date, model: Identity) -> Identity | None:
    """The model that a challenger trained as of the day is compared with: that day's champion, other than itself.

    It may be gone from the registry.
    """
    past = [row for row in promotions.history(services.lake, spec.name) if row.model.differs(model)]
    promotion = promotions.as_of(past, day)
    return promotions.with_digest(services.lake, promotion.model) if promotion else None


def _by_hand(spec: PipelineSpec, run_id: str) -> str:
    return (
        "So nothing could be compared, and a person decides: "
        f"tailrace promote {spec.name} --run {run_id} --reason '...'."
    )


def _with_features_of(champion: Model, services: Services, spec: PipelineSpec) -> PipelineSpec:
    """The spec with the champion's features too, as far as the lake still has them: the challenger may have fewer."""
    held = services.lake.schema(spec.features_table).names
    more = {name: kind for name, kind in champion.features.items() if name in held}
    return replace(spec, features=replace(spec.features, columns={**more, **spec.features.columns}))


def _side(services: Services, spec: PipelineSpec, version: str, model: Model, holdout: ScoredHoldout) -> Side:
    return Side(version, model_versions.record_of(services, spec, version), model.features, holdout)


def _slices(spec: PipelineSpec, data: TrainingSet) -> dict[str, np.ndarray]:
    columns = spec.gate.slices or spec.features.of_kind("categorical")[:1]
    return {
        column: np.asarray(data.holdout[column].cast("string").fill_null("(none)").to_pylist(), dtype=str)
        for column in columns
    }


def _trials(services: Services, run_id: str) -> list[Trial]:
    """The search as the training run kept it."""
    with tempfile.TemporaryDirectory(prefix="tailrace-trials-") as folder:
        path = services.tracker.fetch(run_id, TRIALS, Path(folder))
        return [Trial(**trial) for trial in json.loads(path.read_text())]
